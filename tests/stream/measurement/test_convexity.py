"""PS and FH as one convex piece each: what stays, what goes, and what may never happen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.learning.weak_labels.filters import solidity
from stream.measurement.convexity import convex_labels, inside_hull, unchanged_share
from stream.measurement.protocols import measure

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SIDE = 256


def ellipse(mask: NDArray[np.uint8], centre: tuple[int, int], axes: tuple[int, int], angle: float, code: int) -> None:
    cv2.ellipse(mask, centre, axes, angle, 0, 360, code, -1)


def plain_anatomy() -> NDArray[np.uint8]:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    ellipse(mask, (90, 60), (30, 15), -20, 1)
    ellipse(mask, (140, 160), (60, 75), 10, 2)
    return mask


@given(
    centre=st.tuples(st.floats(80, 170), st.floats(80, 170)),
    axes=st.tuples(st.floats(12, 70), st.floats(12, 70)),  # a tip that is thinner may lose a pixel
    angle=st.floats(0, 180),
    code=st.sampled_from([1, 2]),
)
def test_pixels_in_a_convex_outline_stay_as_they_are(
    centre: tuple[float, float], axes: tuple[float, float], angle: float, code: int
) -> None:
    y, x = np.mgrid[:SIDE, :SIDE] - np.array(centre)[::-1, None, None]
    turn = np.deg2rad(angle)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    mask = np.where((along / axes[0]) ** 2 + (across / axes[1]) ** 2 <= 1, code, 0).astype(np.uint8)
    assert np.array_equal(convex_labels(mask), mask)


@given(points=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 20)), min_size=1, max_size=9))
def test_inside_is_inside_or_on_the_border(points: list[tuple[int, int]]) -> None:
    hull = cv2.convexHull(np.array(points, np.int32))
    found = inside_hull(hull[:, 0, :].astype(np.int64), (25, 35))
    wanted = [[cv2.pointPolygonTest(hull, (float(x), float(y)), False) >= 0 for x in range(35)] for y in range(25)]
    assert np.array_equal(found, wanted)


def test_tails_and_bits_go_and_dents_are_filled() -> None:
    mask, ragged = plain_anatomy(), plain_anatomy()
    ragged[58:61, 40:70] = 1  # a tail
    ragged[100:110, 20:30] = 1  # a bit elsewhere
    ragged[150:170, 80:100] = 0  # a dent in the head
    assert unchanged_share(mask, convex_labels(ragged)) > 0.97
    assert unchanged_share(mask, ragged) < unchanged_share(mask, convex_labels(ragged))


def test_an_l_becomes_its_hull() -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[100:160, 100:120] = 1
    mask[140:160, 100:160] = 1
    found = convex_labels(mask)
    assert found[130, 135] == 1  # between the strips
    assert found[105, 155] == 0
    assert solidity(mask == 1) < 0.8
    assert solidity(found == 1) > 0.98


def test_a_small_structure_is_not_opened_away() -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[50:54, 50:54] = 1
    assert np.array_equal(convex_labels(mask), mask)
    assert not convex_labels(np.zeros_like(mask)).any()


def test_a_speck_of_the_other_structure_leaves_no_hole() -> None:
    mask, specked = plain_anatomy(), plain_anatomy()
    specked[58:63, 86:91] = 2
    assert np.array_equal(convex_labels(specked), convex_labels(mask))


def test_a_line_of_one_pixel_counts_by_its_pixels() -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[20, 20] = 1
    mask[100, 50:120] = 1
    found = convex_labels(mask)
    assert found[20, 20] == 0
    assert found[100, 50:120].all()


@given(seed=st.integers(0, 500))
def test_what_comes_out_is_one_convex_piece_where_the_structures_do_not_touch(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = plain_anatomy()
    noise = cv2.resize(rng.random((32, 32)), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    mask[noise < 0.15] = 0
    found = convex_labels(mask)
    for code in (1, 2):
        count, _ = cv2.connectedComponents((found == code).view(np.uint8), connectivity=8)
        assert count == 2
        assert solidity(found == code) > 0.95


@given(seed=st.integers(0, 10_000), side=st.sampled_from([16, 64, 100]))
def test_no_structure_appears_and_one_that_is_there_stays(seed: int, side: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 3, (8, 8)).astype(np.uint8)
    labels = cv2.resize(coarse, (side, side + 7), interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    found = convex_labels(labels)
    assert found.shape == labels.shape
    assert found.dtype == np.uint8
    for code in (1, 2):
        assert (labels == code).any() == (found == code).any()


def test_unchanged_share_by_hand() -> None:
    before, after = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    before[:10, :10] = 1
    after[:9, :10] = 1
    assert unchanged_share(before, after) == pytest.approx(180 / 190)
    assert unchanged_share(before, before) == 1.0


def test_annotated_masks_are_convex_already(shared_data: Path) -> None:
    paths = sorted((shared_data / "psfhs" / "val" / "masks").glob("*.png"))
    masks = [np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8) for path in paths]
    shares = [unchanged_share(mask, convex_labels(mask)) for mask in masks]
    assert np.mean(shares) > 0.97
    angles = [[measure(m, protocol="robust").aop_deg for m in (mask, convex_labels(mask))] for mask in masks]
    moved = [abs(one - other) for one, other in angles if one is not None and other is not None]
    assert len(moved) > 120
    assert np.median(moved) < 1.0
