"""Text in the sector is found and masked; tissue, moving or still, is left alone."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pytest

from stream.preprocessing.text_masking import WINDOW, TextMasker, find_text, search_text
from tests.samples.screens import scan, write

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

AT = (280, 470)


@cache
def pictures() -> Sequence[NDArray[np.uint8]]:
    return scan(30, size=700)


def with_text(text: str, scale: float, level: int, images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    shown = [image.copy() for image in images]
    for image in shown:
        write(image, text, AT, scale, level)
    return shown


def coded(images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """As a live encoder sends them."""
    memory = io.BytesIO()
    with av.open(memory, "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=30, options={"tune": "zerolatency", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = images[0].shape[1], images[0].shape[0], "yuvj420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
        container.mux(stream.encode())
    memory.seek(0)
    with av.open(memory, "r") as container:
        return [np.asarray(each.to_ndarray(format="gray"), np.uint8) for each in container.decode(video=0)]


def text_in(images: Sequence[NDArray[np.uint8]]) -> Sequence[tuple[int, int, int, int]]:
    return find_text(np.min(images, axis=0), np.max(images, axis=0))


@pytest.mark.slow
@pytest.mark.parametrize("is_coded", [False, True])
@pytest.mark.parametrize(
    ("text", "scale", "level"), [("ROSSI M. 4711", 0.9, 250), ("JANE DOE", 0.6, 200), ("MRN 12345678", 1.4, 160)]
)
def test_text_over_a_moving_scan_is_found_whole(text: str, scale: float, level: int, is_coded: bool) -> None:
    images = with_text(text, scale, level, pictures()[:12])
    (box,) = text_in(coded(images) if is_coded else images)
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 2)
    assert box[0] <= AT[0]
    assert box[0] + box[2] >= AT[0] + width - 2
    assert box[1] <= AT[1] - height
    assert box[1] + box[3] >= AT[1]
    assert box[3] < 3 * height


@pytest.mark.parametrize("is_coded", [False, True])
def test_a_scan_without_text_is_left_alone(is_coded: bool) -> None:
    images = pictures()[:12]
    assert text_in(coded(images) if is_coded else images) == []
    rng = np.random.default_rng(2)
    still = [np.clip(images[0] + rng.normal(0, 3, images[0].shape), 0, 255).astype(np.uint8) for _ in range(12)]
    assert text_in(coded(still) if is_coded else still) == []


def test_bright_text_is_found_on_a_still_picture_too() -> None:
    (image,) = with_text("ROSSI M. 4711", 0.9, 250, pictures()[:1])
    assert len(text_in([image])) == 1


def test_a_search_that_is_spread_over_pictures_finds_what_one_at_once_does() -> None:
    plain, shown = pictures()[:12], with_text("ROSSI M. 4711", 0.9, 250, pictures()[:WINDOW])
    masker = TextMasker(np.min(plain, axis=0), np.max(plain, axis=0), WINDOW)
    for image in shown:
        masker.add(image)
    darkest, brightest = np.min(shown, axis=0), np.max(shown, axis=0)
    *steps, found = search_text(darkest, brightest)
    assert steps == [None] * len(steps)
    for image in shown[: len(steps) + 1]:  # the first of them ends the window
        assert not masker.boxes
        masker.add(image)
    assert masker.boxes == found == find_text(darkest, brightest) != []


def test_real_frames_alone_have_no_text_in_their_anatomy(shared_data: Path) -> None:
    paths = sorted((shared_data / "psfhs" / "val" / "images").glob("*.png"))[::6]
    for path in paths:
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        large = np.asarray(cv2.resize(image, (700, 700), interpolation=cv2.INTER_CUBIC), np.uint8)
        assert text_in([large]) == [], path.name


def test_what_is_masked_cannot_be_read_and_text_that_comes_and_goes_is_followed() -> None:
    plain = pictures()[:12]
    masker = TextMasker(np.min(plain, axis=0), np.max(plain, axis=0), 12)
    assert not masker.boxes
    shown = with_text("ROSSI M. 4711", 0.9, 250, pictures())
    for number in range(2 * WINDOW):
        masker.add(shown[number % 30])
    assert len(masker.boxes) >= 1
    masked = shown[3].copy()
    masker.mask(masked)
    drawn = np.zeros_like(masked)
    write(drawn, "ROSSI M. 4711", AT, 0.9, 255)
    left, top, width, height = cv2.boundingRect(drawn)
    part = np.s_[top : top + height, left : left + width]
    assert likeness(shown[3][part], drawn[part]) > 0.7
    assert abs(likeness(masked[part], drawn[part])) < 0.2
    for number in range(3 * WINDOW):
        masker.add(pictures()[number % 30])
    assert not masker.boxes


def likeness(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Correlation of two pictures."""
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
