"""Prometheus and OpenMetrics counters of the streams."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from stream.outputs.web.state import DisplayState, display_state

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prometheus_client.core import Metric

    from stream.outputs.web.board import Board
    from stream.outputs.web.state import Snapshot
    from stream.pipeline.statistics import LogHistogram, RunStatistics

WHOLE = re.compile(rb"(?<=\d)\.0$", re.MULTILINE)
"""The fraction of a whole value: counts are written without it, so that scripts read them as counts."""
BUCKETS_MS = (1, 2, 5, 10, 20, 33, 50, 75, 100, 200, 500, 1000)


def metrics_text(boards: Sequence[Board]) -> str:
    """All metrics as plain text."""
    return metrics_answer(boards, "")[0].decode()


def metrics_answer(boards: Sequence[Board], accept: str) -> tuple[bytes, str]:
    """All metrics in the form that the header `Accept` asks for, and the name of that form (`Content-Type`)."""
    registry = CollectorRegistry()
    registry.register(_Boards(boards))
    encode, content_type = choose_encoder(accept)
    return WHOLE.sub(b"", encode(registry)), content_type


class _Boards(Collector):
    """Latency as a histogram, frames by state, refusals and drops by cause, age and state of what is shown."""

    def __init__(self, boards: Sequence[Board]) -> None:
        self._boards = boards

    def collect(self) -> Iterator[Metric]:
        feeds = [(str(number), board.statistics, board.snapshot()) for number, board in enumerate(self._boards, 1)]
        yield from _counters(feeds)
        yield from _histograms(feeds)
        yield from _gauges(feeds)


Feeds = list[tuple[str, "RunStatistics", "Snapshot"]]


def _counters(feeds: Feeds) -> Iterator[Metric]:
    frames = CounterMetricFamily("partum_frames", "Frames read, by what became of them.", labels=["feed", "state"])
    refused = CounterMetricFamily("partum_refused", "Refused frames, by reason.", labels=["feed", "reason"])
    dropped = CounterMetricFamily("partum_dropped", "Frames never looked at, by cause.", labels=["feed", "cause"])
    connections = CounterMetricFamily("partum_connections", "How often the source was connected.", labels=["feed"])
    lost = CounterMetricFamily(
        "partum_source_lost",
        "Pictures, or packets of them, that the source numbered and that never came.",
        labels=["feed"],
    )
    damaged = CounterMetricFamily(
        "partum_source_damaged", "Frames refused because they did not come whole.", labels=["feed"]
    )
    skipped = CounterMetricFamily(
        "partum_source_skipped", "Messages of the source that could not be read.", labels=["feed"]
    )
    changes = CounterMetricFamily(
        "partum_engine_changes", "How often an engine failed and another back-end went on.", labels=["feed"]
    )
    for feed, statistics, snapshot in feeds:
        changes.add_metric([feed], len(statistics.engine_changes))
        _add_counts(frames, feed, statistics.states)
        _add_counts(refused, feed, statistics.reasons)
        _add_counts(dropped, feed, statistics.drops)
        if snapshot.link is not None:
            connections.add_metric([feed], snapshot.link.connections)
            lost.add_metric([feed], snapshot.link.lost)
            damaged.add_metric([feed], snapshot.link.damaged)
            skipped.add_metric([feed], snapshot.link.skipped)
    yield from (frames, refused, dropped, changes, connections, lost, damaged, skipped)


def _histograms(feeds: Feeds) -> Iterator[Metric]:
    latency = HistogramMetricFamily("partum_latency_seconds", "From capture to result.", labels=["feed"])
    stages = HistogramMetricFamily(
        "partum_stage_seconds", "What the latency is made of, by stage.", labels=["feed", "stage"]
    )
    for feed, statistics, _ in feeds:
        latency.add_metric([feed], _buckets(statistics.latency_ms), statistics.latency_ms.total / 1e3)
        for stage, times in statistics.stage_ms.items():
            stages.add_metric([feed, str(stage)], _buckets(times), times.total / 1e3)
    yield from (latency, stages)


def _gauges(feeds: Feeds) -> Iterator[Metric]:
    age = GaugeMetricFamily(
        "partum_result_age_seconds", "Age of the newest result, since its capture.", labels=["feed"]
    )
    states = GaugeMetricFamily(
        "partum_state", "What the web page says; 1 for the state that holds.", labels=["feed", "state"]
    )
    overloaded = GaugeMetricFamily(
        "partum_overloaded", "1 where this machine does not keep up with the feed.", labels=["feed"]
    )
    for feed, _, snapshot in feeds:
        age.add_metric([feed], round(snapshot.age_s, 3))
        overloaded.add_metric([feed], snapshot.throughput.is_overloaded)
        holds = display_state(snapshot)[0]
        for state in DisplayState:
            states.add_metric([feed, str(state)], state is holds)
    yield from (age, states, overloaded)


def _add_counts(family: CounterMetricFamily, feed: str, counts: Mapping[str, int]) -> None:
    for value, count in sorted(counts.items()):
        family.add_metric([feed, value], count)


def _buckets(times: LogHistogram) -> list[tuple[str, float]]:
    """Counts up to each edge in seconds; the count of all last, so that no bucket exceeds it while frames come in."""
    counts = [(f"{edge / 1e3:g}", float(times.count_to(edge))) for edge in BUCKETS_MS]
    return [*counts, ("+Inf", float(times.count))]
