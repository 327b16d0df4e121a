"""IUGC 2024 as published: DatasetV3, its tables, and the starting kit, whole and damaged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calibration.data import open_dataset
from calibration.data.exams import exam_of
from calibration.data.layouts.iugc2024 import stem_of
from calibration.data.layouts.tables import frame_numbers, read_table
from calibration.errors import DataSetError
from stream.sources import open_source
from tests.samples import dataset_files as make
from tests.samples.dataset_damage import add_mask, drop, edit, error_of, opening_error_of, read, rewrite
from tests.samples.dataset_files import EXAM, LABELLED, NEGATIVE, POSITIVE

if TYPE_CHECKING:
    from tests.samples.dataset_damage import Damage


@pytest.fixture
def iugc(tmp_path: Path) -> Path:
    return make.iugc2024(tmp_path)


def test_iugc_planes_are_those_of_the_tables(iugc: Path) -> None:
    train = read(iugc, "train")
    assert {frame.plane for name, frame in train.items() if name.startswith(POSITIVE)} == {True}
    assert {frame.plane for name, frame in train.items() if name.startswith(NEGATIVE)} == {False}
    assert [frame.plane for frame in read(iugc, "test").values()] == [False, False, True, True, True, True, True, False]


def test_iugc_masks_are_read_in_both_codings_and_all_name_forms(iugc: Path) -> None:
    masked = [name for name, frame in read(iugc).items() if frame.mask is not None]
    train = [f"{POSITIVE}_{frame}" for frame in sorted(LABELLED)]
    assert masked == [*train, "202012132137152159400I1_6", "test_10_6_6"]


def test_iugc_videos_are_counted_without_decoding(iugc: Path) -> None:
    for path in iugc.rglob("*.avi"):
        path.write_bytes(b"")
    dataset = open_dataset(iugc)
    assert [dataset.count(split) for split in dataset.splits] == [17, 8, 8]


def test_iugc_videos_of_one_examination_are_one_group(iugc: Path) -> None:
    groups = {frame.group for frame in read(iugc).values()}
    assert groups == {EXAM, "20190726T095643", "202012132137152159400", "test_10_6"}


def test_iugc_landmarks_become_x_y(iugc: Path) -> None:
    train = read(iugc, "train")
    assert train[f"{POSITIVE}_0"].landmarks == {
        "ps_left": (198, 69),
        "ps_right": (299, 84),
        "hsd_point": (294, 147),
        "aop_tangency": (339, 174),
    }
    assert not any(frame.landmarks for name, frame in train.items() if name != f"{POSITIVE}_0")


def test_a_loader_that_decodes_only_wanted_frames_is_found_out(iugc: Path) -> None:
    """The challenge's own loader skips frames without decoding them, so that each mask meets an earlier frame."""
    frames = [frame for frame in read(iugc, "train").values() if frame.mask is not None]
    make.assert_masks_meet_their_frames(frames)
    with open_source(str(iugc / "train" / "videos" / f"{POSITIVE}__{POSITIVE}.avi")) as source:
        undecoded = iter(source)
        wrong = [
            type(frame)(name=frame.name, group=frame.group, mask=frame.mask, image=next(undecoded).image)
            for frame in frames
        ]
    with pytest.raises(AssertionError):
        make.assert_masks_meet_their_frames(wrong)


def test_iugc_values_are_the_luma_of_the_pipeline(iugc: Path) -> None:
    with open_source(str(iugc / "train" / "videos" / f"{NEGATIVE}.avi")) as source:
        pipeline = [frame.image for frame in source]
    for index, image in enumerate(pipeline):
        np.testing.assert_array_equal(read(iugc, "train")[f"{NEGATIVE}_{index}"].image, image)


def test_iugc_tables_may_be_gb18030(iugc: Path) -> None:
    assert "产科".encode("gb18030") in (iugc / "train" / "train_info.csv").read_bytes()
    assert f"{NEGATIVE}_0" in read(iugc, "train")


def test_iugc_stems_are_undoubled_only_where_the_halves_are_equal() -> None:
    assert stem_of("A__A.avi") == stem_of("A.avi") == "A"
    assert stem_of("A__B.avi") == "A__B"
    assert stem_of("A__B__A__B.avi") == "A__B"
    assert stem_of("__.avi") == "__"
    assert stem_of("v1.2") == "v1.2"


def test_exams_are_read_off_the_names() -> None:
    assert exam_of("20190909T155747I1") == exam_of("20190909T155747I5") == "20190909T155747"
    assert exam_of("202012132137152159400I1") == "202012132137152159400"
    assert exam_of("test_10_80") == "test_10_80"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop("val/val_info.csv"), r"val_info\.csv: missing"),
        (drop("val/cls/cls_label.csv"), r"class_label\.csv: missing"),
        (drop("val/seg/seg_info.csv"), r"seg_info\.csv: missing"),
        (drop("test/seg/test_10_6.png"), r"no mask file for labelled frames: 1 \(test_10_6_6_6\.png or"),
        (drop("test/videos/test_10_6.avi"), r"test_info\.csv: no video for the rows 1 \(test_10_6\)"),
        (add_mask(f"train/seg/{POSITIVE}/mask/{POSITIVE}_5_6.png"), r"no labelled frame for the masks 1 \(.*_5_6\)"),
        (add_mask("val/seg/another_1.png"), r"no labelled frame for the masks 1 \(another_1\)"),
        (edit("val/seg/seg_info.csv", '"1","6"', '"1","8"'), "names frame 8, but the video has 8 frames"),
        (edit("val/seg/seg_info.csv", '"1","6"', '"1","six"'), "'six' is not a whole number"),
        (edit("val/seg/seg_info.csv", "labeled_frame_index", "frames"), "lacks the column labeled_index or"),
        (edit("val/cls/cls_label.csv", "neg_index", "negative"), r"lacks the column neg_index; its header holds file"),
        (edit("val/cls/cls_label.csv", "[0, 1, 7]", "[0, 1]"), r"neither positive nor negative: 1 \(7\) of 8"),
        (edit("val/cls/cls_label.csv", "[0, 1, 7]", "[0, 1, 6, 7]"), r"both positive and negative: 1 \(6\) of 8"),
        (edit("val/cls/cls_label.csv", "[0, 1, 7]", "ALL"), r"both positive and negative: 5 \(2, 3, 4, \.\.\.\)"),
        (edit("val/cls/cls_label.csv", "[0, 1, 7]", "[0, 1, 8]"), "names frame 8, but the video has 8 frames"),
        (edit("val/cls/cls_label.csv", '"8"', '"9"'), r"different frame counts: 8 in val_info\.csv, 9 in cls_label"),
        (edit("val/cls/cls_label.csv", "400I1", "400I2"), r"does not name the videos of val_info\.csv: 2 \("),
        (edit("val/seg/seg_info.csv", "400I1", "400I2"), r"does not name the videos of val_info\.csv: 1 \("),
        (edit("train/seg/landmark.json", "[", "("), r"landmark\.json: not sound JSON"),
        (edit("train/seg/landmark.json", '["69", "198"],', ""), "expected ps_points with two points"),
        (edit("train/seg/landmark.json", '"69"', '"nan"'), "expected ps_points with two points"),
        (edit("train/seg/landmark.json", "_0_6.png", "_7_6.png"), r"no labelled frame for the landmarks 1 \(.*_7_6\)"),
    ],
)
def test_iugc_names_and_tables_are_checked_when_opened(iugc: Path, damage: Damage, message: str) -> None:
    damage(iugc)
    assert re.search(message, opening_error_of(iugc))


@pytest.mark.parametrize(("decoded", "said"), [(7, "7 were decoded"), (9, "more were decoded")])
def test_iugc_a_video_of_another_length_gives_no_frame(iugc: Path, decoded: int, said: str) -> None:
    make.save_video(iugc / "test" / "videos" / "test_10_6.avi", range(decoded))
    frames = open_dataset(iugc).frames("test")
    with pytest.raises(DataSetError, match=rf"test_10_6\.avi: its table says 8 frames, but {said}"):
        next(frames)


def test_iugc_a_mask_of_another_size_names_both(iugc: Path) -> None:
    make.save_png(iugc / "test" / "seg" / "test_10_6.png", np.zeros((20, 30), np.uint8))
    message = error_of(iugc)
    assert re.search(r"test_10_6\.png: is 30x20, but frame 6 of test_10_6\.avi is 32x24", message)


def test_iugc_a_mask_with_unknown_codes_is_named(iugc: Path) -> None:
    make.save_mask(iugc / "val" / "seg" / "202012132137152159400I1_6.png", 6, (0, 7, 9))
    assert re.search(r"400I1_6\.png: holds the values 0, 7, 9; expected", error_of(iugc))


def test_iugc_a_video_twice_is_an_error(iugc: Path) -> None:
    make.save_video(iugc / "train" / "videos" / f"{POSITIVE}.avi", range(12))
    assert f"the same video as {POSITIVE}.avi" in opening_error_of(iugc)


def test_iugc_a_video_in_two_splits_is_an_error(iugc: Path) -> None:
    for path in ("test/test_info.csv", "test/cls/cls_label.csv", "test/seg/seg_info.csv"):
        rewrite(iugc / path, "test_10_6.avi", "202012132137152159400I1.avi")
    (iugc / "test/videos/test_10_6.avi").rename(iugc / "test/videos/202012132137152159400I1.avi")
    (iugc / "test/seg/test_10_6.png").rename(iugc / "test/seg/202012132137152159400I1.png")
    assert "named more than once: 1 (202012132137152159400I1)" in opening_error_of(iugc)


@pytest.mark.parametrize("content", ["", "{}", "  \n"])
def test_iugc_landmarks_may_be_empty(iugc: Path, content: str) -> None:
    (iugc / "train" / "seg" / "landmark.json").write_text(content)
    assert not any(frame.landmarks for frame in read(iugc).values())


def test_iugc_masks_are_found_in_nested_folders(iugc: Path) -> None:
    seg = iugc / "train" / "seg"
    (seg / POSITIVE / "mask").rename(seg / "mask")
    (seg / POSITIVE / POSITIVE).mkdir()
    (seg / "mask").rename(seg / POSITIVE / POSITIVE / "mask")
    assert sum(frame.mask is not None for frame in read(iugc, "train").values()) == len(LABELLED)


def test_iugc_hidden_files_are_passed_over(iugc: Path) -> None:
    for path in ("train/seg/._a_1.png", "train/videos/._a.avi"):
        (iugc / path).write_bytes(b"resource fork")
    assert open_dataset(iugc).count() == 33


def test_iugc_one_split_alone_is_a_data_set(iugc: Path) -> None:
    (iugc / "val").rename(iugc.parent / "taken_away_val")
    assert open_dataset(iugc).splits == ("train", "test")


def test_the_starter_kit_takes_labels_from_its_folders(tmp_path: Path) -> None:
    frames = read(make.starter_kit(tmp_path))
    assert {name: frame.plane for name, frame in frames.items() if name.endswith("_1")} == {
        f"{POSITIVE}_1": True,
        f"{EXAM}I5_1": True,
        "20190726T095643_0_1": False,
    }
    assert {frame.group for frame in frames.values()} == {EXAM, "20190726T095643"}


def test_the_starter_kit_has_no_masks_beyond_its_videos(tmp_path: Path) -> None:
    make.starter_kit(tmp_path)
    make.save_mask(tmp_path / "pos" / POSITIVE / "mask" / f"{POSITIVE}_10_6.png", 10)
    assert "a mask for frame 10, but" in error_of(tmp_path)


def test_the_starter_kit_has_no_masks_of_strangers(tmp_path: Path) -> None:
    make.starter_kit(tmp_path)
    make.save_mask(tmp_path / "pos" / POSITIVE / "mask" / "stranger_0_6.png", 0)
    assert "stranger_0_6.png: no video for this mask" in opening_error_of(tmp_path)


def test_an_empty_video_is_named(tmp_path: Path) -> None:
    make.starter_kit(tmp_path)
    (tmp_path / "pos" / POSITIVE / f"{POSITIVE}.avi").write_bytes(b"")
    assert re.search(rf"{POSITIVE}\.avi: .*empty", error_of(tmp_path))


@pytest.mark.parametrize(
    ("cell", "numbers"),
    [
        ("0,19,9", {0, 9, 19}),
        ("[9, 10, 11]", {9, 10, 11}),
        ("6", {6}),
        ("6.0", {6}),
        ("3;4 5", {3, 4, 5}),
        ("ALL", set(range(20))),
        *((empty, set()) for empty in ("NONE", "null", "nan", "[]", "", " ")),
    ],
)
def test_frame_numbers_in_every_spelling(cell: str, numbers: set[int]) -> None:
    assert frame_numbers(cell, frame_count=20, origin="cell") == numbers


@pytest.mark.parametrize("cell", ["a", "1,,b", "-1", "1.5", "10-20", "20", "0,20"])
def test_frame_numbers_that_are_none(cell: str) -> None:
    with pytest.raises(DataSetError, match=r"^cell"):
        frame_numbers(cell, frame_count=20, origin="cell")


def test_tables_with_marks_blanks_and_empty_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("name , label\r\n x, 1\r\n\r\n,\r\ny\r\n".encode("utf-8-sig"))
    assert read_table(path, ("name",)) == [{"name": "x", "label": "1"}, {"name": "y", "label": ""}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xff\xff", "neither UTF-8 nor GB18030"),
        (b"", "lacks the column name; its header holds nothing"),
        (b"name,list\na,1,2,3\n", "line 2 has 4 cells, its header 2; put lists of numbers in quotes"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataSetError, match=message):
        read_table(tmp_path / "a.csv", ("name",))
