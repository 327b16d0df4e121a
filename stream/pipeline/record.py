"""The record of a frame, for the user; `stream.pipeline.record_fields` says what of it is written to files."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from stream.measurement.biometry import Outlines
from stream.measurement.protocols import find_protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream.frames.frame import Frame
    from stream.frames.reason import Reason
    from stream.inference.label_grid import FrameMask
    from stream.measurement.biometry import Biometry, Landmarks
    from stream.pipeline.stages import Stage
    from stream.tracking.tracker import Estimate

UNCALIBRATED, WITHHELD_BY_PROTOCOL = "uncalibrated", "protocol"
"""Why a measured frame has no HSD in millimetres."""
STALE_S = 1.0
"""What was captured longer ago than this is not live: no number of it is shown as one, however late it came."""


class FrameState(StrEnum):
    """What became of a frame. Every frame read has exactly one."""

    MEASURED = "measured"
    REFUSED = "refused"
    DROPPED = "dropped"


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
        mask: the same as labels; None where the network was not asked.
        latency_ms: from capture to this result.
        stage_ms: what the latency is made of; of frames that the network was asked about.
        engine: what ran the network on this frame, for people; empty where it was not asked.
        engine_replaced: which engine ran before that one, and how it failed, in a line; empty of the first.
        engine_warning: what must be said of the engine beside every result; empty for an accepted one.
    """

    frame: Frame
    protocol: str
    state: FrameState
    latency_ms: float
    reason: Reason | None = None
    plane_probability: float | None = None
    biometry: Biometry | None = None
    aop: Estimate | None = None
    hsd_min: Estimate | None = None
    hsd_perp: Estimate | None = None
    outlines: Outlines | None = field(default=None, repr=False)
    mask: FrameMask | None = field(default=None, repr=False)
    stage_ms: Mapping[Stage, float] = field(default_factory=dict, repr=False)
    engine: str = ""
    engine_replaced: str = ""
    engine_warning: str = ""

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

    @property
    def reads_orientation(self) -> bool:
        """Whether which way round the picture is was read off this frame; the challenge protocols do not ask."""
        return self.landmarks is not None and not self._is_squeezed

    @property
    def landmarks(self) -> Landmarks | None:
        """The points the reading was taken from, in pixels of the frame; None where not measured."""
        return self.biometry.landmarks if self.biometry else None

    @property
    def hsd_mm_withheld(self) -> str | None:
        """Why a measured frame has no HSD in millimetres."""
        if self.biometry is None or self.biometry.reason or self.mm_per_px:
            return None
        return WITHHELD_BY_PROTOCOL if self.frame.spacing else UNCALIBRATED

    @property
    def _is_squeezed(self) -> bool:
        return find_protocol(self.protocol).is_squeezed
