"""Recordings with masks, whole and damaged, and the real frames beside the checkout."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calibration.data import open_dataset
from tests.samples import dataset_files as make
from tests.samples.dataset_damage import add_mask, drop, error_of, opening_error_of, read
from tests.samples.source_files import from_luma, write_metaimage, write_video

if TYPE_CHECKING:
    from tests.samples.dataset_damage import Damage


def test_recordings_give_every_frame_with_its_mask_or_none(tmp_path: Path) -> None:
    frames = read(make.recordings(tmp_path))
    assert [name for name, frame in frames.items() if frame.mask is not None] == [
        *(f"loop_{index}" for index in range(4)),
        "sweep_0",
        "sweep_5",
    ]
    assert {frame.group for frame in frames.values()} == {"loop", "other", "sweep"}
    assert {frame.plane for frame in frames.values()} == {None}


def test_recordings_three_label_slices_are_no_colour(tmp_path: Path) -> None:
    make.save_video(tmp_path / "a.avi", range(3))
    write_metaimage(tmp_path / "a_masks.mha", np.stack([make.drawn_mask(number) for number in range(3)]))
    make.assert_masks_meet_their_frames(list(read(tmp_path).values()))


def test_recordings_may_be_grouped_by_a_manifest(tmp_path: Path) -> None:
    make.recordings(tmp_path)
    make.save_table(tmp_path / "manifest.csv", ("id", "group"), [("loop", "w1"), ("sweep", "w1")])
    assert {frame.group for frame in read(tmp_path).values()} == {"w1", "other"}


def _save_slices(count: int, *, height: int = make.HEIGHT) -> Damage:
    slices = np.zeros((count, height, make.WIDTH), np.uint8)
    return lambda root: write_metaimage(root / "loop_masks.mha", slices)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (add_mask("sweep_masks/frame_008.png"), r"frame_008\.png: a mask for frame 8, but sweep\.avi has 8 frames"),
        (_save_slices(3), r"loop_masks\.mha: holds 3 masks, but loop\.mha 4 frames"),
        (_save_slices(5), r"loop_masks\.mha: holds 5 masks, but loop\.mha 4 frames"),
        (_save_slices(4, height=20), r"loop_masks\.mha: is 32x20, but frame 0 of loop\.mha is 32x24"),
    ],
)
def test_recordings_masks_must_fit(tmp_path: Path, damage: Damage, message: str) -> None:
    damage(make.recordings(tmp_path))
    assert re.search(message, error_of(tmp_path))


def test_recordings_label_slices_have_no_colour(tmp_path: Path) -> None:
    make.recordings(tmp_path)
    write_metaimage(tmp_path / "loop_masks.mha", np.zeros((4, make.HEIGHT, make.WIDTH, 3), np.uint8))
    assert "loop_masks.mha: holds 3 x 32 x 24 x 4 values; expected slices with one channel" in error_of(tmp_path)


def test_recordings_a_slice_with_unknown_codes_is_named(tmp_path: Path) -> None:
    make.recordings(tmp_path)
    slices = np.zeros((4, make.HEIGHT, make.WIDTH), np.uint8)
    slices[2] = 5
    write_metaimage(tmp_path / "loop_masks.mha", slices)
    assert "loop_masks.mha slice 2: holds the values 5" in error_of(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (add_mask("sweep_masks/first.png"), r"first\.png: no frame number in its name"),
        (add_mask("sweep_masks/z5.png"), r"z5\.png: a second mask for frame 5, besides sweep2_frame_005\.png"),
        (add_mask("stranger_masks/0.png"), r"masks without a recording: 1 \(stranger\)"),
        (add_mask("loop_masks/0.png"), r"both a folder and a stack of masks for 1 \(loop\)"),
        (drop("loop.mha"), r"masks without a recording: 1 \(loop\)"),
    ],
)
def test_recordings_names_are_checked_when_opened(tmp_path: Path, damage: Damage, message: str) -> None:
    damage(make.recordings(tmp_path))
    assert re.search(message, opening_error_of(tmp_path))


def test_recordings_a_video_cut_short_is_named(tmp_path: Path) -> None:
    path = make.save_video(tmp_path / "long.avi", [number % 30 for number in range(60)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert re.search(r"long\.avi: (cut off|.*declares)", error_of(tmp_path))


@pytest.mark.slow
def test_the_psfhs_frames_are_read(shared_data: Path) -> None:
    dataset = open_dataset(shared_data / "psfhs")
    assert (dataset.layout, dataset.splits) == ("folder", ("train", "val"))
    assert (dataset.count("train"), dataset.count("val")) == (846, 133)
    with (shared_data / "psfhs" / "manifest.csv").open(newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    groups: dict[str, str] = {}
    for frame in dataset.frames("val"):
        row = rows[frame.name]
        assert (frame.look, frame.split) == (row["device_look"], row["split"])
        assert groups.setdefault(row["neardup_group"] or frame.name, frame.group) == frame.group
        assert frame.mask is not None
        assert [int((frame.mask == code).sum()) for code in (1, 2)] == [int(row["ps_px"]), int(row["fh_px"])]


@pytest.mark.slow
def test_the_published_split_shares_patients_and_its_groups_are_joined(shared_data: Path) -> None:
    frames = {frame.name: frame for frame in open_dataset(shared_data / "psfhs").frames()}
    for judged, learned in (("04056", "04057"), ("03809", "03807"), ("04341", "04339")):  # one sweep each, seen by eye
        assert frames[judged].split == "val"
        assert frames[learned].split == "train"
        assert frames[judged].group == frames[learned].group
    assert 140 < len({frame.group for frame in frames.values()}) < 170


def test_the_plane_frames_are_read(shared_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = list(open_dataset(shared_data / "planes").frames())
    with (shared_data / "planes" / "labels.csv").open(newline="") as file:
        labels = {row["name"]: row["label"] for row in csv.DictReader(file)}
    assert {frame.name: frame.plane for frame in frames} == {name: label == "sp_head" for name, label in labels.items()}
    assert all(frame.mask is not None and frame.mask.shape == frame.image.shape for frame in frames)
    assert "resampled: 10 (frame_0076, frame_0077, frame_0078, ...)" in caplog.text


def test_the_pelvic_floor_frames_are_read(shared_data: Path) -> None:
    frames = list(open_dataset(shared_data / "pelvic_floor").frames())
    assert [frame.name for frame in frames] == ["pfus1_0", "pfus1_1", "pfus1_2", "pfus1_3"]
    assert all(frame.mask is None and frame.plane is None for frame in frames)


@pytest.mark.slow
def test_the_clips_are_unlabelled_recordings(shared_data: Path) -> None:
    dataset = open_dataset(shared_data / "clips")
    assert dataset.layout == "recordings"
    frames = [(frame.group, frame.mask, frame.plane) for frame in dataset.frames()]
    assert dataset.count() == len(frames)
    assert {group for group, _, _ in frames} == {path.stem for path in (shared_data / "clips").iterdir()}
    assert all(mask is None and plane is None for _, mask, plane in frames)


def test_the_starter_kit_masks_are_read(shared_data: Path, tmp_path: Path) -> None:
    """Real masks beside made-up videos: the videos of the published kit are empty files."""
    for folder in sorted((shared_data / "iugc2024_masks").iterdir()):
        if not folder.is_dir():
            continue
        target = tmp_path / "pos" / folder.name
        (target / "mask").mkdir(parents=True)
        for mask in folder.iterdir():
            (target / "mask" / mask.name).write_bytes(mask.read_bytes())
        blank = np.zeros((512, 512), np.uint8)
        write_video(target / f"{folder.name}.avi", [from_luma(blank, "gray")] * 80, codec="ffv1", pix_fmt="gray")
    masks = [frame.mask for frame in open_dataset(tmp_path).frames() if frame.mask is not None]
    assert len(masks) == 17
    assert all(set(np.unique(mask)) == {0, 1, 2} for mask in masks)
