"""Frames that engines are compared on: the user's data sets, or the clip that ships."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calibration.data import open_dataset
from calibration.data.base import LabelledFrame
from engines.preprocess import Letterbox
from stream.sources import open_source
from stream.sources.demo import DEMO_CLIP

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from engines.base import ModelSpec


def read_frames(folders: Sequence[Path]) -> list[LabelledFrame]:
    """All frames of some data sets.

    Raises:
        DataSetError: one of them cannot be read.
    """
    return [frame for folder in folders for frame in open_dataset(folder).frames()]


def demonstration_frames() -> list[LabelledFrame]:
    """The frames of the clip that ships, one real frame moved by warps: little variety, but always there."""
    with open_source(str(DEMO_CLIP)) as source:
        return [
            LabelledFrame(
                name=f"{index:05d}",
                group="demonstration",
                split="",
                look="A",
                image=frame.image,
                mask=None,
                plane=None,
                mirrored=None,
            )
            for index, frame in enumerate(source)
        ]


def as_network_input(frames: Sequence[LabelledFrame], spec: ModelSpec) -> NDArray[np.uint8]:
    """(N, 1, H, W) uint8: each frame letterboxed as the pipeline does."""
    fitted = []
    for frame in frames:
        height, width = frame.image.shape
        letterbox = Letterbox(image_height=height, image_width=width, height=spec.height, width=spec.width)
        fitted.append(letterbox.apply(frame.image))
    return np.stack(fitted)[:, None]
