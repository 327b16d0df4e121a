"""What is no ultrasound is no sector, and where a file says that its ultrasound is, there it is looked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from calibration.fitting.other_pictures import KINDS
from stream.common.clock import MonotonicClock
from stream.preprocessing import FramePreprocessor
from stream.preprocessing.sector.detection import LEAST_CONFIDENCE, PixelExtrema, find_outline, small_copy
from stream.sources import open_source
from tests.conftest import REPOSITORY
from tests.samples.screens import Screen, scan

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from stream.preprocessing.sector.detection import Outline


def found_in(image: NDArray[np.uint8]) -> Outline | None:
    gathered = PixelExtrema((image.shape[0], image.shape[1]))
    gathered.add(small_copy(image))
    return find_outline(gathered)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS))
def test_what_is_no_ultrasound_has_no_sector(kind: str) -> None:
    assert [found_in(KINDS[kind](seed)) for seed in range(2000, 2004)] == [None] * 4


def test_a_drawn_screen_is_surely_ultrasound() -> None:
    picture = scan(3, size=600)[0]
    for left, top in ((560, 150), (380, 300), (1100, 120)):
        found = found_in(Screen(left=left, top=top).draw(picture))
        assert found is not None
        assert found.confidence > 0.8


def test_frames_that_were_not_fitted_to_are_ultrasound(shared_data: Path) -> None:
    for folder in ("psfhs/val/images", "planes/images", "pelvic_floor"):
        paths = sorted((shared_data / folder).glob("*.png"))[::4]
        images = [np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8) for path in paths]
        assert paths
        assert all(found_in(image) is not None for image in images), folder


def test_the_sector_of_a_scanner_s_screen_lies_in_the_region_that_its_file_declares(shared_data: Path) -> None:
    paths = sorted((shared_data / "screens").glob("*.dcm"))
    assert len(paths) == 5
    for path in paths:
        with open_source(str(path), clock=MonotonicClock()) as source:
            frames = list(source)
        preprocessor = FramePreprocessor(is_live=False)
        preprocessor.look_ahead(frames)
        shown, _ = preprocessor.process(frames[0])
        left, _, width, height = frames[0].regions[0].box
        rows, columns = shown.image.shape
        assert left - 8 <= shown.origin[0] or columns == frames[0].image.shape[1]
        assert preprocessor.state.sector
        assert columns * rows >= 0.4 * width * height
        assert shown.spacing == frames[0].regions[0].spacing


def test_the_figures_are_of_the_threshold_that_ships() -> None:
    result = json.loads((REPOSITORY / "benchmarks" / "results" / "sector_confidence.json").read_text())
    assert result["least_confidence"] == LEAST_CONFIDENCE
    drawn = [result["no_ultrasound"][kind] for kind in KINDS]
    assert sum(row["accepted"] for row in drawn) <= 0.01 * sum(row["pictures"] for row in drawn)
    for row in result["ultrasound"].values():
        assert row["accepted"] >= 0.98 * row["pictures"]


def test_the_figures_of_the_watch_are_what_the_readme_says() -> None:
    result = json.loads((REPOSITORY / "benchmarks" / "results" / "watch.json").read_text())
    assert all(row["right"] == row["made"] for row in result["changes"].values())
    assert all(row["every 1"] == 0 for row in result["false_seams"].values())
    assert result["cut_heads"]["kept_error_max_deg"] < 2.0
