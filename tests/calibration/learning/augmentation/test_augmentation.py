"""Augmentation: image and mask stay one picture, labels stay true, and every effect does what its name says."""

from __future__ import annotations

from dataclasses import replace
from typing import get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.learning.augmentation import AugmentationSettings, Effect, augment
from calibration.learning.augmentation.appearance import dilate
from calibration.learning.augmentation.negatives import PAINT_REACH, make_negatives
from calibration.learning.augmentation.tissue import fill_with_tissue, join
from calibration.learning.batch import Batch
from calibration.learning.frames import as_float, concatenate, phantoms
from calibration.learning.settings.training import SHIPPED, load_config
from tests.samples.augmentation_frames import SOME_OF_EACH, chance, codes, frames, only, same, scene

PHANTOMS = list(phantoms(4, 64, seed=1))


pytestmark = pytest.mark.usefixtures("one_thread")


EFFECTS = [name for name, kind in get_type_hints(AugmentationSettings).items() if kind is Effect]


def test_every_effect_is_tried_here() -> None:
    assert set(SOME_OF_EACH) == set(EFFECTS)


def test_without_effects_nothing_changes() -> None:
    before = frames(3)
    after = augment(before, only(), chance())
    assert torch.allclose(after.images, before.images, rtol=0, atol=1e-6)
    assert same(replace(after, images=before.images), before)


@pytest.mark.slow
@pytest.mark.parametrize("name", EFFECTS)
def test_each_effect_acts_by_its_seed_and_stays_in_range(name: str) -> None:
    mixed = concatenate([frames(2), frames(2, scene(ps=False, fh=False), plane=0.0)])
    chosen = only(**{name: SOME_OF_EACH[name]})
    after = augment(mixed, chosen, chance(3))
    assert not torch.allclose(after.images, mixed.images, atol=1e-3)
    assert same(after, augment(mixed, chosen, chance(3)))
    if name not in ("mirror", "upside_down"):  # at probability 1 there is nothing to draw
        assert not torch.equal(after.images, augment(mixed, chosen, chance(4)).images)
    assert after.images.dtype == torch.float32
    assert torch.isfinite(after.images).all()
    assert 0 <= after.images.min() <= after.images.max() <= 1
    assert after.masks.dtype == torch.int64
    assert codes(after.masks) <= {0, 1, 2}


@pytest.mark.parametrize("name", EFFECTS)
def test_an_effect_of_no_probability_leaves_frames_alone(name: str) -> None:
    before = frames(2)
    after = augment(before, only(**{name: replace(SOME_OF_EACH[name], p=0.0)}), chance(5))
    assert torch.allclose(after.images, before.images, rtol=0, atol=1e-6)
    assert torch.equal(after.masks, before.masks)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(entry.name for entry in SHIPPED.iterdir() if entry.name.endswith(".toml")))
@settings(max_examples=8)
@given(seed=st.integers(0, 2**31))
def test_shipped_augmentation_keeps_every_promise(name: str, seed: int) -> None:
    size = 64
    batch = as_float(
        Batch(
            images=torch.stack([torch.from_numpy(frame.image)[None] for frame in PHANTOMS]),
            masks=torch.stack(
                [torch.from_numpy(np.zeros((size, size), np.uint8) if f.mask is None else f.mask) for f in PHANTOMS]
            ),
            planes=torch.tensor([float(bool(frame.plane)) for frame in PHANTOMS]),
            mask_weights=torch.tensor([float(frame.mask is not None) for frame in PHANTOMS]),
            plane_weights=torch.ones(len(PHANTOMS)),
            synthetic=torch.zeros(len(PHANTOMS), dtype=torch.bool),
            normal=torch.tensor([float(not frame.mirrored) for frame in PHANTOMS]),
        )
    )
    after = augment(batch, load_config(name).augmentation, chance(seed))
    assert after.images.shape == batch.images.shape
    assert after.images.dtype == torch.float32
    assert torch.isfinite(after.images).all()
    assert 0 <= after.images.min() <= after.images.max() <= 1
    assert codes(after.masks) <= {0, 1, 2}
    assert set(after.planes.tolist()) <= {0.0, 1.0}
    assert (after.planes <= batch.planes).all()  # a negative never becomes a standard plane
    assert (after.mask_weights <= batch.mask_weights).all()
    assert (after.plane_weights <= batch.plane_weights).all()


def test_a_structure_cut_away_is_gone_from_image_and_mask() -> None:
    before = frames(60)
    after = make_negatives(before, only(cut_away=Effect(1.0)), chance(1))
    assert (after.planes == 0).all()
    assert (after.plane_weights == 1).all()
    assert {tuple(mask.unique().tolist()) for mask in after.masks} == {(0, 2), (0, 1), (0,)}
    gone = (before.masks > 0) & (after.masks == 0)
    assert torch.equal(after.masks[~gone], before.masks[~gone])
    grey = after.images[:, 0][gone]
    assert abs(grey.mean().item() - 0.25) < 0.12  # its surroundings' grey; structures were 0.75
    far = dilate(gone.float()[:, None], 4 + PAINT_REACH) == 0
    assert torch.equal(after.images[far], before.images[far])


@pytest.mark.slow
def test_what_is_filled_with_tissue_looks_like_its_surroundings_and_nothing_else_changes() -> None:
    before = frames(40)
    settings = replace(only(cut_away=Effect(1.0)), tissue_fill=1.0)
    after = make_negatives(before, settings, chance(1))
    assert torch.equal(after.images, make_negatives(before, settings, chance(1)).images)
    assert not torch.equal(after.images, make_negatives(before, only(cut_away=Effect(1.0)), chance(1)).images)
    gone = (before.masks > 0) & (after.masks == 0)
    assert abs(after.images[:, 0][gone].mean().item() - 0.25) < 0.12  # its surroundings' grey; structures were 0.75
    far = dilate(gone.float()[:, None], 4 + PAINT_REACH) == 0
    assert torch.equal(after.images[far], before.images[far])
    assert 0 <= after.images.min() <= after.images.max() <= 1


def test_joined_tissue_meets_its_surroundings_without_a_step() -> None:
    across = torch.linspace(-1, 1, 64)
    images = 0.5 + 0.1 * torch.sin(20 * across)[None, None, None] * torch.cos(14 * across)[None, None, :, None]
    region = ((across[:, None] ** 2 + across**2) < 0.3).float()[None, None]
    ramp = 0.2 * across + 0.1 * across[:, None]  # solves Laplace's equation, so all of it is taken away
    joined = join(images, images + ramp + 0.1, region)
    assert torch.equal(joined[region == 0], images[region == 0])
    assert (joined - images).abs().max() < 0.02
    shifted = join(images, torch.full_like(images, 0.9), region)
    edge = (dilate(region, 1) - region)[0, 0] > 0
    inner = (dilate(1 - region, 1) * region)[0, 0] > 0
    assert abs(shifted[0, 0][inner].mean() - images[0, 0][edge].mean()) < 0.02


def test_without_a_region_there_is_nothing_to_fill() -> None:
    images = frames(3).images
    assert torch.equal(fill_with_tissue(images, torch.zeros_like(images), torch.zeros_like(images), chance()), images)


def test_a_decoy_keeps_labels_and_touches_no_structure() -> None:
    before = frames(60)
    after = make_negatives(before, only(decoy=Effect(1.0)), chance(2))
    assert same(replace(after, images=before.images), before)
    painted = (after.images - before.images).abs() > 0.02
    assert painted.flatten(1).any(dim=1).float().mean() > 0.5
    structures = before.masks[:, None] > 0
    assert torch.equal(after.images[structures], before.images[structures])


def test_a_frame_on_its_head_is_no_plane_and_teaches_no_mask() -> None:
    before = frames(2)
    after = make_negatives(before, only(upside_down=Effect(1.0)), chance())
    assert torch.equal(after.images, before.images.flip(2))
    assert (after.planes == 0).all()
    assert (after.mask_weights == 0).all()
    assert (after.plane_weights == 1).all()


def test_signal_is_taken_only_from_frames_known_to_be_empty() -> None:
    empty = frames(40, scene(ps=False, fh=False), plane=0.0)
    others = [
        frames(10),
        frames(10, plane=0.0),
        frames(10, scene(ps=False), plane=0.0),
        replace(frames(10, scene(ps=False, fh=False), plane=0.0), mask_weights=torch.zeros(10)),
        frames(10, scene(ps=False, fh=False)),
    ]
    before = concatenate([*others, empty])
    after = make_negatives(before, only(no_signal=Effect(1.0)), chance(1))
    assert same(replace(after, images=before.images), before)
    assert torch.equal(after.images[:50], before.images[:50])
    blank = after.images[50:]
    assert not torch.isclose(blank, before.images[50:]).flatten(1).all(dim=1).any()
    flat = blank.std(dim=(1, 2, 3)) == 0
    bars = (blank.std(dim=2).amax(dim=(1, 2)) == 0) & ~flat
    assert flat.any()
    assert bars.any()
    assert (~flat & ~bars).any()  # noise
    assert (blank[flat].amax(dim=(1, 2, 3)) == 0).any()  # black


@pytest.mark.slow
def test_a_frame_becomes_at_most_one_kind_of_negative() -> None:
    before = frames(300)
    third = Effect(0.3)
    after = make_negatives(before, only(cut_away=third, decoy=third, upside_down=third), chance(6))
    cut = (after.masks != before.masks).flatten(1).any(dim=1)
    over = (after.images == before.images.flip(2)).flatten(1).all(dim=1)
    decoy = ~cut & ~over & (after.images != before.images).flatten(1).any(dim=1)
    assert not (cut & over).any()
    assert torch.equal(after.planes == 0, cut | over)
    for kind in (cut, over):
        assert kind.float().mean().item() == pytest.approx(0.3, abs=0.08)
    assert 0.1 < decoy.float().mean().item() < 0.38  # some lie where there is no room beside the structures


def test_negatives_are_made_of_standard_planes_alone() -> None:
    before = frames(20, plane=0.0)
    after = make_negatives(before, only(cut_away=Effect(0.4), decoy=Effect(0.3), upside_down=Effect(0.3)), chance())
    assert same(after, before)


@given(p=st.floats(0, 1), low=st.floats(-5, 5), width=st.floats(0, 5), seed=st.integers(0, 2**31))
def test_sizes_are_drawn_from_low_to_high(p: float, low: float, width: float, seed: int) -> None:
    drawn = Effect(p, low, low + width).draw(200, chance(seed), neutral=99.0)
    hit = drawn != 99.0
    assert hit.float().mean().item() == pytest.approx(p, abs=0.2)
    assert (drawn[hit] >= low - 1e-4).all()
    assert (drawn[hit] <= low + width + 1e-4).all()
