"""A data folder in miniature, of phantoms in files, and a configuration that is through with it in a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from calibration.learning.frames import phantoms
from calibration.learning.settings.training import parse_config

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from calibration.data.base import LabelledFrame
    from calibration.learning.settings.training import TrainConfig

SIDE = 64
DRAWN_TRAIN, DRAWN_VAL, BARE, OTHER = 8, 4, 6, 6


def make_data(root: Path) -> Path:
    """Writes `drawn` (train and val, masks), `bare` (no masks), `other` (no plane) and `teacher` (masks for `bare`)."""
    standard = [frame for frame in phantoms(DRAWN_TRAIN + DRAWN_VAL + BARE, SIDE, seed=11) if frame.plane]
    others = [frame for frame in phantoms(OTHER, SIDE, seed=12) if not frame.plane]
    parts = {"drawn/train": standard[:DRAWN_TRAIN], "drawn/val": standard[DRAWN_TRAIN : DRAWN_TRAIN + DRAWN_VAL]}
    for part, frames in parts.items():
        write_pictures(root / part / "images", frames)
        write_masks(root / part / "masks", frames)
    bare = standard[DRAWN_TRAIN + DRAWN_VAL :]
    write_pictures(root / "bare" / "images", bare)
    write_pictures(root / "other" / "images", others)
    rows = [f"{frame.name},{weight},\n" for frame, weight in zip(bare, (1.0, 0.5, 0.75, 0.0, 1.0, 0.25), strict=True)]
    write_masks(root / "teacher", bare)
    (root / "teacher" / "weights.csv").write_text("name,weight,reason\n" + "".join(rows))
    # Of one video come two pictures each.
    groups = [f"{frame.name},video{place // 2},{'AB'[place % 2]}\n" for place, frame in enumerate(standard)]
    for folder in ("drawn", "bare"):
        (root / folder / "manifest.csv").write_text("name,group,look\n" + "".join(groups))
    return root


def write_pictures(folder: Path, frames: Sequence[LabelledFrame]) -> None:
    folder.mkdir(parents=True)
    for frame in frames:
        assert cv2.imwrite(str(folder / f"{frame.name}.png"), frame.image)


def write_masks(folder: Path, frames: Sequence[LabelledFrame]) -> None:
    folder.mkdir(parents=True)
    for frame in frames:
        assert frame.mask is not None
        assert cv2.imwrite(str(folder / f"{frame.name}.png"), np.asarray(frame.mask))


def small_config(**changes: Any) -> TrainConfig:
    """Two epochs of two steps; every source of the miniature."""
    table: dict[str, Any] = {
        "name": "small",
        "network": {"widths": [4, 8], "block": "residual", "stem_stride": 2, "plane_hidden": [8]},
        "size": SIDE,
        "epochs": 2,
        "steps_per_epoch": 2,
        "batch": 4,
        "seed": 3,
        "device": "cpu",
        "learning_rate": 1e-3,
        "warm_up_steps": 2,
        "training_data": "phantoms",
        "licence": "Apache-2.0",
        "train": [
            {"path": "drawn", "split": "train", "plane": "standard", "labelled": 0.5},
            {"path": "bare", "plane": "standard", "synthetic": "teacher", "unlabelled": 0.25},
            {"path": "other", "plane": "other", "negative": 0.25},
        ],
        "validation": [
            {"path": "drawn", "split": "val", "plane": "standard", "labelled": 1.0},
            {"path": "phantom:", "count": 2, "negative": 1.0},
        ],
        "augmentation": {"rotate": {"p": 0.5, "low": -10.0, "high": 10.0}, "gain": {"p": 0.5, "low": 0.7, "high": 1.3}},
    }
    return parse_config(table | changes)
