"""Writes weak labels: teacher masks that pass the filters."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from calibration.errors import DataSetError
from calibration.learning.weak_labels.filters import FilterLimits, LabelRefusal, WeakLabel, filter_mask, softmax
from stream.common.atomic_file import write_atomic
from stream.common.csv_cells import csv_line
from stream.frames.frame import Frame
from stream.inference.frame_analyzer import infer_frame, logits_in_frame
from stream.outputs.manifest import NOTICE, environment_facts, now_utc, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from calibration.data.base import LabelledFrame
    from engines.base import Engine

SCHEMA = "partum.weak_labels/1"
WEIGHTS_FILE, FACTS_FILE = "weights.csv", "weak_labels.json"
COLUMNS = ("name", "weight", "reason", "confidence_ps", "confidence_fh", "consistency_ps", "consistency_fh")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LabelingSettings:
    """How masks are made.

    Attributes:
        teachers: engines whose probabilities are averaged, one or more.
        limits: what a mask must reach.
        only_standard: refuse frames of which the data set does not say that they are a standard plane.
    """

    teachers: Sequence[Engine]
    limits: FilterLimits = field(default_factory=FilterLimits)
    only_standard: bool = False


def write_weak_labels(
    frames: Iterable[LabelledFrame],
    teaching: LabelingSettings,
    folder: Path,
    *,
    dataset: str,
    count: int,
    about: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Writes `NAME.png` for every frame that gets a mask, then `weights.csv` and `weak_labels.json`.

    Frames that have a mask, and those known to be no standard plane, are passed over. `weights.csv` has one row for
    each other frame, weight 0 and a reason where it was refused. It is written whole at the end: a training that
    finds it finds every mask.

    Args:
        frames: of the data set.
        teaching: how masks are made.
        folder: exists; holds no earlier results.
        dataset: its name, for messages and `weak_labels.json`.
        count: of `frames`, for the progress bar.
        about: further facts for `weak_labels.json`.

    Returns:
        The content of `weak_labels.json`.

    Raises:
        DataSetError: there is no frame without a mask.
        OutputError: `folder` cannot be written to.
    """
    rows: list[list[str]] = []
    reasons: Counter[str] = Counter()
    kept_weight = 0.0
    for frame in _with_progress(frames, count):
        if frame.mask is not None or frame.plane is False:
            continue
        label = None if teaching.only_standard and frame.plane is None else label_frame(frame, teaching)
        refusal = label.refusal if label else LabelRefusal.PLANE_UNKNOWN
        if label and not refusal:
            write_atomic(folder / f"{frame.name}.png", cv2.imencode(".png", label.mask)[1].tobytes())
            kept_weight += label.weight
        reasons[refusal or "kept"] += 1
        rows.append(_row(frame.name, label, refusal))
    if not rows:
        raise DataSetError(
            f"{dataset}: all of its {count} frames have a mask or are known to be no standard plane; give a data set,"
            " or a --split of it, with frames to label"
        )
    write_atomic(folder / WEIGHTS_FILE, _table(rows).encode())
    facts = {"dataset": dataset, **(about or {}), **_facts(teaching, reasons, kept_weight), **environment_facts()}
    facts = {"schema": SCHEMA, "notice": NOTICE, "finished_utc": now_utc(), **facts}
    write_json(folder / FACTS_FILE, facts)
    return facts


def label_frame(frame: LabelledFrame, teaching: LabelingSettings) -> WeakLabel:
    """The teachers' mask for a frame, at the frame's size, from the frame and its mirror image."""
    mirrored = np.ascontiguousarray(frame.image[:, ::-1])
    plain = _mean_probabilities(frame.image, teaching.teachers)
    flipped = np.ascontiguousarray(_mean_probabilities(mirrored, teaching.teachers)[:, :, ::-1])
    return filter_mask(plain, flipped, teaching.limits)


def _mean_probabilities(image: NDArray[np.uint8], teachers: Sequence[Engine]) -> NDArray[np.float32]:
    """(3, H, W) at the frame's pixels, the mean over teachers."""
    frame = Frame(image=image, index=0, pts=0, time_base=Fraction(1, 25), captured_ns=0)
    found = []
    for teacher in teachers:
        letterbox, prediction = infer_frame(teacher, frame)
        found.append(softmax(logits_in_frame(frame, letterbox, prediction)))
    mean: NDArray[np.float32] = np.mean(found, axis=0, dtype=np.float32)
    return mean


def _facts(teaching: LabelingSettings, reasons: Counter[str], kept_weight: float) -> dict[str, object]:
    """Teachers, limits, and what became of the frames."""
    kept = reasons["kept"]
    return {
        "teachers": [
            {"name": teacher.spec.name, "sha256": teacher.spec.sha256, "engine": teacher.name}
            for teacher in teaching.teachers
        ],
        "limits": asdict(teaching.limits),
        "only_standard": teaching.only_standard,
        "frames": reasons.total(),
        "kept": kept,
        "mean_weight_of_kept": round(kept_weight / kept, 4) if kept else None,
        "refused": {str(refusal): reasons[refusal] for refusal in LabelRefusal if reasons[refusal]},
    }


def _row(name: str, label: WeakLabel | None, refusal: LabelRefusal | None) -> list[str]:
    numbers = (*label.confidence, *label.consistency) if label else ()
    cells = [f"{value:.6f}" for value in numbers] or [""] * 4
    return [name, f"{label.weight if label else 0.0:.6f}", str(refusal or ""), *cells]


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "".join(map(csv_line, [COLUMNS, *rows]))


def _with_progress(frames: Iterable[LabelledFrame], count: int) -> Iterator[LabelledFrame]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield from progress.track(frames, total=count, description="weak labels")
