"""What a training draws from: which frames are chosen, what is known of each, and how often each is drawn."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from calibration.data.groups import check_no_near_copies
from calibration.data.split import check_disjoint
from calibration.errors import ConfigError, DataSetError
from calibration.learning import frames
from calibration.learning.batch import Batch
from calibration.learning.frames import Pool, draw_probabilities, even_out, fit_mask, load_store
from calibration.learning.settings.training import SourceSettings
from tests.samples.training_data import BARE, DRAWN_TRAIN, DRAWN_VAL, OTHER, SIDE, small_config

if TYPE_CHECKING:
    from pathlib import Path


DRAWN = SourceSettings(path="drawn", plane="standard", labelled=1.0)


EVERY = DRAWN_TRAIN + DRAWN_VAL


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("changed", ["mask", "weight"])
def test_synthetic_masks_written_anew_are_other_data(own_data: Path, changed: str) -> None:
    sources = small_config().train
    before = load_store(sources, own_data, size=SIDE, seed=1).fingerprint
    assert load_store(sources, own_data, size=SIDE, seed=1).fingerprint == before
    if changed == "mask":
        cv2.imwrite(str(own_data / "teacher" / "phantom_1_12.png"), np.full((SIDE, SIDE), 2, np.uint8))
    else:
        table = own_data / "teacher" / "weights.csv"
        table.write_text(table.read_text().replace(",0.5,", ",0.6,"))
    assert load_store(sources, own_data, size=SIDE, seed=1).fingerprint != before


@pytest.mark.parametrize("kind", ["unlabelled", "negative"])
def test_a_mass_for_what_is_not_there_is_refused(data: Path, kind: str) -> None:
    source = replace(DRAWN, **{kind: 0.5})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"drawn: a mass for {kind} frames, but it holds none; set {kind} = 0"):
        load_store([source], data, size=SIDE, seed=1)


def test_phantoms_of_one_name_but_another_seed_are_others(data: Path) -> None:
    source = SourceSettings(path="phantom:", count=2, labelled=1.0)
    one, other, again = (load_store([source], data, size=SIDE, seed=seed) for seed in (1, 2, 1))
    check_disjoint(one.groups, other.groups)
    assert not torch.equal(one.pools[0].batch.images, other.pools[0].batch.images)
    with pytest.raises(DataSetError):
        check_disjoint(one.groups, again.groups)
    assert torch.equal(one.pools[0].batch.images, again.pools[0].batch.images)


def test_the_same_pictures_under_other_names_are_found_in_train_and_validation(data: Path, tmp_path: Path) -> None:
    """Copied to another folder under other names, one of them enlarged: no name or table gives it away."""
    images = tmp_path / "elsewhere" / "images"
    images.mkdir(parents=True)
    for number, path in enumerate(sorted((data / "drawn" / "train" / "images").iterdir())[:2]):
        picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        cv2.imwrite(str(images / f"new_{number}.png"), cv2.resize(picture, None, fx=1 + number, fy=1 + number))
    (tmp_path / "drawn").symlink_to(data / "drawn")
    sources = [DRAWN, SourceSettings(path="elsewhere", plane="other", negative=1.0)]
    train, validation = (load_store([source], tmp_path, size=SIDE, seed=1) for source in sources)
    check_disjoint(train.groups, validation.groups)
    with pytest.raises(DataSetError, match=r"2 frames of .* near-duplicates .*: 2 \(elsewhere/new_0 and drawn/phan"):
        check_no_near_copies(train.seen, validation.seen)


def test_folds_tear_no_near_duplicates(data: Path) -> None:
    source = replace(DRAWN, split="", folds=3)
    for fold in range(3):
        train, validation = (
            load_store([replace(source, fold=fold, take=take)], data, size=SIDE, seed=1)
            for take in ("rest", "held_out")
        )
        check_no_near_copies(train.seen, validation.seen)


def test_even_draws_raise_what_is_rare() -> None:
    """Nine symphyses slant down, one lies flat; half-way even the one is drawn more often, and all chances add up."""
    slanted, flat = (np.zeros((64, 64), np.uint8) for _ in range(2))
    cv2.line(slanted, (10, 10), (40, 40), 1, 9)
    cv2.line(flat, (10, 20), (50, 20), 1, 9)
    masks = np.stack([slanted] * 9 + [flat])
    likely = torch.full((10,), 0.1, dtype=torch.float64)
    shares = [even_out(likely, masks, even)[-1].item() for even in (0.0, 0.5, 1.0)]
    assert shares[0] == pytest.approx(0.1)
    assert shares[0] < shares[1] < shares[2] == pytest.approx(0.1 * 0.1**-0.5 / (0.1 * 0.1**-0.5 + 0.9 * 0.9**-0.5))
    assert even_out(likely, masks, 1.0).sum() == pytest.approx(1)


def test_pools_hold_what_is_known_of_their_frames(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = load_store(small_config().train, data, size=SIDE, seed=1)
    pools = {pool.name: pool.batch for pool in store.pools}
    assert {name: len(batch) for name, batch in pools.items()} == {
        "drawn/labelled": DRAWN_TRAIN,
        "bare/unlabelled": BARE - 1,
        "other/negative": OTHER,
    }
    assert "bare: 1 frames left out: its synthetic mask was not trusted" in caplog.text
    known = {
        name: [batch.planes.unique().tolist(), batch.plane_weights.unique().tolist(), batch.synthetic.unique().tolist()]  # type: ignore[no-untyped-call]
        for name, batch in pools.items()
    }
    assert known == {
        "drawn/labelled": [[1.0], [1.0], [False]],
        "bare/unlabelled": [[1.0], [1.0], [True]],
        "other/negative": [[0.0], [1.0], [False]],
    }
    assert (pools["drawn/labelled"].mask_weights == 1).all()
    assert pools["bare/unlabelled"].mask_weights.tolist() == [1.0, 0.5, 0.75, 1.0, 0.25]
    assert (pools["other/negative"].mask_weights == 0).all()
    for name in ("drawn/labelled", "bare/unlabelled"):
        assert all((pools[name].masks == code).flatten(1).any(dim=1).all() for code in (1, 2))


def test_empty_frames_have_an_empty_mask_and_untrusted_masks_are_not_read(data: Path) -> None:
    empty = SourceSettings(path="other", plane="other", empty=True, negative=1.0)
    untrusted = SourceSettings(path="drawn", plane="other", use_masks=False, negative=1.0)
    store = load_store([empty, untrusted], data, size=SIDE, seed=1)
    assert [pool.batch.mask_weights.max().item() for pool in store.pools] == [1.0, 0.0]
    assert not any(pool.batch.masks.any() for pool in store.pools)


def test_frames_of_which_nobody_says_the_plane_teach_none(data: Path) -> None:
    store = load_store([replace(DRAWN, plane="")], data, size=SIDE, seed=1)
    assert (store.pools[0].batch.plane_weights == 0).all()


@pytest.mark.parametrize(
    ("damage", "message"),
    [("row", "no row for phantom_1_13"), ("table", "cannot be read"), ("size", "but its frame is")],
)
def test_synthetic_masks_that_do_not_belong_are_named(own_data: Path, damage: str, message: str) -> None:
    table = own_data / "teacher" / "weights.csv"
    if damage == "row":
        table.write_text(table.read_text().replace("phantom_1_13,", "phantom_9_99,"))
    elif damage == "table":
        table.unlink()
    else:
        cv2.imwrite(str(own_data / "teacher" / "phantom_1_12.png"), np.zeros((SIDE, SIDE // 2), np.uint8))
    with pytest.raises(DataSetError, match=message):
        load_store(small_config().train, own_data, size=SIDE, seed=1)


def test_frames_are_drawn_by_mass_of_kind_and_alike_within(data: Path) -> None:
    store = load_store(small_config().train, data, size=SIDE, seed=1)
    for place, pool in enumerate(store.pools):  # each frame is marked by its pool and its number
        pool.batch.images[:] = 0
        pool.batch.images[:, 0, 0, 0] = torch.arange(len(pool.batch)) + 50 * place
    generator = torch.Generator().manual_seed(1)
    drawn = Counter(int(mark) for mark in (store.draw(4000, generator).images[:, 0, 0, 0] * 255).round())
    by_pool = [sum(count for mark, count in drawn.items() if mark // 50 == place) / 4000 for place in range(3)]
    assert by_pool == pytest.approx([0.5, 0.25, 0.25], abs=0.03)
    labelled = [drawn[mark] for mark in range(DRAWN_TRAIN)]
    assert min(labelled) > 0.75 * 2000 / DRAWN_TRAIN
    assert max(labelled) < 1.25 * 2000 / DRAWN_TRAIN


def names_in(source: SourceSettings, data: Path) -> list[str]:
    return [frame.name for frame in frames.frames_of(source, data, size=SIDE, seed=0)]


def groups_in(source: SourceSettings, data: Path) -> Counter[str]:
    return Counter(frame.group for frame in frames.frames_of(source, data, size=SIDE, seed=0))


def test_splits_looks_and_exclusions_choose_frames(data: Path) -> None:
    every = names_in(DRAWN, data)
    assert len(every) == EVERY
    assert len(names_in(replace(DRAWN, split="val"), data)) == DRAWN_VAL
    left = names_in(replace(DRAWN, exclude=(every[0], every[3])), data)
    assert left == [name for place, name in enumerate(every) if place not in (0, 3)]
    looks = [set(names_in(replace(DRAWN, look=look), data)) for look in "AB"]
    assert looks[0] | looks[1] == set(every)
    assert [len(names) for names in looks] == [EVERY // 2, EVERY // 2]


def test_folds_hold_out_whole_groups_and_each_once(data: Path) -> None:
    held_out = []
    for fold in range(3):
        away = replace(DRAWN, folds=3, fold=fold, take="held_out")
        rest = replace(away, take="rest")
        assert not set(groups_in(away, data)) & set(groups_in(rest, data))
        assert set(names_in(away, data)) | set(names_in(rest, data)) == set(names_in(DRAWN, data))
        held_out += names_in(away, data)
    assert sorted(held_out) == sorted(names_in(DRAWN, data))


def test_a_share_keeps_whole_groups_and_the_rest_may_stay_without_masks(data: Path) -> None:
    half = replace(DRAWN, share=0.5)
    kept = groups_in(half, data)
    assert sum(kept.values()) == EVERY // 2
    assert set(kept.values()) == {2}
    assert any(groups_in(replace(half, share_seed=seed), data) != kept for seed in range(1, 5))
    rest = list(frames.frames_of(replace(half, rest_unlabelled=True), data, size=SIDE, seed=0))
    assert [frame.name for frame in rest] == names_in(DRAWN, data)
    assert {frame.group for frame in rest if frame.mask is not None} == set(kept)


def test_at_most_so_many_of_each_group_are_taken_evenly() -> None:
    every = [replace(frame, group="ab"[place % 2]) for place, frame in enumerate(frames.phantoms(5, 16, 0))]
    kept = frames.thin_out(every, 3)
    members = {group: [frame.name for frame in every if frame.group == group] for group in "ab"}
    assert [frame.name for frame in kept] == [members[group][place] for group in "ab" for place in (0, 2, 4)]
    assert len(frames.thin_out(every, 99)) == len(every)


def test_a_mask_fits_its_letterboxed_picture() -> None:
    mask = np.zeros((60, 120), np.uint8)
    mask[10:50, 20:60] = 2
    mask[10:50, 80:100] = 1
    small = fit_mask(mask, 30)
    assert small.shape == (30, 30)
    assert set(np.unique(small)) == {0, 1, 2}
    assert not small[:7].any()  # letterboxed
    assert [np.count_nonzero(small == code) for code in (1, 2)] == pytest.approx([50, 100], rel=0.15)
    ringless = np.where(mask == 2, mask, 0).astype(np.uint8)
    assert set(np.unique(fit_mask(ringless, 37))) == {0, 2}


def empty_frames(count: int) -> Batch:
    nothing = torch.zeros(count)
    return Batch(
        images=nothing[:, None, None, None],
        masks=nothing[:, None, None],
        planes=nothing,
        mask_weights=nothing,
        plane_weights=nothing,
        synthetic=nothing > 0,
        normal=nothing,
    )


def test_chances_by_hand() -> None:
    groups = ["a", "a", "a", "a", "b"]
    assert draw_probabilities(groups, 0.0).tolist() == pytest.approx([0.2] * 5)
    assert draw_probabilities(groups, 0.5).tolist() == pytest.approx([1 / 6] * 4 + [1 / 3])
    assert draw_probabilities(groups, 1.0).tolist() == pytest.approx([1 / 8] * 4 + [1 / 2])


@given(chance=st.lists(st.floats(0.01, 1), min_size=1, max_size=20), place=st.floats(0, 1, exclude_max=True))
def test_a_place_falls_on_the_frame_whose_chance_it_lies_in(chance: list[float], place: float) -> None:
    shares = torch.tensor(chance, dtype=torch.float64)
    reach = (shares / shares.sum()).cumsum(0)
    count = len(chance)
    at = Pool("any", 1.0, empty_frames(count), reach).at(place)
    assert 0 <= at < count
    assert at == 0 or reach[at - 1] <= place
    assert at == count - 1 or place < reach[at]
