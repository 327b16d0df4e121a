"""The ruler's pitch is known where it was drawn, and agrees with the arcs where it is real."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.preprocessing.depth_ruler import find_ticks, read_ruler, settled_step
from stream.preprocessing.ruler_tracker import READ_OVER, RETRY_LAST, RulerTracker
from stream.preprocessing.sector.detection import PixelExtrema, find_sector, small_copy
from tests.samples.screens import Screen, scan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


@cache
def pictures() -> Sequence[NDArray[np.uint8]]:
    return scan(6, size=700)


@cache
def sector() -> NDArray[np.uint8]:
    return sector_in(Screen().draw(pictures()[0]))


def sector_in(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    gathered = PixelExtrema((image.shape[0], image.shape[1]))
    gathered.add(small_copy(image))
    found = find_sector(gathered)
    assert found is not None
    return found.mask


def still(screen: Screen) -> NDArray[np.uint8]:
    return np.asarray(np.min([screen.draw(picture, number) for number, picture in enumerate(pictures())], axis=0))


@pytest.mark.parametrize(
    ("tick_px", "major", "step_mm"), [(38.7, 5, 10.0), (61.3, 5, 10.0), (22.37, 10, 5.0), (47.9, 99, 10.0)]
)
def test_the_spacing_is_read_off_the_ticks(tick_px: float, major: int, step_mm: float) -> None:
    ruler = read_ruler(still(Screen(tick_px=tick_px, major=major)), sector())
    assert ruler is not None
    assert ruler.step_mm == step_mm
    assert ruler.spacing.y_mm == pytest.approx(step_mm / tick_px, rel=5e-4)
    assert ruler.spacing.x_mm == ruler.spacing.y_mm
    assert ruler.confidence > 0.8


def test_a_ruler_that_does_not_say_its_step_gives_no_scale_until_it_is_said() -> None:
    image = still(Screen(tick_px=32.0, major=99))  # 10.5 cm or 21 cm deep
    assert read_ruler(image, sector()) is None
    ruler = read_ruler(image, sector(), step_mm=5.0)
    assert ruler is not None
    assert ruler.spacing.y_mm == pytest.approx(5 / 32.0, rel=1e-3)


def test_menus_of_regular_lines_are_no_ruler() -> None:
    screen = Screen(menu=True, extra=["I - I", "I - I", "I - I", "I - I"])
    assert read_ruler(still(screen), sector()) is None
    assert read_ruler(still(Screen()), sector(), step_mm=10.0) is None


def test_pixels_of_unknown_shape_have_no_width_by_a_ruler_of_depth_alone() -> None:
    assert read_ruler(still(Screen(tick_px=38.7)), sector(), pixel_aspect=None) is None
    wide = read_ruler(still(Screen(tick_px=38.7)), sector(), pixel_aspect=1.2)
    assert wide is not None
    assert wide.spacing.x_mm == pytest.approx(1.2 * wide.spacing.y_mm)


@given(
    pitch=st.floats(9.0, 60.0),
    first=st.floats(3.0, 9.0),
    missing=st.sets(st.integers(1, 14), max_size=4),
    stray=st.integers(0, 400),
)
def test_ticks_are_found_with_some_missing_and_one_astray(
    pitch: float, first: float, missing: set[int], stray: int
) -> None:
    image = np.zeros((900, 400), np.uint8)
    places = [first + number * pitch for number in range(15) if number not in missing]
    for place in places:
        cover = np.clip(1.0 - np.abs(np.arange(900) - place), 0, 1)[:, None] * 220
        image[:, 20:28] = np.maximum(image[:, 20:28], cover.astype(np.uint8))
    image[stray : stray + 2, 40:44] = 200
    found = find_ticks(image)
    assert found is not None
    assert found.pitch_px == pytest.approx(pitch, rel=2e-3)
    assert found.count >= len(places) - 1


def test_steps_are_settled_by_depth_and_by_long_ticks() -> None:
    assert settled_step(15.0, None) == (10.0, 0.9)  # 75 mm or 150 mm
    assert settled_step(30.0, None) == (5.0, 0.9)
    assert settled_step(20.0, None) is None  # 100 mm or 200 mm
    assert settled_step(20.0, 5) == (10.0, 1.0)
    assert settled_step(20.0, 2) == (5.0, 1.0)
    assert settled_step(3.0, None) == (50.0, 0.9)
    assert settled_step(0.5, None) is None


def test_a_change_of_depth_ends_the_scale_at_once_and_the_new_one_is_read() -> None:
    tracker = RulerTracker()
    before, after = Screen(tick_px=38.7), Screen(tick_px=51.3)
    tracker.begin(still(before), sector(), 1.0)
    assert tracker.ruler is not None
    assert not any(tracker.update(before.draw(picture, 7)) for picture in pictures())
    assert tracker.update(after.draw(pictures()[0]))
    assert tracker.ruler is not None
    assert tracker.ruler.spacing.y_mm == pytest.approx(10 / 51.3, rel=1e-3)
    assert not any(tracker.update(after.draw(picture, 7)) for picture in pictures())


def test_a_ruler_that_is_hidden_gives_no_scale_and_is_read_again_when_it_comes_back() -> None:
    tracker = RulerTracker()
    screen, hidden = Screen(tick_px=38.7), Screen()
    tracker.begin(still(screen), sector(), 1.0)
    for number in range(40):
        assert not tracker.update(hidden.draw(pictures()[number % 6]))
        assert tracker.ruler is None
        assert tracker.is_hidden
    assert not any(tracker.update(screen.draw(pictures()[number % 6])) for number in range(RETRY_LAST + READ_OVER))
    assert tracker.ruler is not None
    assert tracker.ruler.spacing.y_mm == pytest.approx(10 / 38.7, rel=1e-3)


def test_brightness_is_no_change_of_a_ruler() -> None:
    tracker = RulerTracker()
    screen = Screen(tick_px=38.7)
    tracker.begin(still(screen), sector(), 1.0)
    for factor in (0.5, 1.2):
        assert not tracker.update(np.asarray(cv2.convertScaleAbs(screen.draw(pictures()[0]), alpha=factor), np.uint8))
        assert tracker.ruler is not None


def test_real_rulers_agree_with_the_arcs(shared_data: Path) -> None:
    """Look A: 1 cm a tick on both axes; its pixels are about 1.2 times as wide as high."""
    ratios, read = [], 0
    paths = sorted((shared_data / "psfhs" / "val" / "images").glob("04[01]*.png"))
    for path in paths:
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        ruler = read_ruler(np.asarray(image, np.uint8), sector_in(np.asarray(image, np.uint8)), pixel_aspect=None)
        if ruler is not None:
            read += 1
            ratios.append(ruler.spacing.x_mm / ruler.spacing.y_mm)
            assert ruler.step_mm == 10.0
            assert 0.5 < ruler.spacing.y_mm < 0.8
    assert read >= 0.8 * len(paths) > 10
    assert np.quantile(ratios, [0.0, 1.0]) == pytest.approx([1.215, 1.215], abs=0.03)
