"""What a batch keeps of a recording beside its results: a row of the summary, and a course for the page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from stream.common.atomic_file import write_atomic
from stream.outputs.manifest import NOTICE
from stream.outputs.run_log import log_file_change

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SCHEMA = "partum.batch.recording/1"
FILE, PICTURE, STILL = "summary.json", "thumbnail.jpg", "overlay.png"
COMPLETE, FAILED = "complete", "failed"

COLUMNS: Mapping[str, type] = {
    "name": str,
    "source": str,
    "state": str,
    "frames": int,
    "measured": int,
    "refused": int,
    "dropped": int,
    "measured_share": float,
    "reasons": str,
    "aop_deg": float,
    "aop_lo95_deg": float,
    "aop_hi95_deg": float,
    "aop_absolute_lo95_deg": float,
    "aop_absolute_hi95_deg": float,
    "hsd_min_mm": float,
    "hsd_min_lo95_mm": float,
    "hsd_min_hi95_mm": float,
    "hsd_min_px": float,
    "hsd_min_lo95_px": float,
    "hsd_min_hi95_px": float,
    "best_frame": int,
    "best_frame_s": float,
    "best_frame_aop_deg": float,
    "spacing_x_mm": float,
    "spacing_y_mm": float,
    "spacing_note": str,
    "protocol": str,
    "engine": str,
    "model_sha256": str,
    "partum": str,
    "sha256": str,
    "same_content": list,
    "note": str,
    "error": str,
}
"""Of the summary, with the type of each; a value that does not exist is left out."""

Row = dict[str, Any]
Course = list[list[float | None]]
"""AoP over time: seconds, value and bounds of each point; None where there is none."""


def write_summary(folder: Path, row: Row, course: Course) -> None:
    """Writes `summary.json`, by which a folder of results is known to be whole; enters it and pictures into the log.

    Raises:
        OutputError: it cannot be written, or the log cannot.
    """
    facts = {"schema": SCHEMA, "notice": NOTICE, "row": row, "course": course}
    write_atomic(folder / FILE, (json.dumps(facts, allow_nan=False) + "\n").encode())
    log_file_change(folder, *(name for name in (FILE, PICTURE, STILL) if (folder / name).exists()))


def read_summary(folder: Path) -> dict[str, Any] | None:
    """What `write_summary` wrote; None where there is no such file, or none that can be read."""
    try:
        facts = json.loads((folder / FILE).read_bytes())
        if facts["schema"] == SCHEMA and facts["row"]["sha256"]:
            return dict(facts)
    except (OSError, ValueError, LookupError, TypeError):
        pass
    return None
