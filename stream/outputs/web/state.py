"""The display state of the page at a moment, with numbers only where they are fresh."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from stream.frames.reason import Reason
from stream.outputs.pictures.drawing import describe_reason
from stream.pipeline.record import STALE_S, FrameState
from stream.pipeline.stages import Stage
from stream.pipeline.throughput import Throughput
from stream.sources.live.base import LinkState, LinkStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from stream.pipeline.record import Measurement
    from stream.tracking.tracker import Estimate

OUTLINE_POINTS = 72
"""Points of an outline on its way to the page, which draws a smooth curve through them."""


class DisplayState(StrEnum):
    """The state line of the page."""

    CONNECTING = "connecting"
    LIVE = "live"
    REPLAY = "replay"
    HOLD = "hold"
    NO_PLANE = "no plane"
    FROZEN = "frozen"
    NO_SIGNAL = "no signal"
    DELAYED = "delayed"
    """Pictures come, but the newest result is of one captured longer ago than `STALE_S`."""
    RECONNECTING = "reconnecting"
    ENDED = "ended"


WITH_NUMBERS = frozenset({DisplayState.LIVE, DisplayState.REPLAY, DisplayState.HOLD})
"""Only in these states is a number on the page."""


BY_LINK = {
    LinkState.CONNECTING: DisplayState.CONNECTING,
    LinkState.NO_SIGNAL: DisplayState.NO_SIGNAL,
    LinkState.RECONNECTING: DisplayState.RECONNECTING,
    LinkState.CLOSED: DisplayState.ENDED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that decides what the page shows, at one moment.

    Attributes:
        measurement: the newest that is no dropped frame; None before the first.
        age_s: how long ago its frame was captured.
        link: of a live source; None for a recording.
        has_ended: whether the stream is over.
        throughput: whether this machine keeps up.
        remedies: what would help where it does not.
    """

    measurement: Measurement | None
    age_s: float
    link: LinkStatus | None
    has_ended: bool = False
    throughput: Throughput = field(default_factory=Throughput)
    remedies: Sequence[str] = ()

    def is_fresh(self, estimate: Estimate | None) -> bool:
        """Whether an estimate may be shown as today's: the last reading it rests on was captured within `STALE_S`."""
        return estimate is not None and self.age_s + estimate.age_s <= STALE_S


def display_state(snapshot: Snapshot) -> tuple[DisplayState, str]:
    """The state line and the reason beside it, for people.

    Convention: what stands in the way first. Ended, then the link to the source, then the age of the newest result,
    then the picture, then the plane: so that no number of a source that is gone, or of a moment ago, is called live.
    """
    if snapshot.has_ended:
        return DisplayState.ENDED, "the stream is over"
    link, measurement = snapshot.link, snapshot.measurement
    if link is not None and link.link is not LinkState.LIVE:
        return BY_LINK[link.link], link.reason
    if measurement is None:
        return DisplayState.CONNECTING, "waiting for the first frame"
    if snapshot.age_s > STALE_S:
        return _state_when_stale(snapshot, measurement)
    return _state_of_result(snapshot, measurement)


def _state_when_stale(snapshot: Snapshot, measurement: Measurement) -> tuple[DisplayState, str]:
    """The newest result is too old: of a recording none came, or late; of a feed, whose link is live, it came late."""
    came_late = measurement.latency_ms > 1e3 * STALE_S and snapshot.throughput.processed_hz > 0
    if snapshot.link is None and came_late:
        return (
            DisplayState.DELAYED,
            f"{snapshot.age_s:.0f} s behind the pace of the recording: this machine does not keep up",
        )
    if snapshot.link is None:
        return DisplayState.NO_SIGNAL, f"no result for {snapshot.age_s:.0f} s"
    age = f"the newest result is {snapshot.age_s:.0f} s old"
    if snapshot.throughput.is_overloaded:
        return DisplayState.DELAYED, f"{age}: {snapshot.throughput.message}"
    read_ms = measurement.stage_ms.get(Stage.READ)
    if read_ms is not None and read_ms < measurement.latency_ms / 2:
        return DisplayState.DELAYED, f"{age}: this machine does not keep up"
    return DisplayState.DELAYED, f"{age}: its picture came late"


def _state_of_result(snapshot: Snapshot, measurement: Measurement) -> tuple[DisplayState, str]:
    if measurement.state is FrameState.MEASURED:
        note = measurement.frame.spacing_note
        return (
            DisplayState.REPLAY if snapshot.link is None else DisplayState.LIVE
        ), f"HSD not in mm: {note}" if note else ""
    if measurement.reason is Reason.FROZEN:
        return DisplayState.FROZEN, "the picture does not change"
    if measurement.reason is Reason.NO_SIGNAL:
        return DisplayState.NO_SIGNAL, "the picture is black"
    state = DisplayState.HOLD if snapshot.is_fresh(measurement.aop) else DisplayState.NO_PLANE
    return state, describe_reason(measurement)


def page_message(snapshot: Snapshot) -> dict[str, Any]:
    """Message to the page about a snapshot: plain JSON values; null where there is nothing to show."""
    state, reason = display_state(snapshot)
    measurement = snapshot.measurement
    message: dict[str, Any] = {"state": str(state), "reason": reason, "aop": None, "hsd": None, "drawing": None}
    message |= {
        "rate_hz": round(snapshot.throughput.processed_hz, 1) or None,
        "age_ms": round(snapshot.age_s * 1e3) if measurement else None,
        "overload": _overload(snapshot),
    }
    if measurement is None:
        return message
    scale = measurement.mm_per_px
    if state in WITH_NUMBERS:
        message["aop"] = _numbers(snapshot, measurement.aop, 1.0)
        message["hsd"] = _numbers(snapshot, measurement.hsd_min, scale) if message["aop"] and scale else None
    if state in WITH_NUMBERS and measurement.state is FrameState.MEASURED:
        message["drawing"] = _drawing(measurement)
    height, width = measurement.frame.image.shape
    return message | {
        "feed": _said_of_feed(snapshot.link),
        "index": measurement.frame.index,
        "time_s": round(measurement.frame.pts_s, 3),
        "width": width,
        "height": height,
        "aspect": measurement.frame.aspect,
        "is_calibrated": scale is not None,
        "scale_note": measurement.frame.spacing_note or None,
        "plane": measurement.plane_probability,
        "latency_ms": round(measurement.latency_ms, 1),
        "mark": measurement.engine_warning or None,
    }


def _overload(snapshot: Snapshot) -> dict[str, Any] | None:
    """That this machine does not keep up, in words, and what would help; None where it does."""
    words = snapshot.throughput.message
    return {"words": words, "remedies": list(snapshot.remedies)} if words else None


def _numbers(snapshot: Snapshot, estimate: Estimate | None, scale: float) -> dict[str, Any] | None:
    """A value with its interval and its age since capture; None where it is too old to be shown."""
    if estimate is None or not snapshot.is_fresh(estimate):
        return None
    low, high, kind = estimate.shown_interval
    return {
        "value": round(estimate.value * scale, 2),
        "low": round(low * scale, 2),
        "high": round(high * scale, 2),
        "interval": kind,
        "repeatability": [round(estimate.lo95 * scale, 2), round(estimate.hi95 * scale, 2)],
        "is_fresh": str(estimate.status) == "measured",
        "age_s": round(estimate.age_s + snapshot.age_s, 2),
    }


def _drawing(measurement: Measurement) -> dict[str, Any] | None:
    """Outlines and landmarks in pixels of the frame."""
    if measurement.outlines is None or measurement.biometry is None or measurement.biometry.landmarks is None:
        return None
    found = measurement.biometry.landmarks
    return {
        "ps": thinned_outline(measurement.outlines.ps_px),
        "fh": thinned_outline(measurement.outlines.fh_px),
        "superior": found.ps_superior,
        "inferior": found.ps_inferior,
        "tangent": found.tangent,
        "hsd_foot": found.hsd_min_foot,
    }


def thinned_outline(outline: NDArray[np.float32]) -> list[list[float]]:
    """`OUTLINE_POINTS` points along a closed outline, at equal distances; fewer where it has fewer."""
    if len(outline) <= OUTLINE_POINTS:
        return [[round(float(x), 2), round(float(y), 2)] for x, y in outline]
    closed = np.concatenate([outline, outline[:1]]).astype(np.float64)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    at = np.linspace(0.0, along[-1], OUTLINE_POINTS, endpoint=False)
    points: list[list[float]] = np.round(
        np.column_stack([np.interp(at, along, closed[:, axis]) for axis in (0, 1)]), 2
    ).tolist()
    return points


def _said_of_feed(link: LinkStatus | None) -> str | None:
    """What was negotiated with the peer, and what must be known of its times or scale."""
    return ("; ".join(filter(None, (link.format, link.note))) or None) if link else None
