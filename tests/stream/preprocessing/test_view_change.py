"""Flips, zooms and cuts are told in the first picture after them; movement and brightness are none of these."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from stream.common.clock import MonotonicClock
from stream.preprocessing.sector.detection import small_copy
from stream.preprocessing.view_change import ViewChange, ViewChangeDetector
from stream.sources import open_source
from tests.samples.screens import WIDTH, Screen, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

BEFORE = 6
ZOOMS = (0.5, 0.7, 0.9, 1.1, 1.25, 1.5)
RATE_HZ = 25.0


@cache
def pictures() -> Sequence[Picture]:
    return scan(16, size=400)


def zoomed(picture: Picture, zoom: float) -> Picture:
    """About the middle of the probe's face."""
    side = picture.shape[0]
    matrix = np.array([[zoom, 0, side / 2 * (1 - zoom)], [0, zoom, 0]], np.float32)
    return np.asarray(cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_LINEAR), np.uint8)


def slid(picture: Picture, px: int) -> Picture:
    matrix = np.array([[1, 0, px], [0, 1, 0]], np.float32)
    return np.asarray(cv2.warpAffine(picture, matrix, picture.shape[::-1]), np.uint8)


def changes(images: Sequence[Picture]) -> list[ViewChange]:
    copies = [small_copy(np.ascontiguousarray(image)) for image in images]
    detector = ViewChangeDetector(np.full(copies[0].shape, 255, np.uint8))
    return [detector.update(copy, number / RATE_HZ) for number, copy in enumerate(copies)]


def changed(then: Callable[[Picture], Picture]) -> Sequence[Picture]:
    return [*pictures()[:BEFORE], *(then(picture) for picture in pictures()[BEFORE:])]


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        (lambda picture: picture[:, ::-1], ViewChange.MIRRORED),
        (lambda picture: picture[::-1], ViewChange.UPSIDE_DOWN),
        (lambda picture: picture[::-1, ::-1], ViewChange.TURNED),
        *(
            (lambda picture, zoom=zoom: zoomed(picture, zoom), ViewChange.ZOOMED)
            for zoom in (0.5, 0.7, 0.9, 1.1, 1.25, 1.5)
        ),
    ],
)
def test_a_change_is_told_in_the_first_picture_after_it_and_once(
    then: Callable[[Picture], Picture], expected: ViewChange
) -> None:
    found = changes(changed(then))
    assert found[BEFORE] is expected
    assert [each for each in found if each is not ViewChange.NONE] == [expected]


@pytest.mark.parametrize(
    "then",
    [
        lambda picture: picture,
        lambda picture: cv2.convertScaleAbs(picture, alpha=1.6),
        lambda picture: cv2.convertScaleAbs(picture, alpha=0.4),
        lambda picture: cv2.convertScaleAbs(picture, alpha=1.0, beta=40),
        lambda picture: cv2.GaussianBlur(picture, (0, 0), 1.5),
        lambda picture: slid(picture, 40),
        lambda picture: np.where(np.indices(picture.shape)[1] > 260, 0, picture).astype(np.uint8),
    ],
    ids=["none", "gain", "dark", "lifted", "blurred", "slid", "off the skin"],
)
def test_what_is_no_change_is_told_as_none(then: Callable[[Picture], Picture]) -> None:
    assert set(changes(changed(then))) == {ViewChange.NONE}


def test_a_probe_that_slides_on_and_on_is_no_change() -> None:
    assert set(changes([slid(picture, 25 * number) for number, picture in enumerate(pictures()[:12])])) == {
        ViewChange.NONE
    }


def test_a_flip_that_is_blended_in_over_four_pictures_is_told_when_it_is_complete() -> None:
    first, last = pictures()[0], np.ascontiguousarray(pictures()[0][:, ::-1])
    fade = [cv2.addWeighted(first, 1 - share, last, share, 0) for share in (0.25, 0.5, 0.75)]
    found = changes([first] * 6 + [np.asarray(each, np.uint8) for each in fade] + [last] * 4)
    assert [each for each in found if each is not ViewChange.NONE] == [ViewChange.MIRRORED]
    assert ViewChange.MIRRORED in found[6:11]


def test_a_zoom_over_a_second_is_told_before_it_is_complete() -> None:
    still = pictures()[0]
    images = [still] * 10 + [zoomed(still, 1 - 0.3 * min(1, number / 25)) for number in range(40)]
    found = changes(images)
    assert ViewChange.ZOOMED in found[10:25]
    assert set(found) == {ViewChange.NONE, ViewChange.ZOOMED}


def test_a_cut_to_another_scan_is_told_and_a_gap_in_time_is_none() -> None:
    rng = np.random.default_rng(2)
    coarse = cv2.GaussianBlur(rng.integers(0, 255, (400, 400)).astype(np.float32), (0, 0), 9)
    other = np.clip(100 + 3 * (coarse - coarse.mean()) / coarse.std() * 20, 0, 255).astype(np.uint8)
    found = changes([pictures()[0]] * BEFORE + [other] * 4)
    assert found[BEFORE] is ViewChange.CUT
    assert found.count(ViewChange.NONE) == len(found) - 1


def test_the_whole_screen_is_flipped_with_a_sector_that_is_not_in_its_middle() -> None:
    screen = Screen(left=250, top=200, name="")
    screens = [screen.draw(picture) for picture in pictures()[:12]]
    inside = np.zeros_like(small_copy(screens[0]))
    factor = WIDTH / inside.shape[1]
    inside[round(200 / factor) : round(600 / factor), round(250 / factor) : round(650 / factor)] = 255
    detector = ViewChangeDetector(inside)
    shown = [image if number < BEFORE else np.ascontiguousarray(image[:, ::-1]) for number, image in enumerate(screens)]
    found = [detector.update(small_copy(image), number / RATE_HZ) for number, image in enumerate(shown)]
    assert found[BEFORE] is ViewChange.MIRRORED


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize(
    "name",
    [
        "BoneUltrasound_L14.igs.mha",
        "butterfly-ocular-phantom.mp4",
        "clarius-ocular-short.mp4",
        "pydicom_examples_ybr_color_US30frames.dcm",
    ],
)
def test_there_is_no_change_in_a_real_clip(shared_data: Path, name: str, every: int) -> None:
    with open_source(str(shared_data / "clips" / name), clock=MonotonicClock()) as source:
        images = [frame.image for frame in source][:120:every]
    assert set(changes(images)) == {ViewChange.NONE}
