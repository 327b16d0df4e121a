"""Frames to try engines on, from the clip that ships, by OpenCV: PyAV may not be there."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from benchmarks.errors import BenchError
from stream.sources.demo import DEMO_CLIP

if TYPE_CHECKING:
    from numpy.typing import NDArray

COUNT = 40
"""Frames of a trial; an acceptance takes 30 or more."""
SCREEN = (1080, 1920)
"""Height and width of the frame that is timed from picture to labels."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TrialFrame:
    """What `calibration.deployment.acceptance` looks at of a `LabelledFrame`, whose package needs more than is here."""

    name: str
    image: NDArray[np.uint8]
    group: str = "demonstration"
    split: str = ""
    look: str = "A"
    mask: None = None
    plane: None = None
    landmarks: dict[str, Any] = field(default_factory=dict)


def trial_frames(count: int = COUNT) -> list[Any]:
    """Grey frames of the demonstration clip, spread over all of it.

    Raises:
        BenchError: OpenCV cannot decode it.
    """
    images = _clip()
    if len(images) < count:
        raise BenchError(f"{DEMO_CLIP}: OpenCV decodes {len(images)} frames of it; install opencv-python-headless")
    chosen = np.linspace(0, len(images) - 1, count).round().astype(int)
    return [TrialFrame(name=f"{index:05d}", image=images[index]) for index in chosen]


@cache
def _clip() -> list[NDArray[np.uint8]]:
    clip = cv2.VideoCapture(str(DEMO_CLIP))
    images: list[NDArray[np.uint8]] = []
    while True:
        is_read, picture = clip.read()
        if not is_read:
            break
        images.append(np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8))
    clip.release()
    return images


def screen_frame() -> NDArray[np.uint8]:
    """A frame of the clip as a 1920 x 1080 picture."""
    image = trial_frames(1)[0].image
    height, width = SCREEN
    side = cv2.resize(image, (round(height * image.shape[1] / image.shape[0]), height))
    shown: NDArray[np.uint8] = np.zeros(SCREEN, np.uint8)
    shown[:, : side.shape[1]] = side[:, :width]
    return shown
