"""`edits.jsonl`: what people corrected of a finished run, one line an edit, each added behind the last, none changed.

A line never takes the place of the automatic reading, which it repeats (`automatic`). What holds of a frame is its last
line: `withdraw` there means that the automatic reading stands alone again.

    schema        "partum.edit/1"
    edit          number of the line, from 1
    edited_utc    when, ISO 8601
    by            who, as the reviewer typed it
    kind          confirm (the automatic reading is right), points (ends of the PS, or the tangent, moved), outlines
                  (PS or head drawn anew), withdraw
    index, pts_s, segment, protocol, mirrored      of the frame
    size_px, origin_px, spacing_mm                 of the frame: [width, height], its place in the source's picture,
                  [x, y]
    moved         names of the landmarks that were moved by hand
    landmarks_px  all points after the edit, as in `measurements.jsonl`; null where there are none
    outlines_px   {"ps": [[x, y], ...], "fh": ...}: outlines that were drawn by hand, null where the network's holds
    values        {"aop_deg", "hsd_min_px", "hsd_min_mm", "hsd_perp_px", "hsd_perp_mm"}: measured on the edited frame by
                  the same protocol; each null where it does not exist
    reason        why there are no values, as in `measurements.jsonl`; null where there are
    automatic     {"state", "reason", "aop_raw_deg", "hsd_min_raw_px", "hsd_min_raw_mm", "landmarks_px"}: as recorded
    note          words of the reviewer, or null
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from stream.frames.reason import Reason
from stream.labour.recorded_run import EDITS, check_utc
from stream.outputs.manifest import now_utc
from stream.outputs.marks import plain_text
from stream.outputs.run_log import log_file_change
from stream.outputs.tables import LineWriter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stream.labour.recorded_run import RecordedRun

EDIT_SCHEMA = "partum.edit/1"
AUTOMATIC = ("state", "reason", "aop_raw_deg", "hsd_min_raw_px", "hsd_min_raw_mm", "landmarks_px")
"""What of a frame's record is repeated beside its edit."""
OF_FRAME = ("index", "pts_s", "segment", "protocol", "mirrored", "origin_px", "spacing_mm")
VALUES = ("aop_deg", "hsd_min_px", "hsd_min_mm", "hsd_perp_px", "hsd_perp_mm")


class EditKind(StrEnum):
    """What a person did. The values are the codes written to files."""

    CONFIRM = "confirm"
    POINTS = "points"
    OUTLINES = "outlines"
    WITHDRAW = "withdraw"


@dataclass(frozen=True, slots=True, kw_only=True)
class EditedReading:
    """What was measured on an edited frame; see the form of the file.

    Attributes:
        moved: names of the landmarks that were moved by hand.
        landmarks_px: all of them after the edit; None where there are none.
        outlines_px: those that were drawn by hand, by `ps` and `fh`.
        values: by the names of `VALUES`; those that are left out do not exist.
        reason: why there are none.
    """

    moved: Sequence[str] = ()
    landmarks_px: Mapping[str, Any] | None = None
    outlines_px: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, float | None] = field(default_factory=dict)
    reason: str | None = None


def read_edits(run: RecordedRun) -> Sequence[Mapping[str, Any]]:
    """All edits of a run, in order.

    Raises:
        RunUnreadable: the file is damaged, or of another version.
    """

    def check(edit: Mapping[str, Any]) -> None:
        run.check_place(edit)
        check_utc(edit.get("edited_utc"))
        EditKind(edit["kind"])
        forms = {"edit": int, "by": str, "values": dict, "automatic": dict, "moved": list, "outlines_px": dict}
        for name, form in forms.items():
            if not isinstance(edit.get(name), form):
                raise ValueError(f"{name} is {edit.get(name)!r}")
        for name in (*VALUES, *AUTOMATIC):
            value = edit["values" if name in VALUES else "automatic"][name]
            if name.startswith(("aop", "hsd")) and not isinstance(value, (int, float, type(None))):
                raise ValueError(f"{name} is {value!r}")
        if edit.get("reason") is not None:
            Reason(edit["reason"])
        drawn = [point for outline in edit["outlines_px"].values() for point in outline or ()]
        for x, y in (*filter(None, (edit.get("landmarks_px") or {}).values()), *drawn):
            if not isinstance(x, (int, float)) or not isinstance(y, (int, float)):
                raise ValueError(f"a point is {[x, y]!r}")

    return run.edits(schema=EDIT_SCHEMA, check=check)


def edits_in_force(run: RecordedRun) -> Mapping[int, Mapping[str, Any]]:
    """The edit that holds of each frame that has one, by the frame's index; those withdrawn are left out.

    Raises:
        RunUnreadable: likewise.
    """
    last = {edit["index"]: edit for edit in read_edits(run)}
    return {index: edit for index, edit in sorted(last.items()) if edit["kind"] != EditKind.WITHDRAW}


def add_edit(
    run: RecordedRun,
    row: int,
    kind: EditKind,
    *,
    by: str,
    size_px: tuple[int, int],
    reading: EditedReading | None = None,
    note: str = "",
) -> dict[str, Any]:
    """Adds a line; returns it.

    Args:
        run: finished.
        row: of the frame.
        kind: what was done.
        by: who; not empty.
        size_px: width and height of the frame.
        reading: what was measured then; None where nothing was changed.
        note: words of the reviewer.

    Raises:
        OutputError: it cannot be written; the file is as it was.
        RunUnreadable: the edits that are there cannot be read.
    """
    record, found = run.table.record(row), reading or EditedReading()
    path = run.folder / EDITS
    line: dict[str, Any] = {
        "schema": EDIT_SCHEMA,
        "edit": len(read_edits(run)) + 1,
        "edited_utc": now_utc(),
        "by": plain_text(by),
        "kind": str(kind),
        **{name: record.get(name) for name in OF_FRAME},
        "size_px": list(size_px),
        "moved": list(found.moved),
        "landmarks_px": found.landmarks_px,
        "outlines_px": {name: found.outlines_px.get(name) for name in ("ps", "fh")},
        "values": {name: found.values.get(name) for name in VALUES},
        "reason": found.reason,
        "automatic": {name: record.get(name) for name in AUTOMATIC},
        "note": plain_text(note),
    }
    writer = LineWriter(path, append=True)
    try:
        writer.add(json.dumps(line, allow_nan=False) + "\n")
    finally:
        writer.close()
    log_file_change(run.folder, EDITS)
    return line
