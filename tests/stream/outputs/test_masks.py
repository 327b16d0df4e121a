"""Masks that a run keeps: those that were measured, without loss, and the same numbers from them again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from stream.common.errors import RunUnreadable
from stream.inference.label_grid import FrameMask, LabelGrid
from stream.labour.run_masks import RunMasks, mask_in_frame
from stream.measurement.biometry import Orientation
from stream.measurement.protocols import measure
from stream.outputs.masks import mask_line, read_mask_line
from tests.fakes.doubles import FH_GREY, PS_GREY, picture
from tests.samples.finished_runs import finished_run

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CLASSES = np.array([0, 1, 2], np.uint8)


def drawn_labels(head_x: float) -> NDArray[np.uint8]:
    image = picture(head_x)
    return np.where(image == PS_GREY, 1, np.where(image == FH_GREY, 2, 0)).astype(np.uint8)


def test_masks_of_a_run_are_what_was_drawn_and_give_its_numbers_again(tmp_path: Path) -> None:
    made = finished_run(tmp_path, 5, masks=True)
    masks = RunMasks(made)
    assert len(masks) == 5
    for index in (3, 0):
        mask = masks[index]
        assert np.mean(mask_in_frame(mask, (128, 128)) != drawn_labels(62 + 0.2 * index)) < 0.01
        again = measure(mask.labels, protocol="robust", pixel_size=(1.0, 1.0), orientation=Orientation.NORMAL)
        assert again.aop_deg == pytest.approx(made.table.numbers("aop_raw_deg")[index], abs=1e-3)


def test_a_mask_on_another_raster_lies_on_its_frame() -> None:
    labels = np.zeros((64, 64), np.uint8)
    labels[16:48, 8:24] = 2
    grid = LabelGrid(width=64, height=64, scale_x=0.5, scale_y=0.25, left=0.0, top=8.0)
    shown = mask_in_frame(FrameMask(labels=labels, grid=grid), (200, 120))
    rows, columns = np.nonzero(shown == 2)
    assert (columns.min(), columns.max()) == (16, 47)
    assert (rows.min(), rows.max()) == (32, 159)


def test_a_mask_is_kept_without_loss() -> None:
    labels = np.random.default_rng(0).choice(CLASSES, (31, 57))
    grid = LabelGrid(width=57, height=31, scale_x=0.3, scale_y=0.7, left=1.5, top=-2.0)
    read = read_mask_line(json.loads(json.dumps(mask_line(4, FrameMask(labels=labels, grid=grid)))))
    np.testing.assert_array_equal(read.labels, labels)
    assert read.grid == grid


def test_a_run_without_masks_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    made = finished_run(tmp_path / "without", 1)
    with pytest.raises(RunUnreadable, match="--masks"):
        RunMasks(made)
    made = finished_run(tmp_path / "with", 2, masks=True)
    path = made.folder / "masks.jsonl"
    whole = path.read_text()
    path.write_text(whole.replace("partum.masks/1", "partum.masks/0"))
    with pytest.raises(RunUnreadable, match="line 1"):
        RunMasks(made)
    path.write_text(whole.replace('"labels_png": "', '"labels_png": "?'))
    with pytest.raises(RunUnreadable, match="frame 1 cannot be read"):
        RunMasks(made)[1]
