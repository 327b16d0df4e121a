"""Data sets of single pictures as published: PSFHS, FH-PS-AOP 2023, JNU-IFM, plain folders; whole and damaged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from calibration.data import open_dataset
from calibration.data.groups import content_groups
from calibration.learning.frames import phantoms
from tests.samples import dataset_files as make
from tests.samples.dataset_damage import add_mask, drop, edit, error_of, opening_error_of, read, rewrite
from tests.samples.dataset_files import EXAM
from tests.samples.source_files import write_metaimage

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.samples.dataset_damage import Damage


def test_mha_images_are_grey_however_they_are_stored(tmp_path: Path) -> None:
    frames = read(make.mha_pairs(tmp_path))
    assert list(frames) == ["00001", "00002", "00010"]
    for name, frame in frames.items():
        np.testing.assert_array_equal(frame.image, make.picture(int(name)))
        assert frame.plane is True


def test_mha_frames_that_are_nearly_equal_are_one_group(tmp_path: Path) -> None:
    make.mha_pairs(tmp_path)
    near = np.clip(make.picture(2).astype(int) + 3, 0, 255).astype(np.uint8)
    write_metaimage(tmp_path / "image_mha" / "00020.mha", near)
    write_metaimage(tmp_path / "label_mha" / "00020.mha", make.drawn_mask(2))
    groups = {name: frame.group for name, frame in read(tmp_path).items()}
    assert groups == {"00001": "00001", "00002": "00002", "00010": "00010", "00020": "00002"}


def test_mha_groups_and_looks_come_from_a_manifest(tmp_path: Path) -> None:
    make.mha_pairs(tmp_path)
    make.save_table(tmp_path / "manifest.csv", ("name", "group", "look"), [("00001", "w7", "A"), ("00010", "w7", "B")])
    frames = read(tmp_path)
    assert [frame.group for frame in frames.values()] == ["w7", "00002", "w7"]
    assert [frame.look for frame in frames.values()] == ["A", "", "B"]


def test_mha_pairs_must_be_pairs(tmp_path: Path) -> None:
    make.mha_pairs(tmp_path)
    (tmp_path / "label_mha" / "00002.mha").unlink()
    assert "label_mha: no mask for 1 (00002) of 3 images" in opening_error_of(tmp_path)
    (tmp_path / "image_mha" / "00002.mha").unlink()
    (tmp_path / "image_mha" / "00010.mha").unlink()
    assert "image_mha: no image for the masks 1 (00010)" in opening_error_of(tmp_path)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (np.full((24, 32), 7, np.uint8) * np.eye(24, 32, dtype=np.uint8) + 3, r"00010\.mha: holds the values 3, 10"),
        (np.zeros((20, 30), np.uint8), r"00010\.mha: is 30x20, but 00010\.mha is 32x24"),
        (np.zeros((2, 24, 32), np.uint8), r"00010\.mha: holds 32 x 24 x 2 values; expected one picture"),
    ],
)
def test_mha_labels_that_do_not_fit(tmp_path: Path, stored: np.ndarray, message: str) -> None:
    make.mha_pairs(tmp_path)
    write_metaimage(tmp_path / "label_mha" / "00010.mha", stored)
    assert re.search(message, error_of(tmp_path))


def test_mha_a_sequence_is_no_image(tmp_path: Path) -> None:
    make.mha_pairs(tmp_path)
    write_metaimage(tmp_path / "image_mha" / "00002.mha", np.zeros((5, 24, 32), np.uint8))
    assert "00002.mha: holds 5 pictures; expected one" in error_of(tmp_path)


def test_near_duplicates_are_chained_and_gain_does_not_matter() -> None:
    base, other = make.picture(1), make.picture(2)
    flat = np.full((24, 32), 99, np.uint8)
    assert content_groups([base, base // 2, 255 - base], ["a", "b", "c"]) == ["a", "a", "c"]
    assert content_groups([flat, flat, other, base, other], list("abcde")) == ["a", "b", "c", "d", "c"]
    assert content_groups([], []) == []


def test_groups_that_are_known_are_kept_and_joined_by_content() -> None:
    """b and c hold one picture: all of both are one group, though their other pictures are alike to none."""
    pictures = [make.picture(number) for number in (1, 2, 3, 3, 4)]
    assert content_groups(pictures, ["a", "b", "b", "c", "c"]) == ["a", "b", "b", "b", "b"]


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "black bars beside it": lambda image: cv2.copyMakeBorder(image, 3, 9, 20, 5, cv2.BORDER_CONSTANT),
    "mirrored": lambda image: image[:, ::-1],
    "cut at its edges": lambda image: image[8:-8, 8:-8],
    "squeezed": lambda image: cv2.resize(image, (image.shape[1], image.shape[0] // 2)),
    "darker": lambda image: (image * 0.5).astype(np.uint8),
    "blurred": lambda image: cv2.GaussianBlur(image, (5, 5), 1.5),
    "turned a little": lambda image: cv2.warpAffine(
        image, cv2.getRotationMatrix2D((image.shape[1] / 2, image.shape[0] / 2), 2, 1), image.shape[::-1]
    ),
}


@pytest.mark.parametrize("change", COPIES)
def test_a_copy_that_was_made_anew_is_found(change: str) -> None:
    frames = [frame.image for frame in phantoms(3, 160, seed=5) if frame.plane]
    groups = content_groups([*frames, COPIES[change](frames[1])], list("abcd"))
    assert groups == ["a", "b", "c", "b"]


def test_pictures_of_any_size_and_name_are_grouped_by_content(tmp_path: Path) -> None:
    """The same picture enlarged, in another folder under another name; no table says anything."""
    once, other = make.picture(1), make.picture(2)
    make.save_png(tmp_path / "train" / "images" / "a.png", once)
    make.save_png(tmp_path / "train" / "images" / "b.png", other)
    make.save_png(tmp_path / "val" / "images" / "c.png", cv2.resize(once, (96, 72)))
    groups = {frame.name: frame.group for frame in open_dataset(tmp_path).frames()}
    assert groups == {"a": "a", "b": "b", "c": "a"}


def test_near_duplicates_join_groups_that_were_apart() -> None:
    """The third is like both that came before it, which are not like each other."""
    rng = np.random.default_rng(3)
    first, noise = rng.normal(size=(2, 16, 16))
    steps = [first, first + 0.7 * noise, first + 0.35 * noise]
    images = [np.clip(128 + 30 * step, 0, 255).astype(np.uint8) for step in steps]
    assert content_groups(images[:2], list("ab")) == ["a", "b"]
    assert content_groups(images, list("abc")) == ["a", "a", "a"]


@pytest.mark.parametrize("build", [make.jnu_ifm, make.jnu_ifm_one_table])
def test_jnu_planes_show_both_structures(tmp_path: Path, build: Callable[[Path], Path]) -> None:
    frames = read(build(tmp_path))
    assert {name: frame.plane for name, frame in frames.items()} == {
        f"{EXAM}I1_0": True,
        f"{EXAM}I1_2": False,
        f"{EXAM}I1_10": False,
        "20200101T000000_1": False,
        "20200101T000000_7": False,
    }
    assert {frame.group for frame in frames.values()} == {EXAM, "20200101T000000"}


def test_jnu_a_frame_that_shows_nothing_has_an_empty_mask(tmp_path: Path) -> None:
    frames = read(make.jnu_ifm(tmp_path))
    for name in (f"{EXAM}I1_10", "20200101T000000_7"):
        mask = frames[name].mask
        assert mask is not None
        assert mask.shape == (make.HEIGHT, make.WIDTH)
        assert not mask.any()


def test_jnu_may_be_opened_at_us_data(tmp_path: Path) -> None:
    make.jnu_ifm_one_table(tmp_path)
    assert open_dataset(tmp_path / "us_data").count() == 5


def test_jnu_one_table_may_name_files(tmp_path: Path) -> None:
    make.jnu_ifm_one_table(tmp_path)
    rewrite(tmp_path / "frame_label.csv", f'"{EXAM}I1","2"', f'"{EXAM}I1","{EXAM}I1_2.png"')
    (tmp_path / "frame_label.csv").rename(tmp_path / "framelabel.csv")
    assert open_dataset(tmp_path).count() == 5


_VIDEO = f"us_data/{EXAM}I1"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop(f"{_VIDEO}/frame_label.csv"), r"frame_label\.csv: missing"),
        (drop(f"{_VIDEO}/mask/{EXAM}I1_2_mask.png"), r"there is no mask for the frames 1 \(.*I1_2\)"),
        (drop(f"{_VIDEO}/image/{EXAM}I1_10.png"), r"there is no image for the labels 1 \(.*I1_10\)"),
        (add_mask(f"{_VIDEO}/mask/{EXAM}I1_3_mask.png"), r"there is no image for the masks 1 \(.*I1_3\)"),
        (add_mask(f"{_VIDEO}/image/{EXAM}I1_3.png"), r"has no label for the frames 1 \(.*I1_3\)"),
        (edit(f"{_VIDEO}/frame_label.csv", '"2","5"', '"2","2"'), "I1_2 has the label 2; expected 3 none"),
        (edit(f"{_VIDEO}/frame_label.csv", '"2","5"', '"2",""'), "I1_2: '' is not a whole number"),
        (edit(f"{_VIDEO}/frame_label.csv", '"2","5"', '"x","5"'), "frame_id: 'x' is not a whole number"),
        (edit(f"{_VIDEO}/frame_label.csv", '"2","5"', '"0","5"'), "names frame .*I1_0 twice"),
    ],
)
def test_jnu_names_and_labels_are_checked_when_opened(tmp_path: Path, damage: Damage, message: str) -> None:
    damage(make.jnu_ifm(tmp_path))
    assert re.search(message, opening_error_of(tmp_path))


def test_jnu_one_table_names_no_strangers(tmp_path: Path) -> None:
    make.jnu_ifm_one_table(tmp_path)
    rewrite(tmp_path / "frame_label.csv", '"20200101T000000","1"', '"stranger","1"')
    assert "names videos that are not there: 1 (stranger)" in opening_error_of(tmp_path)


def test_folder_groups_and_looks_come_from_the_manifest(tmp_path: Path) -> None:
    frames = read(make.split_folder(tmp_path))
    assert {name: (frame.split, frame.group, frame.look) for name, frame in frames.items()} == {
        "00001": ("train", "00001", "A"),
        "00002": ("train", "00001", "A"),
        "00010": ("train", "00010", ""),
        "00004": ("val", "00004", "B"),
    }
    assert {frame.plane for frame in frames.values()} == {None}


def test_folder_the_manifest_may_lie_above(tmp_path: Path) -> None:
    make.split_folder(tmp_path)
    assert {frame.group for frame in read(tmp_path / "train").values()} == {"00001", "00010"}
    assert open_dataset(tmp_path / "train").splits == ()


def test_folder_labels_say_which_planes_are_standard(tmp_path: Path) -> None:
    frames = read(make.labelled_folder(tmp_path))
    assert {name: frame.plane for name, frame in frames.items()} == {
        "frame_1": True,
        "frame_2": False,
        "frame_10": False,
    }


@pytest.mark.parametrize("label", ["sp_head", "standard", "positive", "1", "Standard"])
def test_folder_words_for_a_standard_plane(tmp_path: Path, label: str) -> None:
    make.labelled_folder(tmp_path)
    rewrite(tmp_path / "labels.csv", '"only_head"', f'"{label}"')
    rewrite(tmp_path / "labels.csv", '"frame_2"', '"frame_2.png"')
    assert read(tmp_path)["frame_2"].plane is True


@pytest.mark.parametrize("label", ["only_head", "only_sp", "none", "negative", "0"])
def test_folder_words_for_another_plane(tmp_path: Path, label: str) -> None:
    make.labelled_folder(tmp_path)
    rewrite(tmp_path / "labels.csv", '"sp_head"', f'"{label}"')
    assert read(tmp_path)["frame_1"].plane is False


def test_folder_labels_may_lie_in_each_split(tmp_path: Path) -> None:
    make.split_folder(tmp_path)
    make.save_table(tmp_path / "train" / "labels.csv", ("name", "label"), [("00001", 1), ("00002", 0), ("00010", 1)])
    make.save_table(tmp_path / "val" / "labels.csv", ("name", "label"), [("00004", "positive")])
    assert [frame.plane for frame in read(tmp_path).values()] == [True, False, True, True]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop("masks/frame_2.png"), r"masks: no mask for 1 \(frame_2\) of 3 images"),
        (drop("images/frame_2.png"), r"images: no image for the masks 1 \(frame_2\)"),
        (add_mask("images/frame_7.png"), r"masks: no mask for 1 \(frame_7\) of 4 images"),
        (edit("labels.csv", '"only_head"', '"unsure"'), "frame_2 is labelled 'unsure'; expected 1, positive"),
        (edit("labels.csv", '"frame_2"', '"frame_7"'), r"labels\.csv: no label for 1 \(frame_2\)"),
        (edit("labels.csv", '"frame_2"', '"frame_1"'), "names name frame_1 twice"),
        (edit("labels.csv", '"frame_1"', '"frame_9","none"\n"frame_1"'), r"no image for the labels 1 \(frame_9\)"),
        (edit("labels.csv", "label", "plane"), "lacks the column label"),
    ],
)
def test_folder_names_and_labels_are_checked_when_opened(tmp_path: Path, damage: Damage, message: str) -> None:
    damage(make.labelled_folder(tmp_path))
    assert re.search(message, opening_error_of(tmp_path))


def test_folder_a_manifest_needs_names(tmp_path: Path) -> None:
    make.labelled_folder(tmp_path)
    make.save_table(tmp_path / "manifest.csv", ("picture", "group"), [("frame_1", "a")])
    assert "manifest.csv: lacks a column of names" in opening_error_of(tmp_path)


def test_folder_two_pictures_of_one_name(tmp_path: Path) -> None:
    make.loose_pictures(tmp_path)
    (tmp_path / "image1.jpg").write_bytes(b"")
    assert "several files named 1 (image1)" in opening_error_of(tmp_path)


def test_folder_a_name_in_two_splits(tmp_path: Path) -> None:
    make.split_folder(tmp_path)
    make.save_png(tmp_path / "val" / "images" / "00001.png", make.picture(1))
    make.save_mask(tmp_path / "val" / "masks" / "00001.png", 1)
    assert "named more than once: 1 (00001)" in opening_error_of(tmp_path)


def test_folder_masks_of_one_class_or_none_are_data(tmp_path: Path) -> None:
    make.labelled_folder(tmp_path)
    only_head = np.where(make.drawn_mask(2) == 2, 255, 0).astype(np.uint8)
    make.save_png(tmp_path / "masks" / "frame_2.png", only_head)
    make.save_png(tmp_path / "masks" / "frame_10.png", np.zeros_like(only_head))
    masks = {name: frame.mask for name, frame in read(tmp_path).items()}
    assert [np.unique(mask).tolist() for mask in masks.values() if mask is not None] == [[0, 1, 2], [0, 2], [0]]


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_folder_an_unreadable_image_is_named(tmp_path: Path, content: bytes) -> None:
    make.loose_pictures(tmp_path)
    (tmp_path / "image2.png").write_bytes(content)
    assert re.search(r"image2\.png: .*decoded", error_of(tmp_path))


def test_folder_a_mask_that_is_cut_off_is_named(tmp_path: Path) -> None:
    make.labelled_folder(tmp_path)
    path = tmp_path / "masks" / "frame_2.png"
    path.write_bytes(path.read_bytes()[:-20])
    assert re.search(r"frame_2\.png: the PNG is damaged or cut off", error_of(tmp_path))


def test_folder_a_mask_one_pixel_off_is_resampled_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make.labelled_folder(tmp_path)
    make.save_png(tmp_path / "masks" / "frame_2.png", make.drawn_mask(2, height=make.HEIGHT + 1))
    mask = read(tmp_path)["frame_2"].mask
    assert mask is not None
    assert mask.shape == (make.HEIGHT, make.WIDTH)
    assert (mask != make.drawn_mask(2)).sum(axis=0).max() <= 1
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: masks one pixel off their images' size, resampled: 1 (frame_2)"
    ]


def test_folder_a_mask_two_pixels_off_is_an_error(tmp_path: Path) -> None:
    make.labelled_folder(tmp_path)
    make.save_png(tmp_path / "masks" / "frame_2.png", make.drawn_mask(2, height=make.HEIGHT + 2))
    assert re.search(r"frame_2\.png: is 32x26, but frame_2\.png is 32x24", error_of(tmp_path))


def test_folder_masks_of_a_foreign_format_are_named(tmp_path: Path) -> None:
    make.labelled_folder(tmp_path)
    (tmp_path / "masks" / "frame_2.png").rename(tmp_path / "masks" / "frame_2.jpg")
    assert "frame_2.jpg: not a mask format" in opening_error_of(tmp_path)
