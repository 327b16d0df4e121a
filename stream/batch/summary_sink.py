"""What is gathered of a recording while it is measured: its numbers, its course, and the picture of its best frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Protocol

import cv2

from stream.batch.summary import PICTURE, STILL
from stream.common.atomic_file import write_atomic
from stream.outputs.pictures.drawing import PICTURE_PX, Painter
from stream.pipeline.record import FrameState
from stream.tracking.tracker import EstimateStatus

if TYPE_CHECKING:
    from pathlib import Path

    from engines.base import Engine
    from stream.batch.summary import Course, Row
    from stream.pipeline.record import Measurement
    from stream.pipeline.statistics import RunStatistics

JPEG_QUALITY = 85
MOST_POINTS = 240
"""Of a course; beyond, every second one goes."""


class Shown(Protocol):
    """What is known of a recording's best frame; see `SummarySink`."""

    def best_facts(self) -> Row: ...

    def best_reading(self) -> Row: ...


def row_of(statistics: RunStatistics, shown: Shown, *, engine: Engine, protocol: str, is_still: bool, note: str) -> Row:
    """The numbers of a recording: medians of its measured frames, with the medians of their interval's bounds.

    Of a still picture there is no track: its own reading stands for itself, without an interval of repeatability.
    """
    frames, measured = statistics.frames_in, statistics.states["measured"]
    row: Row = {
        "frames": frames,
        **{state: statistics.states[state] for state in ("measured", "refused", "dropped")},
        "measured_share": round(measured / frames, 4) if frames else None,
        "reasons": "; ".join(f"{reason} {count}" for reason, count in statistics.reasons.most_common()),
        "protocol": protocol,
        "engine": engine.name,
        "model_sha256": engine.spec.sha256,
        "partum": metadata.version("partum"),
        "note": "; ".join(each for each in (note, statistics.cut_note, engine.spec.warning) if each),
    }
    if is_still:
        return row | shown.best_reading() | shown.best_facts()
    for quantity, unit in (("aop", "deg"), ("hsd_min", "mm"), ("hsd_min", "px")):
        found = statistics.typical(f"{quantity}_{unit}")
        if found:
            names = f"{quantity}_{unit}", f"{quantity}_lo95_{unit}", f"{quantity}_hi95_{unit}"
            row |= dict(zip(names, found, strict=True))
    if absolute := statistics.typical_absolute:
        row |= dict(zip(("aop_absolute_lo95_deg", "aop_absolute_hi95_deg"), absolute, strict=True))
    return row | shown.best_facts()


@dataclass(slots=True)
class SummaryCourse:
    """AoP over time in few points: seconds, value and bounds; None where there is none."""

    points: Course = field(default_factory=list)
    _stride: int = 1
    _seen: int = 0

    def add(self, measurement: Measurement) -> None:
        """Adds the next frame's result, unless it is one of those left out."""
        self._seen += 1
        if (self._seen - 1) % self._stride or measurement.state is FrameState.DROPPED:
            return
        aop = measurement.aop
        is_own = aop is not None and aop.status is EstimateStatus.MEASURED
        values = (aop.value, aop.lo95, aop.hi95) if aop and is_own else (None, None, None)
        self.points.append([round(measurement.frame.pts_s, 3), *(value and round(value, 2) for value in values)])
        if len(self.points) > MOST_POINTS:
            self.points, self._stride = self.points[::2], 2 * self._stride


class SummarySink:
    """A `stream.outputs.base.Sink` that keeps the best frame and the course, and draws that frame at the end.

    The best frame is the measured one whose plane probability times quality is highest, the first of equals; where none
    is measured, the first one is drawn, without numbers.

    Args:
        folder: for `thumbnail.jpg`, and of a still `overlay.png`.
        course: filled.
        draws: whether pictures are written at all.
        is_still: writes the whole drawing too.
        note: words of the source that must be seen with the picture, or "".
    """

    def __init__(self, folder: Path, course: SummaryCourse, *, draws: bool, is_still: bool, note: str) -> None:
        self._course = course
        self._folder, self._draws, self._is_still, self._note = folder, draws, is_still, note
        self._best: Measurement | None = None
        self._first: Measurement | None = None
        self._score = -1.0
        self._is_closed = False

    def write(self, measurement: Measurement) -> None:
        self._course.add(measurement)
        if self._first is None and measurement.state is not FrameState.DROPPED:
            self._first = measurement
        if measurement.state is FrameState.MEASURED and (score := _score(measurement)) > self._score:
            self._best, self._score = measurement, score

    def close(self) -> None:
        shown = self._best or self._first
        if self._is_closed or not self._draws or shown is None:
            return
        self._is_closed = True
        canvas = Painter(self._note).paint(shown)
        picture = canvas[:PICTURE_PX, :PICTURE_PX]
        _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        write_atomic(self._folder / PICTURE, coded.tobytes())
        if self._is_still:
            write_atomic(self._folder / STILL, cv2.imencode(".png", canvas)[1].tobytes())

    @property
    def score(self) -> float | None:
        """Of the best frame; -1 where none is measured, None where there is none at all."""
        return None if self._first is None else self._score

    def best_facts(self) -> Row:
        """Which frame is the best, and its scale; of a recording without a measured one, the scale of its first."""
        shown = self._best or self._first
        if shown is None:
            return {}
        spacing, frame = shown.frame.spacing, shown.frame
        facts: Row = {"spacing_note": frame.spacing_note}
        if spacing:
            facts |= {"spacing_x_mm": spacing.x_mm, "spacing_y_mm": spacing.y_mm}
        if self._best and self._best.biometry:
            aop = self._best.biometry.aop_deg
            facts |= {"best_frame": frame.index, "best_frame_s": round(frame.pts_s, 3)}
            facts |= {"best_frame_aop_deg": None if aop is None else round(aop, 1)}
        return facts

    def best_reading(self) -> Row:
        """The best frame's own AoP and HSD, without a track: with the absolute interval of AoP, where it is known."""
        reading = self._best.biometry if self._best else None
        if self._best is None or reading is None:
            return {}
        scale, hsd = self._best.mm_per_px, reading.hsd_min
        absolute: Row = {}
        if reading.aop_deg is not None and reading.absolute_half_deg is not None:
            absolute["aop_absolute_lo95_deg"] = round(reading.aop_deg - reading.absolute_half_deg, 1)
            absolute["aop_absolute_hi95_deg"] = round(reading.aop_deg + reading.absolute_half_deg, 1)
        return absolute | {
            "aop_deg": None if reading.aop_deg is None else round(reading.aop_deg, 1),
            "hsd_min_px": None if hsd is None else round(hsd, 1),
            "hsd_min_mm": None if hsd is None or scale is None else round(hsd * scale, 1),
        }


def _score(measurement: Measurement) -> float:
    quality = measurement.biometry.quality if measurement.biometry else 0.0
    return (measurement.plane_probability or 0.0) * (quality or 0.0)
