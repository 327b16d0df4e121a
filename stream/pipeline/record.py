"""What the user receives for every frame, and the record of it that is written to files."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from stream.measurement.protocols import find_protocol
from stream.tracking.tracker import Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from stream.frames.frame import Frame
    from stream.measurement.biometry import Biometry, Point, Reason
    from stream.pipeline.stages import Stage
    from stream.tracking.tracker import Estimate

RECORD_SCHEMA = "partum.measurement/2"
"""Since 2 the tracked values of frames whose own reading was not accepted stand in fields of their own."""
CLOCK_FIELDS = ("latency_ms",)
"""The fields of a record that two runs over the same recording do not share."""
STALE_S = 1.0
"""What was captured longer ago than this is not live: no number of it is shown as one, however late it came."""


class State(StrEnum):
    """What became of a frame. Every frame read has exactly one."""

    MEASURED = "measured"
    REFUSED = "refused"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Outlines:
    """The segmented structures' outlines, (N, 2) xy in pixels of the frame; empty where absent."""

    ps_px: NDArray[np.float32]
    fh_px: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Measurement:
    """One frame's result.

    Attributes:
        frame: the frame itself; its pixels are only read by pictures, never written to records.
        state: measured, refused (with `reason`) or dropped.
        plane_probability: that this is a standard plane, [0, 1]; None where the network did not see the frame.
        biometry: this frame's own reading; landmarks and lengths in pixels of the frame (see `protocol`).
        aop, hsd_min, hsd_perp: the tracked values, in degrees and pixels; None where nothing may be shown.
        outlines: of what was segmented; None for a dropped frame.
        latency_ms: from capture to this result.
        stage_ms: what the latency is made of; of frames that the network was asked about.
        engine_mark: what must be said of the engine beside every result; empty for an accepted one.
    """

    frame: Frame
    protocol: str
    state: State
    latency_ms: float
    reason: Reason | None = None
    plane_probability: float | None = None
    biometry: Biometry | None = None
    aop: Estimate | None = None
    hsd_min: Estimate | None = None
    hsd_perp: Estimate | None = None
    outlines: Outlines | None = None
    stage_ms: Mapping[Stage, float] = field(default_factory=dict)
    engine_mark: str = ""

    def age_s(self, now_ns: int) -> float:
        """How long ago its frame was captured, in seconds; `now_ns` on the clock that stamped the frame."""
        return max(0, now_ns - self.frame.captured_ns) / 1e9

    @property
    def mm_per_px(self) -> float | None:
        """Scale of the lengths: the height of a pixel, the unit of isotropic pixels.

        None without spacing, and under the challenge protocols, whose pixels are those of a squeezed square.
        """
        spacing = self.frame.spacing
        return spacing.y_mm if spacing and not self._is_squeezed else None

    def record(self) -> dict[str, object]:
        """The line written to `measurements.jsonl`: plain JSON values, None where there is no value."""
        reading = self.biometry
        scale = self.mm_per_px
        record: dict[str, object] = {
            "schema": RECORD_SCHEMA,
            "index": self.frame.index,
            "pts_s": round(self.frame.pts_s, 6),
            "segment": self.frame.segment,
            "segment_cause": str(self.frame.segment_cause),
            "state": str(self.state),
            "reason": str(self.reason) if self.reason else None,
            "plane_probability": _rounded(self.plane_probability, 4),
            "protocol": self.protocol,
            "aop_raw_deg": _rounded(reading.aop_deg if reading else None),
            **_tracked("aop", self.aop, "deg"),
        }
        for name, raw, track in (
            ("hsd_min", reading.hsd_min if reading else None, self.hsd_min),
            ("hsd_perp", reading.hsd_perp if reading else None, self.hsd_perp),
        ):
            record |= {f"{name}_raw_px": _rounded(raw), **_tracked(name, track, "px")}
            record |= {f"{name}_raw_mm": _rounded(raw, scale=scale), **_tracked(name, track, "mm", scale)}
        return record | {
            "track": str(self.aop.status) if self.aop else None,
            "track_age_s": _rounded(self.aop.age_s if self.aop else None),
            "hsd_min_track": str(self.hsd_min.status) if self.hsd_min else None,
            "hsd_perp_track": str(self.hsd_perp.status) if self.hsd_perp else None,
            "landmarks_px": self._landmarks(),
            # The challenge protocols do not ask.
            "mirrored": reading.mirrored if reading and reading.landmarks and not self._is_squeezed else None,
            "quality": _rounded(reading.quality if reading and reading.landmarks else None),
            "hsd_mm_withheld": self._hsd_mm_withheld,
            "origin_px": list(self.frame.origin),
            "spacing_mm": [self.frame.spacing.x_mm, self.frame.spacing.y_mm] if self.frame.spacing else None,
            "spacing_note": self.frame.spacing_note or None,
            "engine_mark": self.engine_mark or None,
            "latency_ms": round(self.latency_ms, 3),
        }

    @property
    def _is_squeezed(self) -> bool:
        return find_protocol(self.protocol).is_squeezed

    @property
    def _hsd_mm_withheld(self) -> str | None:
        """Why a measured frame has no HSD in millimetres."""
        if self.biometry is None or self.biometry.reason or self.mm_per_px:
            return None
        return "protocol" if self.frame.spacing else "uncalibrated"

    def _landmarks(self) -> dict[str, list[float] | None] | None:
        found = self.biometry.landmarks if self.biometry else None
        if found is None:
            return None
        return {
            "ps_superior": _xy(found.ps_superior),
            "ps_inferior": _xy(found.ps_inferior),
            "tangent": _xy(found.tangent),
            "hsd_min_foot": _xy(found.hsd_min_foot),
            "hsd_perp_foot": _xy(found.hsd_perp_foot),
        }


def _xy(point: Point | None) -> list[float] | None:
    return [round(point[0], 3), round(point[1], 3)] if point else None


def _rounded(value: float | None, digits: int = 3, *, scale: float | None = 1.0) -> float | None:
    return None if value is None or scale is None else round(value * scale, digits)


def _tracked(name: str, estimate: Estimate | None, unit: str, scale: float | None = 1.0) -> dict[str, float | None]:
    """The filtered value and its 95 % interval, scaled to `unit`; all None where there is no track.

    What does not rest on this frame's own reading stands in fields of its own, so that nobody who reads a column takes
    it for measured.
    """
    is_measured = estimate is not None and estimate.status is Status.MEASURED
    fields: dict[str, float | None] = {}
    for prefix, shown in (
        ("", estimate if is_measured else None),
        ("_extrapolated", None if is_measured else estimate),
    ):
        value, low, high = (shown.value, shown.lo95, shown.hi95) if shown else (None, None, None)
        fields |= {
            f"{name}{prefix}_{unit}": _rounded(value, scale=scale),
            f"{name}{prefix}_lo95_{unit}": _rounded(low, scale=scale),
            f"{name}{prefix}_hi95_{unit}": _rounded(high, scale=scale),
        }
    return fields
