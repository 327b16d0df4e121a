"""`partum export-masks`: frames that were corrected in review, as a data set that training reads.

images/ masks/ labels.csv manifest.csv     outlines drawn anew, and readings that were confirmed: a plain folder
points/ ... points.csv                     ends of the PS and tangent point where these were moved, as IUGC 2025
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from stream.common.atomic_file import write_error
from stream.common.csv_cells import csv_line
from stream.common.errors import OptionError, RunUnreadable
from stream.exports.summary import run_id_of
from stream.labour.edits import EditKind, edits_in_force
from stream.labour.run_masks import RunMasks, mask_in_frame
from stream.labour.run_pictures import RunPictures
from stream.outputs.masks import MASKS_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from stream.labour.recorded_run import RecordedRun

    Edit = Mapping[str, Any]

CODES = {"fh": 2, "ps": 1}
"""Labels of the structures, in the order in which they are drawn: the symphysis over the head."""
POINTS = ("ps_superior", "ps_inferior", "tangent")
SUBPIXEL_BITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class MasksWritten:
    """What was written.

    Attributes:
        masks: how many pictures with a mask.
        points: how many with points.
        notes: what was left out, and why, for people.
    """

    masks: int
    points: int
    notes: tuple[str, ...]


def export_masks(run: RecordedRun, out: Path, *, source: str | None = None) -> MasksWritten:
    """Writes the frames of a run that were edited.

    Args:
        run: finished, and reviewed.
        out: new or empty folder.
        source: where the recording is now, if it has moved.

    Raises:
        RunUnreadable: nothing was edited, or the pictures are not to be had.
        OptionError: the folder is not empty.
        SourceError: the source cannot be read.
        OutputError: a file cannot be written.
    """
    edits = edits_in_force(run)
    if not edits:
        raise RunUnreadable(f"{run.folder}: nothing of it was corrected or confirmed; do so by: partum review")
    masks = RunMasks(run) if (run.folder / MASKS_NAME).exists() else None
    prefix = run_id_of(run)[:12]
    names: list[str] = []
    rows: list[Sequence[object]] = []
    notes: list[str] = []
    try:
        if out.is_dir() and any(out.iterdir()):
            raise OptionError(f"{out}: is not empty; give a new folder by --out")
        with RunPictures(run, source=source) as pictures:
            for index, edit in edits.items():
                image, name = pictures[index].image, f"{prefix}-{index:06d}"
                labels = _labels(edit, index, masks, (image.shape[0], image.shape[1]))
                if labels is not None:
                    _write_picture(out / "images" / f"{name}.png", image)
                    _write_picture(out / "masks" / f"{name}.png", labels)
                    names.append(name)
                elif edit["kind"] != EditKind.POINTS:
                    notes.append(f"frame {index}: left out: the run kept no mask of it; run with --masks before review")
                if edit["moved"] and edit["landmarks_px"]:
                    _write_picture(out / "points" / f"{name}.png", image)
                    rows.append([f"{name}.png", *(_pair(edit["landmarks_px"][each]) for each in POINTS)])
        if names:
            _write_table(out / "labels.csv", ("name", "label"), [(name, "1") for name in names])
            _write_table(out / "manifest.csv", ("name", "group"), [(name, prefix) for name in names])
        if rows:
            _write_table(out / "points" / "points.csv", ("Filename", "PS1", "PS2", "FH1"), rows)
    except OSError as error:
        if isinstance(error, OptionError | RunUnreadable):
            raise
        raise write_error(out, error) from error
    return MasksWritten(masks=len(names), points=len(rows), notes=tuple(notes))


def _labels(edit: Edit, index: int, masks: RunMasks | None, shape: tuple[int, int]) -> NDArray[np.uint8] | None:
    """The mask of an edited frame, 1 = PS, 2 = FH; None where it has none: points alone were moved, or none was kept.

    A structure that was not drawn anew is as the network had it.
    """
    drawn = {name: points for name, points in edit["outlines_px"].items() if points}
    if not drawn and edit["kind"] != EditKind.CONFIRM:
        return None
    needs_kept = len(drawn) < len(CODES)
    if needs_kept and (masks is None or index not in masks):
        return None
    labels = np.zeros(shape, np.uint8)
    kept = mask_in_frame(masks[index], shape) if needs_kept and masks is not None else labels
    for name, code in CODES.items():
        if name in drawn:
            corners = np.rint(np.asarray(drawn[name], np.float64) * (1 << SUBPIXEL_BITS)).astype(np.int32)
            cv2.fillPoly(labels, [corners], code, shift=SUBPIXEL_BITS)
        else:
            labels[kept == code] = code
    return labels


def _pair(point: Sequence[float]) -> str:
    return f"({point[0]:g}, {point[1]:g})"


def _write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(csv_line(header))
        file.writelines(map(csv_line, rows))
