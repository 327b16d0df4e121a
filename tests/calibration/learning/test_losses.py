"""Losses against values from their formulas, written out in numpy, and against known gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from calibration.learning.batch import Batch
from calibration.learning.losses import (
    SEGMENTATION_LOSSES,
    DynamicWeighting,
    FixedWeighting,
    UncertaintyWeighting,
    cross_entropy_dice,
    dice_focal,
    dice_scores,
    make_weighting,
    orientation_loss,
    plane_loss,
    segmentation_loss,
    shape_loss,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from calibration.learning.losses import SegmentationLoss

BOTH = pytest.mark.parametrize("loss", SEGMENTATION_LOSSES.values(), ids=SEGMENTATION_LOSSES)


pytestmark = pytest.mark.usefixtures("one_thread")


def random_frames(seed: int, count: int = 3, side: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(count, 3, side, side, generator=generator, dtype=torch.float64)
    return logits, torch.randint(3, (count, side, side), generator=generator)


def a_batch(masks: Tensor, **changes: Tensor) -> Batch:
    ones = torch.ones(len(masks))
    given = {
        "images": torch.zeros(len(masks), 1, *masks.shape[1:]),
        "masks": masks,
        "planes": ones,
        "mask_weights": ones,
        "plane_weights": ones,
        "synthetic": torch.zeros(len(masks), dtype=torch.bool),
        "normal": ones,
    }
    return Batch(**(given | changes))


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(logits)
    shares: NDArray[np.float64] = raised / raised.sum(axis=0)
    return shares


def dice_focal_by_formula(logits: NDArray[np.float64], mask: NDArray[np.int64]) -> float:
    """One frame: mean over the classes of 1 - Dice on the softmax + mean of (1 - p_t)^2 * -log p_t on the sigmoid."""
    probability, sigmoid = softmax(logits), 1 / (1 + np.exp(-logits))
    dice, focal = [], []
    for code in range(3):
        truth = (mask == code).astype(float)
        overlap = 2 * (probability[code] * truth).sum() + 1e-5
        dice.append(1 - overlap / (probability[code].sum() + truth.sum() + 1e-5))
        right = np.where(truth == 1, sigmoid[code], 1 - sigmoid[code])
        focal.append(((1 - right) ** 2 * -np.log(right)).mean())
    return float(np.mean(dice) + np.mean(focal))


def cross_entropy_dice_by_formula(logits: NDArray[np.float64], masks: NDArray[np.int64]) -> float:
    """All frames: mean of -log p of the true class + mean over PS and FH of 1 - Dice over all pixels together."""
    probability = np.stack([softmax(frame) for frame in logits])
    entropy = -np.log(np.take_along_axis(probability, masks[:, None], axis=1)).mean()
    dice = []
    for code in (1, 2):
        chosen, truth = probability[:, code], masks == code
        dice.append(1 - (2 * (chosen * truth).sum() + 1) / (chosen.sum() + truth.sum() + 1))
    return float(entropy + np.mean(dice))


@given(seed=st.integers(0, 2**31))
def test_dice_focal_is_its_formula(seed: int) -> None:
    logits, masks = random_frames(seed)
    each = [dice_focal_by_formula(frame.numpy(), mask.numpy()) for frame, mask in zip(logits, masks, strict=True)]
    weights = torch.tensor([1.0, 0.25, 3.0], dtype=torch.float64)
    expected = np.average(each, weights=weights.numpy())
    assert dice_focal(logits, masks, weights).item() == pytest.approx(expected, rel=1e-9)


@given(seed=st.integers(0, 2**31))
def test_cross_entropy_dice_is_its_formula(seed: int) -> None:
    logits, masks = random_frames(seed)
    expected = cross_entropy_dice_by_formula(logits.numpy(), masks.numpy())
    assert cross_entropy_dice(logits, masks, torch.ones(3, dtype=torch.float64)).item() == pytest.approx(expected)


def test_losses_by_hand() -> None:
    masks = torch.tensor([[[0, 1], [2, 2]]])
    one, level = torch.ones(1), torch.zeros(1, 3, 2, 2)
    # Level logits: cross-entropy ln 3; Dice of PS (2/3 + 1) / (4/3 + 1 + 1), of FH (4/3 + 1) / (4/3 + 2 + 1).
    expected = np.log(3) + 1 - ((5 / 3) / (10 / 3) + (7 / 3) / (13 / 3)) / 2
    assert cross_entropy_dice(level, masks, one).item() == pytest.approx(expected, abs=1e-6)
    # Sigmoid 1/2 everywhere: focal ln 2 / 4. Dice of background and PS (2/3) / (7/3), of FH (4/3) / (10/3).
    expected = np.log(2) / 4 + 1 - (2 / 7 + 2 / 7 + 4 / 10) / 3
    assert dice_focal(level, masks, one).item() == pytest.approx(expected, abs=1e-5)


@BOTH
def test_a_sure_and_right_answer_costs_nothing_and_a_wrong_one_much(loss: SegmentationLoss) -> None:
    masks = torch.tensor([[[0, 1], [2, 2]]])
    right = (functional.one_hot(masks, 3).permute(0, 3, 1, 2).float() - 0.5) * 80
    assert loss(right, masks, torch.ones(1)).item() == pytest.approx(0.0, abs=1e-5)
    assert loss(-right, masks, torch.ones(1)).item() > 10


@BOTH
def test_without_any_weight_the_loss_is_nothing_and_its_gradient_finite(loss: SegmentationLoss) -> None:
    logits, masks = random_frames(1)
    logits.requires_grad_()
    value = loss(logits, masks, torch.zeros(3))
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == 0.0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@BOTH
def test_a_frame_without_weight_teaches_nothing(loss: SegmentationLoss) -> None:
    logits, masks = random_frames(2)
    alone = loss(logits[:1], masks[:1], torch.ones(1))
    assert loss(logits, masks, torch.tensor([1.0, 0.0, 0.0])).item() == pytest.approx(alone.item())
    heavier = loss(logits, masks, torch.tensor([1.0, 0.1, 0.1]))
    assert heavier.item() != pytest.approx(loss(logits, masks, torch.ones(3)).item(), rel=1e-4)


@BOTH
@pytest.mark.parametrize("code", [0, 2])
def test_frames_without_a_structure_have_finite_gradients(loss: SegmentationLoss, code: int) -> None:
    logits = (100 * random_frames(3)[0]).requires_grad_()
    value = loss(logits, torch.full((3, 6, 6), code), torch.ones(3))
    value.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(value)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_synthetic_masks_are_a_loss_of_their_own_at_nine_tenths() -> None:
    logits, masks = random_frames(4)
    synthetic = torch.tensor([False, True, True])
    batch = a_batch(masks, synthetic=synthetic, mask_weights=torch.tensor([1.0, 0.5, 1.0]))
    found = segmentation_loss(logits, batch, dice_focal, synthetic_weight=0.9, segment_negatives=True)
    logits = logits.float()
    by_people = dice_focal(logits[:1], masks[:1], torch.ones(1))
    by_teacher = dice_focal(logits[1:], masks[1:], torch.tensor([0.5, 1.0]))
    assert found.item() == pytest.approx((by_people + 0.9 * by_teacher).item(), rel=1e-6)


def test_negatives_are_segmented_only_where_that_is_wanted() -> None:
    logits, masks = random_frames(5)
    batch = a_batch(masks, planes=torch.tensor([1.0, 0.0, 0.0]))

    def loss_of(batch: Batch, *, segment_negatives: bool) -> float:
        return segmentation_loss(
            logits, batch, dice_focal, synthetic_weight=0.9, segment_negatives=segment_negatives
        ).item()

    alone = dice_focal(logits[:1].float(), masks[:1], torch.ones(1)).item()
    every = dice_focal(logits.float(), masks, torch.ones(3)).item()
    assert loss_of(batch, segment_negatives=False) == pytest.approx(alone)
    assert loss_of(batch, segment_negatives=True) == pytest.approx(every)
    assert loss_of(a_batch(masks, planes=torch.zeros(3)), segment_negatives=False) == 0.0


def test_half_sized_logits_are_compared_at_the_masks_size() -> None:
    masks = torch.zeros(1, 8, 8, dtype=torch.long)
    masks[:, 4:] = 2
    small = functional.one_hot(masks[:, ::2, ::2], 3).permute(0, 3, 1, 2).float() * 20
    large = functional.interpolate(small, (8, 8), mode="bilinear", align_corners=False)
    found = segmentation_loss(small, a_batch(masks), dice_focal, synthetic_weight=0.9, segment_negatives=True)
    assert found.item() == pytest.approx(dice_focal(large, masks, torch.ones(1)).item())


def test_plane_loss_counts_certain_labels_alone() -> None:
    masks = torch.zeros(3, 2, 2, dtype=torch.long)
    batch = a_batch(masks, planes=torch.tensor([1.0, 0.0, 1.0]), plane_weights=torch.tensor([1.0, 1.0, 0.0]))
    expected = (np.log(1 + np.exp(-2.0)) + np.log(1 + np.exp(0.5))) / 2
    logits = torch.tensor([2.0, 0.5, -9.0], requires_grad=True)
    assert plane_loss(logits, batch).item() == pytest.approx(expected)
    nothing = plane_loss(logits, a_batch(masks, plane_weights=torch.zeros(3)))
    nothing.backward()  # type: ignore[no-untyped-call]
    assert nothing.item() == 0.0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros(3))


def gradients(
    weighting: torch.nn.Module, segmentation: float, plane: float
) -> tuple[float, tuple[float, float], Tensor]:
    losses = torch.tensor([segmentation, plane], requires_grad=True)
    loss, weights = weighting(losses[0], losses[1])
    torch.autograd.backward(loss)
    assert losses.grad is not None
    return loss.item(), (losses.grad[0].item(), losses.grad[1].item()), weights


def test_dynamic_weighting_gives_the_larger_loss_its_share() -> None:
    loss, slopes, weights = gradients(DynamicWeighting(), 3.0, 1.0)
    assert loss == pytest.approx(2.5)
    assert weights.tolist() == pytest.approx([0.75, 0.25])
    assert slopes == pytest.approx((0.75, 0.25))  # detached: the weights themselves are not learned through
    assert not weights.requires_grad


@given(segmentation=st.floats(1e-6, 1e3), plane=st.floats(0, 1e3))
def test_dynamic_weights_are_shares_whatever_the_losses(segmentation: float, plane: float) -> None:
    loss, slopes, weights = gradients(DynamicWeighting(), segmentation, plane)
    assert weights.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert slopes == pytest.approx(tuple(weights.tolist()))
    assert loss <= max(segmentation, plane) * (1 + 1e-5)


def test_dynamic_weighting_of_nothing_is_nothing() -> None:
    loss, slopes, _ = gradients(DynamicWeighting(), 0.0, 0.0)
    assert (loss, slopes) == (0.0, (0.0, 0.0))


def test_fixed_weighting() -> None:
    loss, slopes, weights = gradients(FixedWeighting(0.3), 3.0, 1.0)
    assert loss == pytest.approx(3.3)
    assert slopes == pytest.approx((1.0, 0.3))
    assert weights.tolist() == pytest.approx([1.0, 0.3])


def test_uncertainty_weighting_learns_its_weights() -> None:
    weighting = UncertaintyWeighting()
    loss, slopes, weights = gradients(weighting, 3.0, 1.0)
    assert loss == pytest.approx(4.0)
    assert slopes == pytest.approx((1.0, 1.0))
    assert weights.tolist() == [1.0, 1.0]
    assert weighting.log_variance.grad is not None
    # d/ds (exp(-s) L + s / 2) at s = 0 is 1/2 - L.
    assert weighting.log_variance.grad.tolist() == pytest.approx([-2.5, -0.5])
    with torch.no_grad():
        weighting.log_variance.copy_(torch.tensor([6.0, 2.0]).log())  # where the gradient vanishes: variance 2 L
    weighting.zero_grad()
    gradients(weighting, 3.0, 1.0)
    assert weighting.log_variance.grad.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_weightings_by_name() -> None:
    assert isinstance(make_weighting("dynamic", 0.5), DynamicWeighting)
    assert isinstance(make_weighting("uncertainty", 0.5), UncertaintyWeighting)
    fixed = make_weighting("fixed", 0.7)
    assert isinstance(fixed, FixedWeighting)
    assert fixed.plane_weight == 0.7


def test_dice_scores_by_hand() -> None:
    masks = torch.tensor([[[0, 1], [2, 2]], [[0, 0], [0, 0]]])
    labels = torch.tensor([[[0, 1], [2, 0]], [[0, 0], [0, 2]]])
    np.testing.assert_allclose(dice_scores(labels, masks), [[1.0, 3 / 4], [1.0, 1 / 2]])


def test_orientation_is_learned_from_standard_planes_that_say() -> None:
    batch = a_batch(
        torch.zeros(4, 8, 8, dtype=torch.long),
        planes=torch.tensor([1.0, 1.0, 1.0, 0.0]),
        normal=torch.tensor([1.0, 0.0, 0.5, 1.0]),
    )
    logits = torch.tensor([2.0, 1.0, 9.0, -9.0], requires_grad=True)
    loss = orientation_loss(logits, batch)
    assert loss.item() == pytest.approx((np.log1p(np.exp(-2.0)) + np.log1p(np.exp(1.0))) / 2, rel=1e-5)
    torch.autograd.backward(loss)
    assert logits.grad is not None
    assert (logits.grad != 0).tolist() == [True, True, False, False]


def discs(*centres: tuple[float, float], side: int = 64, radius: float = 8.0) -> Tensor:
    """Masks (1, side, side) of one round piece each: PS, then FH."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    mask = torch.zeros(1, side, side, dtype=torch.int64)
    for code, (cx, cy) in enumerate(centres, start=1):
        mask[0][(x - cx) ** 2 + (y - cy) ** 2 <= radius**2] = code
    return mask


def sure_logits(mask: Tensor) -> Tensor:
    return 40.0 * functional.one_hot(mask, 3).permute(0, 3, 1, 2).float()


def shape_cost(logits: Tensor, batch: Batch) -> Tensor:
    return shape_loss(logits, batch, synthetic_weight=0.5)


def test_a_shape_that_lies_as_drawn_costs_nothing() -> None:
    mask = discs((20, 20), (44, 40))
    assert shape_cost(sure_logits(mask), a_batch(mask)).item() == pytest.approx(0.0, abs=1e-6)


def test_shape_loss_by_hand() -> None:
    # A disc's standard deviation along one axis is half its radius: 4 px, so the PS lies one of them beside its place.
    drawn, found = discs((20, 20), (44, 40)), discs((24, 20), (44, 40))
    ps, fh = (0.5**0.5 - 0.05) / 5, 0.0
    assert shape_cost(sure_logits(found), a_batch(drawn)).item() == pytest.approx((ps + fh) / 2, rel=0.02)


def test_a_leaning_shape_costs_more_the_more_it_leans() -> None:
    y, x = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")

    def leaning(degrees: float) -> Tensor:
        angle = torch.tensor(degrees).deg2rad()
        along, across = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
        return ((along / 20) ** 2 + (across / 10) ** 2 <= 1).long()[None]

    batch = a_batch(leaning(0.0))
    costs = [shape_cost(sure_logits(leaning(by)), batch).item() for by in (0.0, 5.0, 15.0, 40.0)]
    assert costs == sorted(costs)
    assert costs[0] < 1e-3 < costs[1]


def test_half_sized_logits_have_the_same_shape() -> None:
    drawn, found = discs((20, 20), (44, 40)), discs((26, 24), (40, 44))
    whole = shape_cost(sure_logits(found), a_batch(drawn))
    half = shape_cost(functional.avg_pool2d(sure_logits(found), 2), a_batch(drawn))
    assert half.item() == pytest.approx(whole.item(), rel=0.05)


def test_shapes_are_learned_from_standard_planes_with_a_mask_alone() -> None:
    drawn, found = discs((20, 20), (44, 40)), sure_logits(discs((40, 20), (30, 40)))
    for nothing in ("planes", "mask_weights"):
        logits = found.clone().requires_grad_()
        loss = shape_cost(logits, a_batch(drawn, **{nothing: torch.zeros(1)}))
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss.item() == 0.0
        assert logits.grad is not None
        assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_a_frame_without_a_structure_has_no_shape_and_a_finite_gradient() -> None:
    logits = torch.zeros(1, 3, 64, 64, requires_grad=True)
    shape_cost(logits, a_batch(torch.zeros(1, 64, 64, dtype=torch.int64))).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0.0


def test_shape_loss_moves_what_lies_beside_its_place_towards_it() -> None:
    drawn = discs((20, 20), (44, 40))
    logits = (sure_logits(discs((28, 20), (44, 40))) / 20).requires_grad_()
    before = shape_cost(logits, a_batch(drawn))
    before.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    with torch.no_grad():
        after = shape_cost(logits - 5.0 * logits.grad / logits.grad.abs().max(), a_batch(drawn))
    assert after < before


def test_shapes_of_synthetic_masks_count_less() -> None:
    drawn = torch.cat([discs((20, 20), (44, 40)), discs((20, 20), (44, 40))])
    found = torch.cat([discs((20, 20), (44, 40)), discs((30, 20), (44, 40))])  # the second frame is off
    alike = shape_cost(sure_logits(found), a_batch(drawn))
    less = shape_cost(sure_logits(found), a_batch(drawn, synthetic=torch.tensor([False, True])))
    assert less.item() == pytest.approx(alike.item() * (0.5 / 1.5) / (1 / 2))
