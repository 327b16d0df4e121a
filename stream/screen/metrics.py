"""The stream's counters in Prometheus' text form (version 0.0.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream.screen.shown import Shown, state_of

if TYPE_CHECKING:
    from stream.screen.board import Board
    from stream.sources.live import LinkStatus
    from stream.telemetry import LogHistogram

BUCKETS_MS = (1, 2, 5, 10, 20, 33, 50, 75, 100, 200, 500, 1000)


def metrics_text(boards: Sequence[Board]) -> str:
    """Latency as a histogram, frames by state, refusals and drops by cause, age and state of what is shown."""
    feeds = [_Feed(number, board) for number, board in enumerate(boards, 1)]
    return "".join(f"{line}\n" for metric in METRICS for line in metric.lines(feeds))


class _Feed:
    """What one stream says at this moment."""

    def __init__(self, number: int, board: Board) -> None:
        self.label = f'feed="{number}"'
        self.statistics, self.moment = board.statistics, board.moment()
        self.state = state_of(self.moment)[0]


Samples = Callable[[_Feed], "Iterator[tuple[str, str, str]]"]
"""Ending of the name, further labels, value."""


@dataclass(frozen=True, slots=True)
class _Metric:
    name: str
    kind: str
    words: str
    samples: Samples

    def lines(self, feeds: Sequence[_Feed]) -> Iterator[str]:
        yield f"# HELP {self.name} {self.words}"
        yield f"# TYPE {self.name} {self.kind}"
        for feed in feeds:
            for ending, labels, value in self.samples(feed):
                yield f"{self.name}{ending}{{{feed.label}{labels}}} {value}"


def _counts(label: str, of: Callable[[_Feed], Mapping[str, int]]) -> Samples:
    def samples(feed: _Feed) -> Iterator[tuple[str, str, str]]:
        for value, count in sorted(of(feed).items()):
            yield "", f',{label}="{value}"', str(count)

    return samples


def _histogram(times: LogHistogram, labels: str = "") -> Iterator[tuple[str, str, str]]:
    for edge in BUCKETS_MS:
        yield "_bucket", f'{labels},le="{edge / 1e3:g}"', str(times.count_to(edge))
    yield "_bucket", f'{labels},le="+Inf"', str(times.count)
    yield "_sum", labels, f"{times.total / 1e3:.6f}"
    yield "_count", labels, str(times.count)


def _latency(feed: _Feed) -> Iterator[tuple[str, str, str]]:
    return _histogram(feed.statistics.latency_ms)


def _stages(feed: _Feed) -> Iterator[tuple[str, str, str]]:
    for stage, times in feed.statistics.stage_ms.items():
        yield from _histogram(times, f',stage="{stage}"')


def _link(value: Callable[[LinkStatus], int]) -> Samples:
    def samples(feed: _Feed) -> Iterator[tuple[str, str, str]]:
        if feed.moment.link is not None:
            yield "", "", str(value(feed.moment.link))

    return samples


def _age(feed: _Feed) -> Iterator[tuple[str, str, str]]:
    yield "", "", f"{feed.moment.age_s:.3f}"


def _overloaded(feed: _Feed) -> Iterator[tuple[str, str, str]]:
    yield "", "", str(int(feed.moment.throughput.is_overloaded))


def _state(feed: _Feed) -> Iterator[tuple[str, str, str]]:
    for each in Shown:
        yield "", f',state="{each}"', str(int(each is feed.state))


METRICS = (
    _Metric(
        "partum_frames_total",
        "counter",
        "Frames read, by what became of them.",
        _counts("state", lambda feed: feed.statistics.states),
    ),
    _Metric(
        "partum_refused_total",
        "counter",
        "Refused frames, by reason.",
        _counts("reason", lambda feed: feed.statistics.reasons),
    ),
    _Metric(
        "partum_dropped_total",
        "counter",
        "Frames never looked at, by cause.",
        _counts("cause", lambda feed: feed.statistics.drops),
    ),
    _Metric("partum_latency_seconds", "histogram", "From capture to result.", _latency),
    _Metric("partum_stage_seconds", "histogram", "What the latency is made of, by stage.", _stages),
    _Metric("partum_result_age_seconds", "gauge", "Since the newest result's frame was captured.", _age),
    _Metric("partum_overloaded", "gauge", "1 where this machine does not keep up with the feed.", _overloaded),
    _Metric("partum_state", "gauge", "What the screen says; 1 for the state that holds.", _state),
    _Metric(
        "partum_connections_total",
        "counter",
        "How often the source was connected.",
        _link(lambda link: link.connections),
    ),
    _Metric(
        "partum_source_lost_total",
        "counter",
        "Pictures, or packets of them, that the source numbered and that never came.",
        _link(lambda link: link.lost),
    ),
    _Metric(
        "partum_source_damaged_total",
        "counter",
        "Frames refused because they did not come whole.",
        _link(lambda link: link.damaged),
    ),
    _Metric(
        "partum_source_skipped_total",
        "counter",
        "Messages of the source that could not be read.",
        _link(lambda link: link.skipped),
    ),
)
