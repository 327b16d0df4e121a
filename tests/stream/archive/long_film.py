"""A recording that was joined from several: hard cuts, a flip, another depth, and text burned into the picture."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.common.clock import MonotonicClock
from stream.phantom.source import PhantomSource
from stream.sources.demo import DEMO_CLIP
from stream.sources.files.video import VideoSource
from tests.samples.source_files import from_grey, write_video

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SIDE = 400
CLIP = 14


def demo(count: int) -> list[NDArray[np.uint8]]:
    """The beginning of the demonstration clip."""
    with VideoSource(DEMO_CLIP, clock=MonotonicClock()) as source:
        return [
            np.asarray(cv2.resize(frame.image, (SIDE, SIDE)), np.uint8)
            for frame, _ in zip(source, range(count), strict=False)
        ]


def phantom(seed: int, count: int = CLIP) -> list[NDArray[np.uint8]]:
    with PhantomSource(f"phantom:?seed={seed}&duration={count / 25}&size={SIDE}", clock=MonotonicClock()) as source:
        return [np.asarray(frame.image) for frame in source]


def pictures() -> Iterator[NDArray[np.uint8]]:
    """Grey screens, (520, 640): real, simulated, real, mirrored, black, real, smaller, simulated."""
    real = demo(3 * CLIP)
    yield from map(screen, real[:CLIP])
    yield from map(screen, phantom(5))
    yield from map(screen, real[CLIP : 2 * CLIP])
    yield from (screen(image[:, ::-1]) for image in real[2 * CLIP :])
    yield from (screen(np.zeros((SIDE, SIDE), np.uint8)) for _ in range(4))
    yield from map(screen, real[:CLIP])
    for image in real[CLIP : 2 * CLIP]:
        yield screen(np.asarray(cv2.resize(image, (280, 280), interpolation=cv2.INTER_AREA), np.uint8))
    yield from map(screen, phantom(9))


def screen(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture in the middle of a screen."""
    shown = np.zeros((520, 640), np.uint8)
    height, width = image.shape
    top, left = (520 - height) // 2, (640 - width) // 2
    shown[top : top + height, left : left + width] = image
    cv2.putText(shown, "JANE DOE 4711", (230, 330), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 250, 2)
    return shown


def write_long_film(path: Path, *, codec: str = "libx264", count: int | None = None, gop: int = 250) -> Path:
    """A video of the first `pictures`, 25 a second, with a key picture every `gop` and where the encoder sees fit."""
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    shown = (from_grey(image, pix_fmt) for image in itertools.islice(pictures(), count))
    return write_video(path, shown, codec=codec, pix_fmt=pix_fmt, gop=gop)
