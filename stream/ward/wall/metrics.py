"""Prometheus metrics of a ward: those of each feed, asked of its own page, and those of the ward itself.

The label `feed` is the feed's name in the configuration. A feed's own counters begin anew with its process, which
Prometheus expects of counters (`rate` and `increase` count across it); the ward's run on until the ward ends.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from stream.outputs.web.metrics import WHOLE
from stream.ward.view import ProcessState
from stream.ward.wall.feed_page import FeedPageError, metrics_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from stream.ward.view import FeedView, WardView


@dataclass(frozen=True, slots=True, kw_only=True)
class WallFacts:
    """What the page of a ward knows beside the ward.

    Attributes:
        viewers: who look at the wall now.
        wrong_tokens: how many came since the ward began.
        certificate_until: when the certificate ends; None without one.
    """

    viewers: int = 0
    wrong_tokens: int = 0
    certificate_until: datetime | None = None


async def ward_metrics(ward: WardView, facts: WallFacts, accept: str) -> tuple[bytes, str]:
    """All metrics in the form that the header `Accept` asks for, and the name of that form."""
    texts = await asyncio.gather(*(_text_of(view) for view in ward.feeds))
    return await asyncio.to_thread(_encoded, ward, facts, texts, accept)


async def _text_of(view: FeedView) -> str | None:
    """What a feed's own page says; None where it does not answer."""
    if view.state is not ProcessState.RUNNING or view.page is None:
        return None
    try:
        return await metrics_of(view.page)
    except FeedPageError:
        return None


def _encoded(ward: WardView, facts: WallFacts, texts: Sequence[str | None], accept: str) -> tuple[bytes, str]:
    registry = CollectorRegistry()
    registry.register(_Ward(ward, facts, texts))
    encode, content_type = choose_encoder(accept)
    return WHOLE.sub(b"", encode(registry)), content_type


class _Ward(Collector):
    """The families of all feeds, each once."""

    def __init__(self, ward: WardView, facts: WallFacts, texts: Sequence[str | None]) -> None:
        self._ward, self._facts, self._texts = ward, facts, texts

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        answering: dict[str, bool] = {}
        for view, text in zip(self._ward.feeds, self._texts, strict=True):
            answering[view.name] = text is not None and _merge(families, view.name, text)
        yield from families.values()
        yield from _of_feeds(self._ward.feeds, answering)
        yield from _of_ward(self._ward, self._facts)


def _merge(families: dict[str, Metric], feed: str, text: str) -> bool:
    """Adds what a feed says to the families of all, under its name; whether it could be read."""
    try:
        found = list(text_string_to_metric_families(text))
    except ValueError:
        return False
    for family in found:
        kept = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
        for sample in family.samples:
            kept.add_sample(sample.name, {**sample.labels, "feed": feed}, sample.value)
    return True


def _of_feeds(views: Sequence[FeedView], answering: Mapping[str, bool]) -> Iterator[Metric]:
    up = GaugeMetricFamily("partum_ward_feed_up", "1 where the feed's process runs and answers.", labels=["feed"])
    states = GaugeMetricFamily(
        "partum_ward_feed_state", "What its process does; 1 for the state that holds.", labels=["feed", "state"]
    )
    restarts = CounterMetricFamily(
        "partum_ward_feed_restarts", "How often the feed's process was started again.", labels=["feed"]
    )
    names = InfoMetricFamily("partum_ward_feed", "The label that people read.", labels=["feed"])
    cores = GaugeMetricFamily(
        "partum_ward_feed_cores", "What its process takes of the processors, in cores.", labels=["feed"]
    )
    memory = GaugeMetricFamily("partum_ward_feed_memory_bytes", "What its process holds.", labels=["feed"])
    recording = GaugeMetricFamily(
        "partum_ward_feed_recording", "1 where the feed's results are written, 0 where they cannot be.", labels=["feed"]
    )
    for view in views:
        up.add_metric([view.name], answering[view.name])
        for state in ProcessState:
            states.add_metric([view.name, str(state)], state is view.state)
        restarts.add_metric([view.name], view.restarts)
        names.add_metric([view.name], {"label": view.label})
        cores.add_metric([view.name], round(view.cores, 3))
        memory.add_metric([view.name], round(view.memory_mb * 1e6))
        if view.recording != "off":
            recording.add_metric([view.name], view.recording == "on")
    yield from (up, states, restarts, names, cores, memory, *([recording] if recording.samples else []))


def _of_ward(ward: WardView, facts: WallFacts) -> Iterator[Metric]:
    yield GaugeMetricFamily("partum_ward_viewers", "Who look at the wall.", facts.viewers)
    yield CounterMetricFamily("partum_ward_wrong_tokens", "Wrong tokens that were brought.", facts.wrong_tokens)
    if facts.certificate_until is not None:
        yield GaugeMetricFamily(
            "partum_ward_certificate_expiry_timestamp_seconds",
            "When the certificate ends, in seconds since 1970.",
            facts.certificate_until.timestamp(),
        )
    yield GaugeMetricFamily("partum_ward_uptime_seconds", "Since the ward began.", round(ward.up_s, 1))
    yield CounterMetricFamily("partum_ward_reloads", "How often the configuration was read again.", ward.reloads)
    yield GaugeMetricFamily(
        "partum_ward_reload_failed", "1 where the configuration on disk was not taken.", bool(ward.reload_error)
    )
    yield from _of_engine(ward)
    yield from _of_recording(ward)


def _of_engine(ward: WardView) -> Iterator[Metric]:
    engine, capacity = ward.engine, ward.capacity
    yield GaugeMetricFamily("partum_ward_engine_up", "1 where the engine runs.", engine.state is ProcessState.RUNNING)
    yield CounterMetricFamily("partum_ward_engine_restarts", "How often it was started again.", engine.restarts)
    yield GaugeMetricFamily("partum_ward_load", "Share of the machine that the feeds take; 1 is all.", capacity.load)
    for name, what, value_ms in (
        ("partum_ward_expected_age_seconds", "Age of results that this load lets expect.", capacity.expected_ms),
        ("partum_ward_deadline_seconds", "The age that no feed may push others over.", capacity.deadline_ms),
    ):
        yield GaugeMetricFamily(name, what, value_ms / 1e3)


def _of_recording(ward: WardView) -> Iterator[Metric]:
    recording = ward.recording
    if recording.state == "off":
        return
    yield GaugeMetricFamily("partum_ward_recording", "1 where results are written.", recording.state == "on")
    for name, what, value in (
        ("partum_ward_recorded_bytes", "What all recordings take of the disk.", recording.used_bytes),
        ("partum_ward_quota_bytes", "What they may take (keep_gb).", recording.quota_bytes),
        ("partum_ward_free_bytes", "What the disk has left.", recording.free_bytes),
        ("partum_ward_reserve_bytes", "What of it stays free (reserve_gb).", recording.reserve_bytes),
    ):
        yield GaugeMetricFamily(name, what, value)
    yield CounterMetricFamily(
        "partum_ward_deleted_recordings", "Folders deleted because they were too old, or too many.", recording.deleted
    )
