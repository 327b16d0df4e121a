"""Losses against values from their formulas, written out in numpy, and against known gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from calibration.training.batch import Batch
from calibration.training.losses import (
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
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from calibration.training.losses import SegmentationLoss

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
