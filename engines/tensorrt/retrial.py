"""Whether an accepted engine still answers what it answered: a short trial after an update of the driver."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.postprocess import class_labels
from engines.tensorrt.cache import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from engines.base import Engine, ModelSpec, Prediction

FRAMES = 8
"""So many are kept of the trial: they take a moment."""
LEAST_AGREEMENT = 0.998
"""Share of pixels that must keep their class; rounding in another order moves a few at a border."""
MOST_LOGIT = 0.25
"""The plane logit may move by so much: 0.06 in probability at most."""


def keep_answers(engine: Engine, images: NDArray[np.uint8], path: Path) -> None:
    """Keeps frames and the engine's answers to them beside its file.

    Args:
        engine: just accepted.
        images: (N, 1, H, W) uint8 of the trial; some of them are taken.
        path: of the built engine.

    Raises:
        BuildError: the folder cannot be written to.
    """
    chosen = images[np.linspace(0, len(images) - 1, min(FRAMES, len(images))).round().astype(int)]
    kept = io.BytesIO()
    arrays: dict[str, Any] = {"images": chosen, **_answers(engine, chosen)}
    np.savez_compressed(kept, **arrays)
    write_whole(answers_path(path), kept.getvalue())


def departure(engine: Engine, path: Path) -> str:
    """In what the engine departs from its kept answers, `it answers ...`; empty where it does not."""
    try:
        with np.load(io.BytesIO(answers_path(path).read_bytes()), allow_pickle=False) as kept:
            before = dict(kept)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return "it cannot be tried again, because what it answered was not kept"
    now = _answers(engine, before["images"])
    moved = float(np.abs(now["plane_logit"] - before["plane_logit"]).max())
    if moved > MOST_LOGIT:
        return f"it answers another plane logit, by {moved:.2f}"
    agree = float(np.mean(now["classes"] == before["classes"])) if before["classes"].size else 1.0
    return "" if agree >= LEAST_AGREEMENT else f"it draws {1 - agree:.1%} of its masks otherwise"


def answers_path(path: Path) -> Path:
    """Where the answers of an engine are kept."""
    return path.with_suffix(".npz")


def _answers(engine: Engine, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Plane logits (N,), and the classes of all cells."""
    found = [engine.infer(image[None]) for image in images]
    return {
        "plane_logit": np.concatenate([answer.plane_logit for answer in found]),
        "classes": np.stack([_classes(answer, engine.spec) for answer in found]),
    }


def _classes(answer: Prediction, spec: ModelSpec) -> NDArray[np.uint8]:
    """(H, W) of one frame; nothing of an engine without a decoder."""
    if not spec.decodes:
        return np.empty((0, 0), np.uint8)
    if answer.labels is not None:
        labels: NDArray[np.uint8] = answer.labels[0]
        return labels
    return class_labels(answer.class_logits[0], spec.height, spec.width)
