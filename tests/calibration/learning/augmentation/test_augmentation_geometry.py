"""Geometric augmentation: image and mask move as one, to where equations say, and labels stay true."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.learning.augmentation import Effect, augment
from calibration.learning.augmentation.appearance import dilate
from calibration.learning.augmentation.geometry import move
from tests.samples.augmentation_frames import (
    CENTRE,
    FH,
    MOTIONS,
    SIDE,
    SOME_OF_EACH,
    always,
    area,
    chance,
    codes,
    frames,
    only,
    same,
    scene,
)

if TYPE_CHECKING:
    from torch import Tensor

    from calibration.learning.batch import Batch


pytestmark = pytest.mark.usefixtures("one_thread")


def centroid(masks: Tensor, code: int) -> Tensor:
    """(B, 2) x and y from the picture's centre, px."""
    inside = (masks == code).float()
    axis = torch.arange(SIDE).float() - CENTRE
    x = (inside.sum(dim=1) * axis).sum(dim=1)
    y = (inside.sum(dim=2) * axis).sum(dim=1)
    return torch.stack((x, y), dim=1) / inside.sum(dim=(1, 2))[:, None]


def drawn_ellipse(matrix: np.ndarray, shift: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """FH after `new = matrix @ old + shift`, about the picture's centre, from its equation."""
    (cx, cy), (width, height), angle = FH
    y, x = np.mgrid[:SIDE, :SIDE] - CENTRE
    old = np.linalg.inv(matrix) @ np.stack(((x - shift[0]).ravel(), (y - shift[1]).ravel()))
    u, v = old[0] - (cx - CENTRE), old[1] - (cy - CENTRE)
    turn = np.deg2rad(angle)
    along, across = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
    inside = (2 * along / width) ** 2 + (2 * across / height) ** 2 <= 1
    return torch.from_numpy(inside.reshape(SIDE, SIDE))


def dice(one: Tensor, other: Tensor) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31))
def test_no_motion_draws_a_ring_of_ps_around_a_head(seed: int) -> None:
    head_alone = frames(2, scene(ps=False))
    after = move(head_alone, only(**{name: SOME_OF_EACH[name] for name in MOTIONS}), chance(seed))
    assert codes(after.masks) <= {0, 2}


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), names=st.sets(st.sampled_from(MOTIONS)))
def test_image_and_mask_move_together(seed: int, names: set[str]) -> None:
    after = move(frames(4), only(**{name: SOME_OF_EACH[name] for name in names}), chance(seed))
    drawn = (after.masks > 0).float()[:, None]
    off_edge = (dilate(drawn, 2) == 0) | (dilate(1 - drawn, 2) == 0)
    agrees = (after.images > 0.5) == (drawn > 0)
    assert agrees[off_edge].float().mean() > 0.98


def test_a_mirrored_frame_is_flipped_and_nothing_else() -> None:
    before = frames(2)
    after = augment(before, only(mirror=Effect(1.0)), chance())
    assert torch.allclose(after.images, before.images.flip(3), rtol=0, atol=1e-6)
    assert torch.equal(after.masks, before.masks.flip(2))
    assert torch.equal(after.normal, 1 - before.normal)
    assert same(replace(after, images=before.images, masks=before.masks, normal=before.normal), before)


@pytest.mark.slow
def test_mirroring_keeps_to_its_probability() -> None:
    before = frames(400)
    after = move(before, only(mirror=Effect(0.25)), chance(1))
    flipped = (after.masks == before.masks.flip(2)).flatten(1).all(dim=1)
    assert flipped.float().mean().item() == pytest.approx(0.25, abs=0.07)


@pytest.mark.parametrize(
    ("name", "size", "matrix"),
    [
        ("rotate", 20.0, [[np.cos(np.pi / 9), np.sin(np.pi / 9)], [-np.sin(np.pi / 9), np.cos(np.pi / 9)]]),
        ("scale", 1.25, [[1.25, 0.0], [0.0, 1.25]]),
        ("scale", 0.8, [[0.8, 0.0], [0.0, 0.8]]),
        ("stretch", 1.44, [[1.2, 0.0], [0.0, 1 / 1.2]]),
        ("shear", 0.1, [[1.0, -0.1], [0.0, 1.0]]),
    ],
)
def test_an_ellipse_goes_where_its_equation_says(name: str, size: float, matrix: list[list[float]]) -> None:
    after = move(frames(1, scene(ps=False)), only(**{name: always(size)}), chance())
    expected = drawn_ellipse(np.array(matrix))
    assert dice(after.masks[0] == 2, expected) > 0.98
    assert dice(after.masks[0] == 2, drawn_ellipse(np.eye(2))) < 0.97  # it has moved at all


def test_a_shift_moves_by_its_share_of_the_side() -> None:
    before = frames(1)
    after = move(before, only(shift=always(0.125)), chance())
    assert torch.equal(after.masks[:, :-16, :-16], before.masks[:, 16:, 16:])
    assert not after.masks[:, -16:].any()


def test_all_affine_effects_together_are_one_affine_map() -> None:
    effects = {"rotate": always(12.0), "scale": always(0.9), "stretch": always(1.2), "shear": always(0.1)}
    after = move(frames(1), only(**effects), chance())
    turned, shape = np.deg2rad(12.0), np.diag([1 / (0.9 * np.sqrt(1.2)), np.sqrt(1.2) / 0.9])
    rotation = np.array([[np.cos(turned), -np.sin(turned)], [np.sin(turned), np.cos(turned)]])
    forward = np.linalg.inv(rotation @ np.array([[1.0, 0.1], [0.0, 1.0]]) @ shape)
    assert dice(after.masks[0] == 2, drawn_ellipse(forward)) > 0.98
    assert area(after.masks, 2).item() == pytest.approx(area(frames(1).masks, 2).item() * 0.81, rel=0.02)


def test_pose_moves_ps_and_fh_apart_as_rigid_bodies() -> None:
    before = frames(64)
    after = move(before, only(pose=always(1.0)), chance(3))
    ps_by = centroid(after.masks, 1) - centroid(before.masks, 1)
    fh_by = centroid(after.masks, 2) - centroid(before.masks, 2)
    # Up to 6 % and 10 % of the side: uniform, so the mean size of x or y is half of that.
    assert ps_by.abs().max() <= 0.075 * SIDE
    assert fh_by.abs().max() <= 0.115 * SIDE
    assert ps_by.abs().mean().item() == pytest.approx(0.03 * SIDE, rel=0.3)
    assert fh_by.abs().mean().item() == pytest.approx(0.05 * SIDE, rel=0.3)
    assert (ps_by - fh_by).norm(dim=1).median() > 0.05 * SIDE
    ps_area = area(after.masks, 1) / area(before.masks, 1)
    assert ps_area.median().item() == pytest.approx(1.0, abs=0.03)
    # Where they are pushed against each other, tissue must give.
    assert (ps_area - 1).abs().quantile(0.6).item() < 0.03
    fh_area = area(after.masks, 2) / area(before.masks, 2)  # grows or shrinks by up to 15 % along each axis
    assert fh_area.median().item() == pytest.approx(1.0, abs=0.06)
    assert fh_area.min() > 1 / 1.15**2 * 0.97
    assert fh_area.max() < 1 / 0.85**2 * 1.03
    assert (after.planes == 1).all()


def test_pose_leaves_what_is_far_from_both_where_it_is() -> None:
    before = frames(16)
    after = move(before, only(pose=always(1.0)), chance(4))
    far = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    far[:, -4:] = True
    assert (after.images - before.images).abs()[:, 0, far].mean() < 0.08  # noise of +-0.1 against itself


def shifted_to(shift: float, **changes: float) -> Batch:
    """A frame moved up and to the left, so that the PS leaves first."""
    return move(frames(1), replace(only(shift=always(shift)), **changes), chance())  # type: ignore[arg-type]


def test_a_plane_that_lost_a_structure_is_none_and_a_doubtful_one_says_nothing() -> None:
    kept, doubtful, lost = shifted_to(0.1), shifted_to(0.27), shifted_to(0.45)
    shares = [area(batch.masks, 1).item() / area(frames(1).masks, 1).item() for batch in (kept, doubtful, lost)]
    assert shares[0] > 0.95
    assert 0.05 < shares[1] < 0.7
    assert shares[2] < 0.05
    assert [batch.planes.item() for batch in (kept, doubtful, lost)] == [1.0, 1.0, 0.0]
    assert [batch.plane_weights.item() for batch in (kept, doubtful, lost)] == [1.0, 0.0, 1.0]
    assert shifted_to(0.27, kept_ps=0.01).plane_weights.item() == 1.0
    assert [getattr(lost, name).item() for name in ("mask_weights", "synthetic")] == [1.0, False]


def test_a_smaller_picture_of_a_plane_is_still_one() -> None:
    after = move(frames(1), only(scale=always(0.5)), chance())
    assert (after.planes.item(), after.plane_weights.item()) == (1.0, 1.0)


def test_frames_without_a_mask_keep_their_label_however_far_they_move() -> None:
    for plane in (0.0, 1.0):
        bare = frames(1, scene(ps=False, fh=False), plane=plane)
        after = move(bare, only(shift=always(0.45)), chance())
        assert (after.planes.item(), after.plane_weights.item()) == (plane, 1.0)


def test_a_narrower_sector_is_black_outside_for_image_and_mask() -> None:
    widths = []
    for share in (0.95, 0.7, 0.4):
        after = move(frames(1), only(crop=always(share)), chance())
        black = after.images[0, 0] == 0
        assert black.any()
        assert not after.masks[0][black].any()
        assert torch.equal(after.images[0, 0][~black], frames(1).images[0, 0][~black])
        widths.append((~black).sum(dim=1).float())
    assert (widths[0] >= widths[1]).all()
    assert (widths[1] >= widths[2]).all()
    row = int(0.6 * SIDE)  # the width that a share is meant of
    assert widths[2][row].item() == pytest.approx(0.4 * SIDE, abs=3)
    assert (widths[1].diff() >= 0).all()  # a fan opens downwards
