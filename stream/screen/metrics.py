"""The stream's counters in Prometheus' text form (version 0.0.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.screen.shown import Shown, state_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stream.screen.board import Board

BUCKETS_MS = (5, 10, 20, 33, 50, 75, 100, 200, 500, 1000)


def metrics_text(board: Board) -> str:
    """Latency as a histogram, frames by state, refusals and drops by cause, age and state of what is shown."""
    return "".join(f"{line}\n" for line in _lines(board))


def _lines(board: Board) -> Iterator[str]:
    statistics = board.statistics
    moment = board.moment()
    state, _ = state_of(moment)
    yield from _counters("partum_frames_total", "Frames read, by what became of them.", "state", statistics.states)
    yield from _counters("partum_refused_total", "Refused frames, by reason.", "reason", statistics.reasons)
    yield from _counters("partum_dropped_total", "Frames never looked at, by cause.", "cause", statistics.drops)
    yield "# HELP partum_latency_seconds From capture to result."
    yield "# TYPE partum_latency_seconds histogram"
    latency = statistics.latency_ms
    for edge in BUCKETS_MS:
        yield f'partum_latency_seconds_bucket{{le="{edge / 1e3:g}"}} {latency.count_to(edge)}'
    yield f'partum_latency_seconds_bucket{{le="+Inf"}} {latency.count}'
    yield f"partum_latency_seconds_sum {latency.total / 1e3:.6f}"
    yield f"partum_latency_seconds_count {latency.count}"
    yield "# HELP partum_result_age_seconds Age of the newest result."
    yield "# TYPE partum_result_age_seconds gauge"
    yield f"partum_result_age_seconds {moment.age_s:.3f}"
    yield "# HELP partum_state What the screen says; 1 for the state that holds."
    yield "# TYPE partum_state gauge"
    for each in Shown:
        yield f'partum_state{{state="{each}"}} {int(each is state)}'
    if moment.link is not None:
        yield "# HELP partum_connections_total How often the source was connected."
        yield "# TYPE partum_connections_total counter"
        yield f"partum_connections_total {moment.link.connections}"
        yield "# HELP partum_source_lost_total Pictures the source says it made and that never came."
        yield "# TYPE partum_source_lost_total counter"
        yield f"partum_source_lost_total {moment.link.lost}"


def _counters(name: str, words: str, label: str, counts: Mapping[str, int]) -> Iterator[str]:
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} counter"
    for value, count in sorted(counts.items()):
        yield f'{name}{{{label}="{value}"}} {count}'
