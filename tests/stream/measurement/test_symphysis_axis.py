"""The axis of the symphysis from its mask and from the second look, their fusion, and what its error is foretold by."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.network.gate import mask_evidence
from stream.measurement.expected_error import FEATURES, ErrorModel, error_features, ps_peak
from stream.measurement.symphysis_axis import (
    Axis,
    Fusion,
    Symphysis,
    axis_of_ellipse,
    ellipse_of,
    turn,
    turn_deg,
    viewed_axis,
)

RIGHT = np.array([1.0, 0.0])
SIDE = 256


def labels(deg: float = 25.0) -> NDArray[np.uint8]:
    drawn = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(drawn, (90, 70), (34, 13), deg, 0, 360, 1, -1)
    return drawn


def view(deg: float, *, inferior: tuple[float, float] = (121.0, 84.0), spread: float = 0.1) -> list[float]:
    direction = turn(RIGHT, deg)
    superior = np.array(inferior) - 68 * direction
    return [*direction, *inferior, *superior, math.log(spread)]


@given(st.floats(-179, 179), st.floats(-179, 179))
def test_turning_and_its_angle_are_inverse(start: float, by: float) -> None:
    direction = turn(RIGHT, start)
    assert turn_deg(direction, turn(direction, by)) == pytest.approx(by, abs=1e-6)


def test_a_mirrored_symphysis_has_the_mirrored_axis() -> None:
    for deg in (-40.0, 25.0, 80.0):
        found, other = ellipse_of(labels(deg) == 1), ellipse_of(labels(deg)[:, ::-1] == 1)
        assert found is not None
        assert other is not None
        axis, mirrored = axis_of_ellipse(found), axis_of_ellipse(other, mirrored=True)
        assert axis.deg == pytest.approx(deg, abs=1.5)
        assert mirrored.direction == pytest.approx(axis.direction * (-1, 1), abs=0.02)
        assert mirrored.inferior == pytest.approx((SIDE - 1 - axis.inferior[0], axis.inferior[1]), abs=0.5)


def test_views_that_agree_have_no_spread_and_their_mean_otherwise() -> None:
    same = viewed_axis(np.array([view(25)] * 3))
    assert same is not None
    assert [same.spread_deg, same.axis.deg, same.length] == pytest.approx([0, 25, 68], abs=1e-6)
    assert same.expected_deg == pytest.approx(math.degrees(0.1))
    both = viewed_axis(np.array([view(10), view(-10)]))
    assert both is not None
    assert [both.axis.deg, both.spread_deg] == pytest.approx([0, 10], abs=1e-6)
    longer = viewed_axis(np.array([[5 * view(10)[0], 5 * view(10)[1], *view(10)[2:]], view(-10)]))
    assert longer is not None
    assert longer.axis.deg == pytest.approx(0, abs=1e-6)  # a direction may have any length


def test_where_nobody_looked_there_is_no_second_look() -> None:
    assert viewed_axis(np.zeros((2, 7), np.float32)) is None
    assert viewed_axis(np.full((2, 7), np.nan)) is None
    found = Symphysis.read(labels(), np.zeros((2, 7), np.float32))
    assert found is not None
    assert found.look is None
    assert Symphysis.read(np.zeros((SIDE, SIDE), np.uint8), np.array([view(25)])) is None


@pytest.mark.parametrize(("share", "deg"), [(0.0, 10.0), (0.5, 20.0), (0.75, 25.0), (1.0, 30.0)])
def test_the_joint_direction_is_turned_by_its_share(share: float, deg: float) -> None:
    mask = Axis(np.array([10.0, 20.0]), turn(RIGHT, 10))
    look = viewed_axis(np.array([view(30, inferior=(30.0, 40.0))]))
    joint = Fusion(direction=share, inferior=0.25).join(mask, look)
    assert joint is not None
    assert [joint.deg, *joint.inferior] == pytest.approx([deg, 15.0, 25.0])
    assert Fusion().join(mask, None) is mask
    assert Fusion().join(None, None) is None


def test_a_bias_of_the_direction_is_taken_off_towards_the_same_side_of_the_body_in_a_mirrored_picture() -> None:
    fusion = Fusion(direction=0.5, inferior=0.5, turn_deg=-2.0)
    normal = fusion.join(Axis(np.array([10.0, 20.0]), turn(RIGHT, 10)), viewed_axis(np.array([view(30)])))
    mirrored = fusion.join(Axis(np.array([10.0, 20.0]), turn(RIGHT, 170)), viewed_axis(np.array([view(150)])))
    assert normal is not None
    assert mirrored is not None
    assert normal.deg == pytest.approx(18.0)
    assert mirrored.deg == pytest.approx(162.0)
    with pytest.raises(ValueError, match="turn_deg"):
        Fusion(turn_deg=11.0)


def test_an_axis_is_corrected_by_what_the_look_adds_to_the_ellipse() -> None:
    found = Symphysis.read(labels(), np.array([view(35, inferior=(123.0, 88.0))]))
    assert found is not None
    inferior = found.mask.inferior
    superior = inferior - 2 * found.ellipse.semi_major * found.mask.direction
    ends = (float(superior[0]), float(superior[1])), (float(inferior[0]), float(inferior[1]))
    near, far = Fusion(direction=1.0, inferior=1.0).correct(*ends, found)
    assert far == pytest.approx((123, 88))
    assert near == pytest.approx(np.array((123, 88)) - 68 * turn(RIGHT, 35), abs=1e-6)
    joint = Fusion(direction=0.3, inferior=0.6).join(found.mask, found.look)
    near, far = Fusion(direction=0.3, inferior=0.6).correct(*ends, found)
    assert joint is not None
    assert far == pytest.approx(joint.inferior)
    assert turn_deg(joint.direction, np.subtract(far, near)) == pytest.approx(0, abs=1e-6)
    unmoved = Fusion(direction=0.0, inferior=0.0).correct(*ends, found)
    assert np.array(unmoved) == pytest.approx(np.array(ends))
    alone = Symphysis(found.ellipse, found.mask, None)
    assert Fusion().correct(*ends, alone) == ends


@pytest.mark.parametrize("shares", [{"direction": 1.2}, {"inferior": -0.1}, {"direction": math.nan}])
def test_shares_that_are_none_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="shares lie between 0 and 1"):
        Fusion.of(shares)


# What is foretold of the error

MODEL = ErrorModel(
    weights={"disagreement": 0.5, "spread": 0.3, "tilt": 0.2}, constant=0.4, surest_deg=2.0, mask_only_deg=12.0
)


def features(deg: float, **changes: float) -> NDArray[np.float64]:
    found = Symphysis.read(labels(), np.array([view(deg), view(deg + 2)]))
    assert found is not None
    return error_features(found, side=SIDE, **({"area": 0.02, "peak": 5.0, "plane_head": 3.0} | changes))


def test_features_by_hand() -> None:
    found = dict(zip(FEATURES, features(39), strict=True))
    assert found["disagreement"] == pytest.approx(math.log1p(15), abs=0.05)
    assert found["spread"] == pytest.approx(math.log1p(1))
    assert found["expected"] == pytest.approx(math.log1p(math.degrees(0.1)))
    assert found["end"] < math.log1p(1.0)
    assert [found["area"], found["peak"], found["plane head"]] == pytest.approx([math.log(2), 0.5, 0.3])
    assert found["axis ratio"] == pytest.approx(math.log(34 / 13), abs=0.08)
    assert found["tilt"] == pytest.approx(40 / 90, abs=0.01)
    assert features(39, peak=90.0)[FEATURES.index("peak")] == 2.0


def test_quality_falls_with_disagreement() -> None:
    qualities = [MODEL.quality(MODEL.expected_deg(features(deg))) for deg in (24, 30, 40, 55, 80)]
    assert all(0 < worse < better <= 1 for better, worse in itertools.pairwise(qualities))


def test_quality_of_an_expected_error() -> None:
    assert [MODEL.quality(expected) for expected in (1.0, 2.0, 4.0, 8.0)] == [1.0, 1.0, 0.5, 0.25]
    assert MODEL.expected_deg(None) == 12.0
    assert MODEL.expected_deg(np.full(len(FEATURES), math.nan)) == 12.0
    assert replace(MODEL, constant=400.0).expected_deg(features(30)) == 60.0


@pytest.mark.parametrize(
    "change",
    [{"weights": {"colour": 1.0}}, {"surest_deg": 0.0}, {"constant": math.nan}, {"mask_only_deg": None}, {"more": 1}],
)
def test_facts_that_are_no_model_of_errors_are_refused(change: dict[str, object]) -> None:
    facts = {"weights": {}, "constant": 0.0, "surest_deg": 2.0, "mask_only_deg": 9.0}
    assert ErrorModel.of(facts).expected_deg(features(30)) == 1.0
    with pytest.raises((TypeError, ValueError)):
        ErrorModel.of(facts | change)


def test_the_peak_is_the_one_of_the_gate() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 40, 48)).astype(np.float32)
    expected = float(mask_evidence(torch.from_numpy(logits)[None])[0, 0])
    assert ps_peak(logits) == pytest.approx(expected, abs=1e-5)
