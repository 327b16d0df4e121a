"""Out-of-fold predictions: every frame as seen by the networks that did not learn from its group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from calibration.cross_validation.evidence import features
from calibration.cross_validation.frame_table import FrameTable
from calibration.cross_validation.views import run_second_look
from calibration.errors import TrainingError
from calibration.learning import checkpoint
from calibration.learning.folds import FOLDS
from calibration.learning.frames import fit_image, fit_mask, frames_of
from calibration.learning.settings.training import SourceSettings
from engines.network.build import make_mask_network
from engines.network.refinement import OUTPUTS, RefinementNetwork
from engines.network.second_look import VIEWS
from engines.postprocess import class_labels
from stream.measurement.convexity import convex_labels

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from calibration.data.base import LabelledFrame

SIDE = 256
SOURCES = {"psfhs": (), "planes": ("frame_0110",)}
"""Data sets, and the frames of each that are left out: this one is nearly the same as PSFHS 04942 and 04945."""
NO_LABEL = -1
_CHUNK = 16


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Predictions(FrameTable):
    """Labels and predictions of n frames; masks and points in pixels of the network's square.

    Attributes:
        names, groups, looks: (n,) text; names with their data set, as `psfhs/03744`; of the scanners, by the data set's
            column `look`.
        folds: (n,) the fold each was held out in.
        planes: (n,) 1 standard plane, 0 not, -1 nobody said.
        drawn: (n, S, S) uint8 masks that people drew; empty (all 0) where there is none.
        found: (n, S, S) uint8 labels as the pipeline measures them, one convex piece each.
        features: (n, 5) of the gate: the first of `engines.network.gate.EVIDENCE`.
        normal_logits: (n,) NaN where the network has no such head.
        views: (n, V, 7) answers of the second look brought back to the square: direction (cos, sin), inferior end,
            superior end, log spread; NaN without a second look or without a PS to look at.
    """

    names: NDArray[np.str_]
    groups: NDArray[np.str_]
    looks: NDArray[np.str_]
    folds: NDArray[np.int64]
    planes: NDArray[np.int64]
    drawn: NDArray[np.uint8]
    found: NDArray[np.uint8]
    features: NDArray[np.float64]
    normal_logits: NDArray[np.float64]
    views: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.names)


def fold_frames(data: Path, fold: int) -> list[tuple[str, LabelledFrame]]:
    """The frames that no network of a fold learned from, each with its data set's name."""
    return [
        (path, frame)
        for path, left_out in SOURCES.items()
        for frame in frames_of(
            SourceSettings(path=path, folds=FOLDS, fold=fold, take="held_out", exclude=left_out),
            data,
            size=SIDE,
            seed=0,
        )
    ]


def predict_fold(fold: int, *, data: Path, runs: Path) -> Predictions:
    """Runs a fold's networks over the frames it held out.

    Args:
        fold: 0 to 4.
        data: folder of the data sets.
        runs: folder of the trainings (`partum folds`); without `refinement-N` there is no second look.

    Raises:
        TrainingError: there is no checkpoint of the mask network.
    """
    masks, refinements = [runs / f"mask-{fold}"], find_refinements(runs, fold)
    return predict(fold_frames(data, fold), fold=fold, masks=masks, refinements=refinements)


def find_refinements(runs: Path, fold: int) -> list[Path]:
    """The folder of a fold's second look; none where it is not trained."""
    run = runs / f"refinement-{fold}"
    return [run] if (run / checkpoint.CHECKPOINT).exists() else []


def predict(
    frames: Sequence[tuple[str, LabelledFrame]], *, fold: int, masks: Sequence[Path], refinements: Sequence[Path]
) -> Predictions:
    """Runs networks over frames that none of them learned from.

    Args:
        frames: with their data sets' names.
        fold: that held them out.
        masks: folders of trainings of mask networks; of several the probabilities are averaged, and the logits of the
            heads.
        refinements: folders of trainings of the second look; the views of several stand beside each other.

    Raises:
        TrainingError: a folder holds no checkpoint.
    """
    images = np.stack([fit_image(frame.image, SIDE) for _, frame in frames])
    logits, plane, normal = merge_predictions([run_network(mask_network(run), images) for run in masks])
    found = labels_of(logits)
    blank = np.zeros((SIDE, SIDE), np.uint8)
    return Predictions(
        names=np.array([f"{path}/{frame.name}" for path, frame in frames]),
        groups=np.array([f"{path}/{frame.group}" for path, frame in frames]),
        looks=np.array([frame.look or path for path, frame in frames]),
        folds=np.full(len(frames), fold),
        planes=np.array([_plane(path, frame) for path, frame in frames]),
        drawn=np.stack([blank if frame.mask is None else fit_mask(frame.mask, SIDE) for _, frame in frames]),
        found=found,
        features=features(logits, plane),
        normal_logits=normal,
        views=views_of(refinements, images, logits),
    )


def views_of(
    refinements: Sequence[Path], images: NDArray[np.uint8], logits: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Answers of second looks for images whose logits are known, (n, V, 7), beside each other; NaN without any."""
    if not refinements:
        return np.full((len(images), len(VIEWS), len(OUTPUTS)), np.nan)
    return np.concatenate([run_second_look(refinement_network(run), images, logits) for run in refinements], axis=1)


def merge_predictions(
    answers: Sequence[tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]],
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """One answer of several networks': the logarithm of the mean probabilities, and the mean logits of the heads."""
    if len(answers) == 1:
        return answers[0]
    shares = torch.stack([torch.from_numpy(logits).softmax(dim=1) for logits, _, _ in answers]).mean(dim=0)
    plane, normal = (np.mean([answer[place] for answer in answers], axis=0) for place in (1, 2))
    return shares.clamp(min=1e-9).log().numpy(), plane, normal


def labels_of(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Labels (n, S, S) as the pipeline measures them, of logits (n, 3, h, w)."""
    return np.stack([convex_labels(class_labels(each, SIDE, SIDE)) for each in logits])


def _plane(path: str, frame: LabelledFrame) -> int:
    if path == "psfhs":
        return 1  # every frame shows both
    return NO_LABEL if frame.plane is None else int(frame.plane)


@torch.inference_mode()
def run_network(
    network: Any, images: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Class logits (n, 3, h, w), plane logits (n,), and the logits of a normal picture (n,), NaN without that head."""
    parts = []
    for start in range(0, len(images), _CHUNK):
        answer = network(torch.from_numpy(images[start : start + _CHUNK])[:, None])
        parts.append([each.float().numpy() for each in answer])
    logits, plane = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    normal = np.concatenate([part[2] for part in parts]) if len(parts[0]) > 2 else np.full(len(images), np.nan)
    return logits, plane.astype(float), normal.astype(float)


def mask_network(run: Path) -> Any:
    """The mask network of a training, in evaluation mode.

    Raises:
        TrainingError: it was not trained yet, or its checkpoint is damaged.
    """
    stored = checkpoint.read_checkpoint(run / checkpoint.CHECKPOINT)
    network = make_mask_network(checkpoint.config_of(stored)["network"])
    network.load_state_dict(stored["weights"])
    return network.eval()


def refinement_network(run: Path) -> RefinementNetwork:
    """The second look of a training, in evaluation mode.

    Raises:
        TrainingError: it was not trained yet, or its checkpoint is damaged.
    """
    stored = checkpoint.read_checkpoint(run / checkpoint.CHECKPOINT)
    network = RefinementNetwork(**checkpoint.config_of(stored)["network"])
    network.load_state_dict(stored["weights"])
    return network.eval()


def check_same_frames(predictions: Predictions) -> None:
    """Raises TrainingError where a frame was held out twice: the folds were not made by one rule."""
    names, times = np.unique(predictions.names, return_counts=True)
    if (times > 1).any():
        raise TrainingError(f"{names[times > 1][0]} was held out in two folds; train the folds anew")
