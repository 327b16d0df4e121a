"""Frames that `default.toml` holds out, by what they show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from calibration.learning.augmentation.negatives import no_signal
from calibration.learning.frames import load_store, phantoms
from calibration.learning.settings.training import load_config

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

PHANTOMS, BLANKS = 40, 200
SEED = 1_000_003
"""No training draws phantoms by it."""


def held_out_frames(data: Path, *, size: int) -> dict[str, list[NDArray[np.uint8]]]:
    """Reads the validation sources of `default.toml` but for PSFHS, and draws phantoms and frames without a signal.

    Returns:
        By `source/kind` (`planes/labelled` are standard planes, `planes/negative` are not, ...), (size, size) frames.
    """
    sources = [source for source in load_config("default.toml").validation if source.path != "psfhs"]
    frames = {
        pool.name: [image.numpy() for image in pool.batch.images[:, 0]]
        for pool in load_store(sources, data, size=size, seed=0).pools
    }
    for frame in phantoms(PHANTOMS, size, seed=SEED):
        frames.setdefault(f"phantom/{'labelled' if frame.plane else 'negative'}", []).append(frame.image)
    blank = no_signal(torch.zeros(BLANKS, 1, size, size), torch.Generator().manual_seed(SEED))
    return frames | {"no signal": list((blank[:, 0] * 255).byte().numpy())}
