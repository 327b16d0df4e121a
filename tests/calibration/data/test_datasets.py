"""What every data set keeps, whatever its layout: the contract of `calibration.data.base`."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.data import LAYOUTS, open_dataset
from calibration.data.base import LabelledFrame
from calibration.data.fingerprint import Fingerprint, fingerprint
from calibration.data.split import check_disjoint, grouped_folds, grouped_holdout
from calibration.errors import DataSetError
from engines.errors import PartumError
from tests.samples.dataset_files import MINIATURES, Miniature, assert_masks_meet_their_frames, drawn_mask, picture

if TYPE_CHECKING:
    from pathlib import Path

    from calibration.data.base import DataSet

PIXEL_SUFFIXES = {".avi", ".mha", ".png"}
GROUPS = st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=40).filter(lambda names: len(set(names)) > 1)


@pytest.fixture(params=MINIATURES.values(), ids=list(MINIATURES))
def miniature(request: pytest.FixtureRequest) -> Miniature:
    assert isinstance(request.param, Miniature)
    return request.param


@pytest.fixture
def folder(miniature: Miniature, tmp_path: Path) -> Path:
    return miniature.write(tmp_path / "set")


@pytest.fixture
def dataset(folder: Path) -> DataSet:
    return open_dataset(folder)


def test_the_layout_is_recognised(miniature: Miniature, dataset: DataSet) -> None:
    assert dataset.layout == miniature.layout
    assert dataset.layout in LAYOUTS
    assert dataset.splits == miniature.splits


def test_it_may_be_named(miniature: Miniature, folder: Path) -> None:
    assert open_dataset(str(folder), layout=miniature.layout).count() == miniature.frames


def test_count_is_the_number_of_frames(miniature: Miniature, dataset: DataSet) -> None:
    assert dataset.count() == len(list(dataset.frames())) == miniature.frames


def test_masks_meet_the_frames_they_were_drawn_for(miniature: Miniature, dataset: DataSet) -> None:
    frames = list(dataset.frames())
    assert sum(frame.mask is not None for frame in frames) == miniature.masks
    if miniature.masks:
        assert_masks_meet_their_frames(frames)


def test_frames_are_as_the_contract_says(dataset: DataSet) -> None:
    frames = list(dataset.frames())
    names = [frame.name for frame in frames]
    assert len(set(names)) == len(names)
    for frame in frames:
        assert frame.name
        assert not set(frame.name) & set('/\\:*?"<>|')
        assert frame.group
        assert frame.image.ndim == 2
        assert frame.image.dtype == np.uint8
        if frame.mask is not None:
            assert frame.mask.shape == frame.image.shape
            assert frame.mask.dtype == np.uint8
            assert set(np.unique(frame.mask)) <= {0, 1, 2}


def test_splits_part_the_frames(dataset: DataSet) -> None:
    assert all(frame.split in (dataset.splits or ("",)) for frame in dataset.frames())
    by_split = [frame.name for split in dataset.splits for frame in dataset.frames(split)]
    if dataset.splits:
        assert by_split == [frame.name for frame in dataset.frames()]
        assert sum(dataset.count(split) for split in dataset.splits) == dataset.count()


def test_no_group_lies_in_two_splits(dataset: DataSet) -> None:
    groups = [{frame.group for frame in dataset.frames(split)} for split in dataset.splits]
    for first, second in itertools.combinations(groups, 2):
        check_disjoint(first, second)


def test_a_split_that_is_not_there_is_an_error(dataset: DataSet) -> None:
    with pytest.raises(DataSetError, match="has no split 'dev'"):
        list(dataset.frames("dev"))
    with pytest.raises(DataSetError, match="has no split 'dev'"):
        dataset.count("dev")


def test_reading_twice_gives_the_same(folder: Path, dataset: DataSet) -> None:
    first = fingerprint(dataset.frames())
    assert fingerprint(dataset.frames()) == first
    assert fingerprint(open_dataset(folder).frames()) == first


def test_nested_folders_of_unpacking_are_looked_through(miniature: Miniature, tmp_path: Path) -> None:
    miniature.write(tmp_path / "DatasetV3" / "DatasetV3")
    (tmp_path / "DatasetV3" / "__MACOSX").mkdir()
    (tmp_path / "DatasetV3" / "README.md").touch()
    assert open_dataset(tmp_path / "DatasetV3").layout == miniature.layout


def test_opening_reads_no_pixels_and_broken_ones_are_named(folder: Path) -> None:
    pixels = [path for path in folder.rglob("*") if path.suffix in PIXEL_SUFFIXES]
    for path in pixels:
        path.write_bytes(b"broken")
    dataset = open_dataset(folder)
    with pytest.raises(DataSetError) as caught:
        list(dataset.frames())
    assert any(path.name in str(caught.value) for path in pixels)
    assert "\n" not in str(caught.value)


def test_a_loop_may_be_left_early(dataset: DataSet) -> None:
    first = next(iter(dataset.frames()))
    assert first.name == next(iter(dataset.frames())).name


def test_one_error_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataSetError) as caught:
        open_dataset(tmp_path)
    message = str(caught.value)
    for words in (str(tmp_path), "videos/", "pos/", "image_mha/", "us_data/", "images/", "DICOM"):
        assert words in message
    assert isinstance(caught.value, PartumError)


def test_what_was_looked_for_is_that_of_the_layout_named(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DataSetError, match="looked for image_mha/"):
        open_dataset(tmp_path, layout="mha_pairs")
    with pytest.raises(DataSetError, match="'mha' is not known; choose one of iugc2024, mha_pairs"):
        open_dataset(tmp_path, layout="mha")
    with pytest.raises(DataSetError, match="no such folder"):
        open_dataset(tmp_path / "nothing")


def test_a_folder_without_frames_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DataSetError, match="holds no frames"):
        open_dataset(tmp_path)


FRAME = LabelledFrame(name="a", group="g", image=picture(1), mask=drawn_mask(1), plane=True, landmarks={"p": (1.0, 2)})


@pytest.mark.parametrize(
    "other",
    [
        replace(FRAME, name="b"),
        replace(FRAME, group="h"),
        replace(FRAME, split="val"),
        replace(FRAME, image=picture(2)),
        replace(FRAME, image=picture(1).reshape(32, 24)),
        replace(FRAME, mask=drawn_mask(2)),
        replace(FRAME, mask=None),
        replace(FRAME, plane=False),
        replace(FRAME, plane=None),
        replace(FRAME, landmarks={"p": (2.0, 1)}),
    ],
)
def test_the_fingerprint_sees_every_change(other: LabelledFrame) -> None:
    assert fingerprint([other]) != fingerprint([FRAME])


def test_the_fingerprint_grows_frame_by_frame() -> None:
    other = replace(FRAME, name="b")
    growing = Fingerprint()
    growing.add(FRAME)
    assert growing.hexdigest() == fingerprint([FRAME])
    growing.add(other)
    assert growing.hexdigest() == fingerprint([FRAME, other]) != fingerprint([other, FRAME])
    assert len(growing.hexdigest()) == 64


@settings(max_examples=60)
@given(groups=GROUPS, folds=st.integers(2, 5), seed=st.integers(0, 9))
def test_folds_share_everything_out_and_tear_no_group(groups: list[str], folds: int, seed: int) -> None:
    if folds > len(set(groups)):
        with pytest.raises(DataSetError, match="as many folds as there are groups"):
            grouped_folds(groups, folds, seed=seed)
        return
    shares = grouped_folds(groups, folds, seed=seed)
    assert sorted(index for share in shares for index in share) == list(range(len(groups)))
    for first, second in itertools.combinations(shares, 2):
        check_disjoint((groups[index] for index in first), (groups[index] for index in second))
    sizes = [len(share) for share in shares]
    assert min(sizes) > 0
    assert max(sizes) - min(sizes) <= max(groups.count(group) for group in set(groups))
    assert shares == grouped_folds(groups, folds, seed=seed)


@settings(max_examples=60)
@given(groups=GROUPS, share=st.floats(0.05, 0.95), seed=st.integers(0, 9))
def test_what_is_held_out_tears_no_group_and_is_near_the_share(groups: list[str], share: float, seed: int) -> None:
    held = grouped_holdout(groups, share, seed=seed)
    left = set(range(len(groups))) - held
    assert held
    assert left
    check_disjoint((groups[index] for index in held), (groups[index] for index in left))
    assert abs(len(held) - share * len(groups)) <= max(groups.count(group) for group in set(groups))
    assert held == grouped_holdout(groups, share, seed=seed)


def test_seeds_draw_other_splits() -> None:
    groups = [str(index // 2) for index in range(40)]
    assert len({grouped_holdout(groups, 0.2, seed=seed) for seed in range(8)}) > 4
    assert len({grouped_folds(groups, 4, seed=seed) for seed in range(8)}) > 4


def test_worked_values_of_the_splits() -> None:
    assert sorted(map(sorted, grouped_folds(list("aaabbc"), 2, seed=0))) == [[0, 1, 2], [3, 4, 5]]
    assert sorted(grouped_holdout(list("aabb"), 0.5, seed=0)) in ([0, 1], [2, 3])


def test_splits_that_cannot_be_made_are_errors() -> None:
    with pytest.raises(DataSetError, match="nothing can be held out"):
        grouped_holdout(["a", "a"], 0.5, seed=0)
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(DataSetError, match="between 0 and 1"):
            grouped_holdout(["a", "b"], share, seed=0)
    with pytest.raises(DataSetError, match="1 folds"):
        grouped_folds(["a", "b"], 1, seed=0)
    with pytest.raises(DataSetError, match=r"alike: 1 \(a\)"):
        check_disjoint(["a", "b"], ["a", "c"])
