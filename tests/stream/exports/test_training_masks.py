"""`partum export-masks`: what was corrected comes out as training reads it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from calibration.data.layouts.folder import open_folder
from calibration.data.layouts.landmark_tables import open_landmark_table
from stream.common.errors import OptionError, RunUnreadable
from stream.exports.training_masks import export_masks
from stream.labour.edits import EditedReading, EditKind, add_edit
from stream.labour.recorded_run import RecordedRun
from stream.labour.run_masks import RunMasks, mask_in_frame
from tests.fakes.doubles import picture
from tests.samples.finished_runs import finished_run

SIZE = (128, 128)
SQUARE = [[20.0, 60.0], [100.0, 60.0], [100.0, 120.0], [20.0, 120.0]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RecordedRun:
    return finished_run(tmp_path_factory.mktemp("made"), 8, masks=True)


@pytest.fixture
def copy(made: RecordedRun, tmp_path: Path) -> RecordedRun:
    shutil.copytree(made.folder, tmp_path / "run")
    return RecordedRun(tmp_path / "run")


def edit(run: RecordedRun, row: int, kind: EditKind, **reading: Any) -> None:
    add_edit(run, row, kind, by="test", size_px=SIZE, reading=EditedReading(**reading) if reading else None)


def test_corrected_frames_are_read_by_the_training_s_own_layouts(copy: RecordedRun, tmp_path: Path) -> None:
    landmarks = copy.table.record(5)["landmarks_px"] | {"tangent": [90.25, 60.5]}
    edit(copy, 2, EditKind.CONFIRM)
    edit(copy, 3, EditKind.OUTLINES, outlines_px={"fh": SQUARE})
    edit(copy, 5, EditKind.POINTS, moved=["tangent"], landmarks_px=landmarks)
    edit(copy, 6, EditKind.CONFIRM)
    edit(copy, 6, EditKind.WITHDRAW)
    written = export_masks(copy, tmp_path / "out")
    assert (written.masks, written.points, written.notes) == (2, 1, ())

    pictures = {each.name[-6:]: each for each in open_folder(tmp_path / "out").items(None)}
    assert sorted(pictures) == ["000002", "000003"]
    assert {each.group for each in pictures.values()} == {copy.manifest["run_id"][:12]}
    assert all(each.plane for each in pictures.values())
    image = cv2.imread(str(pictures["000003"].image_path), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(image, picture(62.6))
    kept = mask_in_frame(RunMasks(copy)[3], SIZE)
    labels = cv2.imread(str(pictures["000003"].mask_path), cv2.IMREAD_UNCHANGED)
    assert labels is not None
    np.testing.assert_array_equal(labels == 1, kept == 1, "the symphysis is the network's")
    drawn = np.zeros(SIZE, bool)
    drawn[60:121, 20:101] = True
    np.testing.assert_array_equal(labels == 2, drawn & (kept != 1), "the head is the one drawn")
    confirmed = cv2.imread(str(pictures["000002"].mask_path), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(confirmed, mask_in_frame(RunMasks(copy)[2], SIZE))

    (pointed,) = open_landmark_table(tmp_path / "out" / "points").items(None)
    assert pointed.landmarks is not None
    assert pointed.landmarks["aop_tangency"] == (90.25, 60.5)
    assert pointed.landmarks["ps_left"] == tuple(landmarks["ps_superior"])


def test_a_run_without_masks_gives_what_was_drawn_whole_and_names_the_rest(tmp_path: Path) -> None:
    run = finished_run(tmp_path, 3)
    edit(run, 0, EditKind.CONFIRM)
    edit(run, 1, EditKind.OUTLINES, outlines_px={"fh": SQUARE, "ps": [[5.0, 5.0], [30.0, 5.0], [30.0, 20.0]]})
    written = export_masks(run, tmp_path / "out")
    assert written.masks == 1
    assert written.notes == ("frame 0: left out: the run kept no mask of it; run with --masks before review",)


def test_what_was_not_reviewed_and_a_folder_in_use_are_refused(copy: RecordedRun, tmp_path: Path) -> None:
    with pytest.raises(RunUnreadable, match="nothing of it was corrected or confirmed"):
        export_masks(copy, tmp_path / "out")
    edit(copy, 2, EditKind.CONFIRM)
    with pytest.raises(OptionError, match="is not empty"):
        export_masks(copy, copy.folder)
