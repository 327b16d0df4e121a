"""What the page of a finished run is told: the whole run once, then each frame that is shown."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from stream.common.text import to_printable
from stream.frames.reason import Reason
from stream.labour.course import run_pushes
from stream.labour.edits import edits_in_force
from stream.labour.run_marks import marked_pushes
from stream.outputs.manifest import NOTICE
from stream.report.charts import thin
from stream.report.run_chart import has_values, picture_changes, refused_spans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from stream.labour.recorded_run import RecordedRun
    from stream.report.content import RunContent
    from stream.review.store import PictureStore

TREND_POINTS = 3000


class ReviewMessages:
    """Plain JSON values about a run and its frames.

    Args:
        content: the run's numbers.
        pictures: of it.
    """

    def __init__(self, content: RunContent, pictures: PictureStore) -> None:
        self._content, self._pictures = content, pictures
        self._lock = threading.Lock()

    @property
    def _run(self) -> RecordedRun:
        return self._content.run

    def run(self) -> dict[str, Any]:
        """The whole run: its times, course, pushes, marks and edits."""
        content, axis = self._content, self._content.axis
        model, note = self._run.model, self._run.made_note or str(self._run.source.get("note") or "")
        return {
            "notice": NOTICE,
            "name": to_printable(content.name),
            "note": to_printable("  ".join(each for each in (content.changes, note) if each)),
            "frames": len(self._run),
            "time_s": np.round(axis.time_s, 3).tolist(),
            "trend": self._trend(),
            "refused": [[round(start, 3), round(end, 3)] for start, end in refused_spans(content)],
            "changes": [[round(time_s, 3), words] for time_s, words in picture_changes(content)],
            "pushes": self.pushes(),
            "best": [row for row, _ in content.best_rows()],
            "marks": self.marks(),
            "edits": self.edited_rows(),
            "print": {
                "protocol": self._run.protocol,
                "engine": str(self._run.manifest.get("engine")),
                "model": str(model.get("sha256"))[:8],
                "run": self._run.status,
                "band": f"{'absolute' if self._is_absolute else 'repeatability'}, 95 %",
            },
        }

    def marks(self) -> list[dict[str, Any]]:
        """All marks, in seconds of the axis; of a start or an end that makes no push, why."""
        marks = self._run.read_marks()
        lone = marked_pushes(marks).lone
        return [
            {
                "time_s": round(self._content.axis.of(mark["pts_s"], mark["segment"]), 3),
                "kind": mark.get("kind", "mark"),
                "note": mark.get("note"),
                "by": mark.get("by"),
                "lone": lone.get(mark["mark"]),
            }
            for mark in marks
        ]

    def edited_rows(self) -> list[int]:
        """Frames that a person confirmed or corrected."""
        return list(edits_in_force(self._run))

    def frame(self, row: int) -> dict[str, Any]:
        """What is shown of a frame."""
        record = self._run.table.record(row)
        size = self._pictures.size(row)
        is_reading = (
            size is None and row >= len(self._pictures) and not (self._pictures.error or self._pictures.is_done)
        )
        landmarks = record.get("landmarks_px")
        edit = edits_in_force(self._run).get(row)
        reason = record.get("reason")
        found: dict[str, Any] = {
            "index": row,
            "state": record["state"],
            "reason": Reason(reason).text if reason else "",
            "aop": _numbers(record, "aop", "deg"),
            "hsd": _numbers(record, "hsd_min", "mm"),
            "is_calibrated": record.get("spacing_mm") is not None,
            "aop_alone": record.get("aop_raw_deg"),
            "quality": record.get("quality"),
            "plane": record.get("plane_probability"),
            "points": {name: landmarks[name] for name in ("ps_superior", "ps_inferior", "tangent")}
            if landmarks
            else None,
            "drawing": _drawing(landmarks),
            "edit": None if edit is None else {**edit, "reason_words": _words(edit)},
            "is_reading": is_reading,
            "picture_words": "" if size else "reading pictures" if is_reading else self._why_no_picture(row),
        }
        if size:
            found |= {"width": size[0], "height": size[1], "aspect": size[2]}
        return found

    def _why_no_picture(self, row: int) -> str:
        return "no picture of this frame" if row < len(self._pictures) else self._pictures.error or "no picture"

    @cached_property
    def is_mirrored(self) -> NDArray[np.bool_]:
        """(N,) how each frame is taken to lie: as the nearest frame that was measured."""
        read = self._run.table.words("mirrored")
        known = np.flatnonzero([value is not None for value in read])
        if not len(known):
            return np.zeros(len(read), bool)
        rows = np.arange(len(read))
        after = np.clip(np.searchsorted(known, rows), 0, len(known) - 1)
        before = np.clip(after - 1, 0, len(known) - 1)
        chosen = np.where(np.abs(known[before] - rows) <= np.abs(known[after] - rows), known[before], known[after])
        return np.array([bool(read[row]) for row in chosen])

    @property
    def _is_absolute(self) -> bool:
        """Whether the absolute interval of AoP is known; else the band of the time line is that of repeatability."""
        return has_values(self._content.numbers("aop_absolute_lo95_deg"))

    def _trend(self) -> list[list[float | None]]:
        """Time, AoP and its interval, thinned; a null value ends a line."""
        content = self._content
        if not len(self._run):
            return []
        infix = "_absolute" if self._is_absolute else ""
        names = ("", f"{infix}_lo95", f"{infix}_hi95")
        rows = np.vstack([self._shown(f"aop{name}_deg", f"aop_extrapolated{name}_deg") for name in names])
        time_s, rows = thin(content.axis.time_s, rows, TREND_POINTS)
        return [
            [round(float(time), 3), *(None if np.isnan(value) else round(float(value), 2) for value in values)]
            for time, values in zip(time_s, rows.T, strict=True)
        ]

    def _shown(self, own: str, beside: str) -> NDArray[np.float64]:
        first, second = self._content.numbers(own), self._content.numbers(beside)
        empty = np.full(len(self._run), np.nan)
        first, second = (empty if each is None else each for each in (first, second))
        return np.where(np.isfinite(first), first, second)

    def pushes(self) -> list[dict[str, Any]]:
        """Pushes, marked and found, in seconds of the axis; marks that were set meanwhile count."""
        axis = self._content.axis
        found = []
        for number, push in enumerate(run_pushes(self._run, self._content.course), 1):
            start, end = (axis.of(time_s, push.segment) for time_s in (push.start_s, push.end_s))
            row = int(np.searchsorted(axis.time_s, start)) if push.best_row is None else push.best_row
            found.append({"name": str(number), "start_s": round(start, 3), "end_s": round(end, 3), "row": row})
        return found


def _numbers(record: Mapping[str, Any], name: str, unit: str) -> dict[str, Any] | None:
    """A tracked value of a record with the interval that is shown; None where it has none."""
    for infix, is_fresh in (("", True), ("_extrapolated", False)):
        value = record.get(f"{name}{infix}_{unit}")
        if value is None:
            continue
        low, high = (record.get(f"{name}{infix}_absolute_{bound}95_{unit}") for bound in ("lo", "hi"))
        kind = "absolute"
        if low is None or high is None:
            low, high = (record.get(f"{name}{infix}_{bound}95_{unit}") for bound in ("lo", "hi"))
            kind = "repeatability"
        age = 0.0 if is_fresh else record.get("track_age_s") or 0.0
        repeats = [record.get(f"{name}{infix}_{bound}95_{unit}") for bound in ("lo", "hi")]
        return {
            "value": value,
            "low": low,
            "high": high,
            "interval": kind,
            "repeatability": repeats,
            "is_fresh": is_fresh,
            "age_s": age,
        }
    return None


def _drawing(landmarks: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Lines of a reading as the page draws them; its outlines come after."""
    if not landmarks:
        return None
    return {
        "ps": [],
        "fh": [],
        "superior": landmarks["ps_superior"],
        "inferior": landmarks["ps_inferior"],
        "tangent": landmarks["tangent"],
        "hsd_foot": landmarks.get("hsd_min_foot"),
    }


def _words(edit: Mapping[str, Any]) -> str:
    return Reason(edit["reason"]).text if edit.get("reason") else ""
