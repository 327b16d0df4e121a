"""The sector is found on drawn screens, whose layout is known, and on real frames, where it may cut no anatomy."""

from __future__ import annotations

import csv
from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from stream.preprocessing.sector.detection import Panes, PixelExtrema, Sector, find_sector, overlap, small_copy
from stream.preprocessing.sector.tracker import GATHER_LIVE, SectorTracker
from stream.sources import open_source
from tests.samples.screens import HEIGHT, WIDTH, Screen, scan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SIDE = 700


@cache
def pictures() -> Sequence[NDArray[np.uint8]]:
    return scan(16, size=SIDE)


def gathered(images: Sequence[NDArray[np.uint8]]) -> PixelExtrema:
    found = PixelExtrema((images[0].shape[0], images[0].shape[1]))
    for image in images:
        found.add(small_copy(image))
    return found


def sector_in(images: Sequence[NDArray[np.uint8]], pane: Panes | None = None) -> Sector:
    found = find_sector(gathered(images), pane=pane)
    assert found is not None
    return found


def true_mask(screen: Screen) -> NDArray[np.uint8]:
    """Where the drawn screen shows the scan: all that is ever bright there, closed."""
    brightest = np.max(pictures(), axis=0)
    inside = cv2.morphologyEx((brightest > 8).astype(np.uint8) * 255, cv2.MORPH_CLOSE, np.ones((41, 41), np.uint8))
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[screen.top : screen.top + SIDE, screen.left : screen.left + SIDE] = inside
    return mask


@pytest.mark.parametrize("count", [1, 12])
@pytest.mark.parametrize(("left", "top"), [(560, 150), (380, 300), (1100, 120)])
def test_the_sector_is_found_wherever_it_stands_among_menus_and_text(left: int, top: int, count: int) -> None:
    screen = Screen(left=left, top=top, tick_px=38.7, name="DOE, JANE" if left < 1000 else "")
    found = sector_in([screen.draw(picture, number) for number, picture in enumerate(pictures()[:count])])
    assert overlap(found.mask, true_mask(screen)) > 0.93
    assert found.shape == "fan"
    assert found.confidence > 0.9
    hull = cv2.convexHull(cv2.findNonZero(true_mask(screen)))
    around = cv2.fillConvexPoly(np.zeros_like(found.mask), hull, 255)
    outside = cv2.dilate(around, np.ones((15, 15), np.uint8)) == 0
    assert not found.mask[outside].any()
    x, y, width, height = found.box
    assert cv2.boundingRect(found.mask) == (x, y, width, height)


def test_two_pictures_side_by_side_are_refused_unless_one_is_chosen_or_stands_still() -> None:
    first, second = pictures()[:12], pictures()[::-1][:12]
    both = [Screen(left=340, second_pane=other).draw(picture) for picture, other in zip(first, second, strict=True)]
    assert sector_in(both).panes is Panes.TWO
    left, right = sector_in(both, Panes.LEFT), sector_in(both, Panes.RIGHT)
    assert (left.panes, right.panes) == (Panes.LEFT, Panes.RIGHT)
    assert left.box[0] + left.box[2] <= right.box[0] + 20
    still = [Screen(left=340, second_pane=pictures()[0]).draw(picture) for picture in first]
    live = sector_in(still)
    assert live.panes is Panes.ONE  # the frozen one beside it is no live picture
    assert live.box[0] < 380


def test_a_picture_without_a_screen_around_it_is_whole_and_an_empty_screen_has_none() -> None:
    inner = np.ascontiguousarray(pictures()[0][80:520, 250:450])
    assert sector_in([inner]).shape == "whole"
    assert find_sector(gathered([np.zeros((480, 640), np.uint8)])) is None
    menu = Screen().draw(np.zeros((SIDE, SIDE), np.uint8))
    assert find_sector(gathered([menu])) is None


def place(tracker: SectorTracker, image: NDArray[np.uint8]) -> bool:
    return tracker.update(image, small_copy(image))


def test_the_sector_stays_locked_through_menus_and_shadows_and_is_let_go_where_it_moves() -> None:
    tracker = SectorTracker(gather=GATHER_LIVE)
    home, away = Screen(), Screen(left=900, top=250)
    for number in range(GATHER_LIVE - 1):
        assert not place(tracker, home.draw(pictures()[number], number))
        assert tracker.sector is None
    assert place(tracker, home.draw(pictures()[11]))
    first = tracker.sector
    with_menu = Screen(extra=[f"ENTRY {line}" for line in range(4)])
    for number in range(16):
        assert not place(tracker, with_menu.draw(pictures()[number], number))
    shadowed = [picture.copy() for picture in pictures()]
    for picture in shadowed:
        picture[:, SIDE // 2 :] = 0  # half of the probe is off the skin
    for number in range(30):
        place(tracker, home.draw(shadowed[number % 16], number))
    assert tracker.sector is first
    found = [place(tracker, away.draw(pictures()[number % 16], number)) for number in range(40)]
    assert found.count(True) == 1
    assert tracker.sector is not None
    assert tracker.sector.box[0] > 880


@pytest.mark.slow
def test_real_frames_lose_no_anatomy_to_it(shared_data: Path) -> None:
    with (shared_data / "psfhs" / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lost: dict[str, list[float]] = {"A": [], "B": []}
    for row in rows[::6]:
        folder = shared_data / "psfhs" / row["split"]
        image = cv2.imread(str(folder / "images" / f"{row['id']}.png"), cv2.IMREAD_GRAYSCALE)
        mask = cv2.imread(str(folder / "masks" / f"{row['id']}.png"), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        assert mask is not None
        found = sector_in([np.asarray(image, np.uint8)])
        is_seen = (mask > 0) & (image > 5)  # annotators complete a head beyond the sector, where all is black
        lost[row["device_look"]].append(float((found.mask[is_seen] == 0).mean()))
    assert np.mean(lost["A"]) < 0.002
    assert np.mean(lost["B"]) < 0.01
    assert np.quantile(lost["A"] + lost["B"], 0.95) < 0.02


@pytest.mark.parametrize(
    ("name", "box"),
    [
        ("clarius-ocular-short.mp4", (265, 90, 750, 780)),
        ("butterfly-ocular-phantom.mp4", (80, 205, 610, 690)),
        ("pydicom_examples_ybr_color_US30frames.dcm", (75, 20, 180, 185)),
    ],
)
def test_the_sector_of_real_clips_is_found(shared_data: Path, name: str, box: tuple[int, int, int, int]) -> None:
    with open_source(str(shared_data / "clips" / name)) as source:
        images = [frame.image for frame, _ in zip(source, range(12), strict=False)]
    found = sector_in(images)
    tolerance = 0.1 * max(images[0].shape)
    assert np.abs(np.subtract(found.box, box)).max() < tolerance, found.box


def test_overlap_is_a_share_and_that_of_nothing_is_none() -> None:
    empty, left = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    left[:, :4] = 255
    assert overlap(empty, empty) == 0.0
    assert overlap(left, empty) == 0.0
    assert overlap(left, left) == 1.0
    assert overlap(left, np.full((8, 8), 255, np.uint8)) == 0.5
