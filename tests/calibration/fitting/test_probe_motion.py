"""A drawn frame whose head turns: AoP changes by as much as was asked for."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from calibration.fitting.probe_motion import HeadTurn, animate_still
from stream.measurement.biometry import Orientation
from stream.measurement.protocols import measure

if TYPE_CHECKING:
    from numpy.typing import NDArray


def drawn() -> NDArray[np.uint8]:
    labels = np.zeros((256, 256), np.uint8)
    cv2.ellipse(labels, (120, 175), (62, 46), 20, 0, 360, 2, -1)
    cv2.ellipse(labels, (90, 70), (34, 13), 25, 0, 360, 1, -1)
    return labels


@pytest.mark.parametrize("turn_deg", [-4.0, 8.0, 16.0])
def test_the_head_turns_by_as_much_and_the_symphysis_stays(turn_deg: float) -> None:
    mask = drawn()
    before = measure(mask, protocol="robust", orientation=Orientation.NORMAL)
    assert before.landmarks is not None
    assert before.aop_deg is not None
    moved = HeadTurn(mask, before.landmarks.ps_inferior).turned(mask, turn_deg, labels=True)
    after = measure(moved, protocol="robust", orientation=Orientation.NORMAL)
    assert after.aop_deg == pytest.approx(before.aop_deg + turn_deg, abs=0.3 + 0.06 * abs(turn_deg))
    np.testing.assert_array_equal(moved == 1, mask == 1)


def test_an_animation_shows_what_the_frame_shows_at_each_moment() -> None:
    still = np.full((64, 64), 60, np.uint8)
    pictures = animate_still(still, 4, rate_hz=10.0, seed=1, at=lambda k: still + np.uint8(40 * k))
    means = [float(picture.mean()) for picture in pictures]
    assert all(later - earlier > 25 for earlier, later in itertools.pairwise(means))
