"""What the screen says at a moment: one state, and numbers only where they are fresh."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from stream.biometry import Reason
from stream.measurement import State
from stream.sinks.drawing import WORDS
from stream.sources.live import Link, LinkStatus

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream.measurement import Measurement

STALE_S = 1.0
"""A result older than this is not shown, whatever it says."""
OUTLINE_POINTS = 90
"""An outline is thinned to so many points on its way to the page."""


class Shown(StrEnum):
    """The state line."""

    CONNECTING = "connecting"
    LIVE = "live"
    REPLAY = "replay"
    HOLD = "hold"
    NO_PLANE = "no plane"
    FROZEN = "frozen"
    NO_SIGNAL = "no signal"
    RECONNECTING = "reconnecting"
    ENDED = "ended"


WITH_NUMBERS = frozenset({Shown.LIVE, Shown.REPLAY, Shown.HOLD})
"""Only in these states is a number on the screen."""


BY_LINK = {
    Link.CONNECTING: Shown.CONNECTING,
    Link.NO_SIGNAL: Shown.NO_SIGNAL,
    Link.RECONNECTING: Shown.RECONNECTING,
    Link.CLOSED: Shown.ENDED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """All that decides what is shown.

    Attributes:
        measurement: the newest that is no dropped frame; None before the first.
        age_s: how long ago it came.
        link: of a live source; None for a recording.
        has_ended: whether the stream is over.
    """

    measurement: Measurement | None
    age_s: float
    link: LinkStatus | None
    has_ended: bool = False


def state_of(moment: Moment) -> tuple[Shown, str]:
    """The state line and the reason beside it, for people.

    Convention: what stands in the way first. Ended, then the link to the source, then the age of the newest result,
    then the picture, then the plane: so that no number of a source that is gone is ever called live.
    """
    if moment.has_ended:
        return Shown.ENDED, "the stream is over"
    link, measurement = moment.link, moment.measurement
    if link is not None and link.link is not Link.LIVE:
        return BY_LINK[link.link], link.reason
    if measurement is None:
        return Shown.CONNECTING, "waiting for the first frame"
    if moment.age_s > STALE_S:
        return Shown.NO_SIGNAL, f"no result for {moment.age_s:.0f} s"
    return _state_of_result(measurement, is_live=link is not None)


def _state_of_result(measurement: Measurement, *, is_live: bool) -> tuple[Shown, str]:
    if measurement.state is State.MEASURED:
        return (Shown.LIVE if is_live else Shown.REPLAY), ""
    if measurement.reason is Reason.FROZEN:
        return Shown.FROZEN, "the picture does not change"
    if measurement.reason is Reason.NO_SIGNAL:
        return Shown.NO_SIGNAL, "the picture is black"
    reason = WORDS.get(str(measurement.reason), str(measurement.reason))
    return (Shown.HOLD if measurement.aop else Shown.NO_PLANE), reason


def message_of(moment: Moment) -> dict[str, Any]:
    """What the page is told of a moment: plain JSON values; null where there is nothing to show."""
    state, reason = state_of(moment)
    measurement = moment.measurement
    message: dict[str, Any] = {"state": str(state), "reason": reason, "aop": None, "hsd": None, "drawing": None}
    if measurement is None:
        return message
    scale = measurement.mm_per_px
    if state in WITH_NUMBERS and measurement.aop:
        message["aop"] = _numbers(measurement.aop, 1.0)
        if measurement.hsd_min and scale:
            message["hsd"] = _numbers(measurement.hsd_min, scale)
    if state in WITH_NUMBERS and measurement.state is State.MEASURED:
        message["drawing"] = _drawing(measurement)
    height, width = measurement.frame.image.shape
    return message | {
        "feed": (moment.link.format or None) if moment.link else None,
        "index": measurement.frame.index,
        "time_s": round(measurement.frame.pts_s, 3),
        "width": width,
        "height": height,
        "aspect": measurement.frame.aspect,
        "is_calibrated": scale is not None,
        "plane": measurement.plane_probability,
        "latency_ms": round(measurement.latency_ms, 1),
        "mark": measurement.engine_mark or None,
    }


def _numbers(estimate: Any, scale: float) -> dict[str, Any]:
    return {
        "value": round(estimate.value * scale, 2),
        "low": round(estimate.lo95 * scale, 2),
        "high": round(estimate.hi95 * scale, 2),
        "is_fresh": str(estimate.status) == "measured",
        "age_s": round(estimate.age_s, 2),
    }


def _drawing(measurement: Measurement) -> dict[str, Any] | None:
    """Outlines and landmarks in pixels of the frame."""
    if measurement.outlines is None or measurement.biometry is None or measurement.biometry.landmarks is None:
        return None
    found = measurement.biometry.landmarks
    return {
        "ps": _thinned(measurement.outlines.ps_px),
        "fh": _thinned(measurement.outlines.fh_px),
        "superior": found.ps_superior,
        "inferior": found.ps_inferior,
        "tangent": found.tangent,
        "hsd_foot": found.hsd_min_foot,
    }


def _thinned(outline: NDArray[np.float32]) -> list[list[float]]:
    step = max(1, -(-len(outline) // OUTLINE_POINTS))
    points: list[list[float]] = np.round(outline[::step], 1).tolist()
    return points
