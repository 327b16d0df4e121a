"""Pure geometry and outlines, against brute force and closed forms."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.measurement.contours import largest_contour, longest_contour, region_moments, smooth_outline
from stream.measurement.geometry import (
    Ellipse,
    ellipse_tangent,
    extreme_projections,
    farthest_pair,
    law_of_cosines_deg,
    leading_point,
    nearest_on_outline,
    ray_meets_outline,
    right_hand_tangent,
    turn_rad,
)

COORDINATE = st.integers(-6, 6)
SMALL_CONTOUR = st.lists(st.tuples(COORDINATE, COORDINATE), min_size=2, max_size=14).map(
    lambda points: np.array(points, np.int32)
)
FINITE = st.floats(-50, 50)


def _point(x: float, y: float) -> NDArray[np.float64]:
    return np.array([x, y], np.float64)


@pytest.mark.parametrize(
    ("start", "end", "expected_deg"),
    [((1, 0), (0, 1), 90), ((0, 1), (1, 0), -90), ((1, 0), (-1, 0), 180), ((2, 2), (5, 5), 0), ((0, 0), (1, 0), 0)],
)
def test_turn_is_positive_clockwise_on_the_screen(
    start: tuple[float, float], end: tuple[float, float], expected_deg: float
) -> None:
    assert math.degrees(turn_rad(_point(*start), _point(*end))) == pytest.approx(expected_deg)


def test_law_of_cosines_wraps_where_the_signed_angle_does_not() -> None:
    assert law_of_cosines_deg((0, 0), (1, 0), (0, 2)) == pytest.approx(90)
    assert law_of_cosines_deg((0, 0), (1, 0), (-2, 0)) == 180
    assert law_of_cosines_deg((0, 0), (-1, 0), (1, -0.5)) < 180


def test_extreme_projections_of_the_worked_example() -> None:
    points = np.array([[0.0, 0.0], [3.0, 1.0]])
    assert extreme_projections(points, origin=_point(1, 0), direction=_point(1, 0)) == (0, 1, -1.0, 2.0)


@given(SMALL_CONTOUR)
@settings(deadline=None, max_examples=300)
def test_farthest_pair_is_the_first_of_equals_in_contour_order(contour: NDArray[np.int32]) -> None:
    points = contour.astype(int)
    best, pair = 0, (0, 0)
    for i in range(len(points)):
        for j in range(i + 1, len(points)):
            squared = int(((points[i] - points[j]) ** 2).sum())
            if squared > best:
                best, pair = squared, (i, j)
    assert farthest_pair(contour) == pair


def _right_of(vertex: NDArray[np.int32], through: NDArray[np.int32], point: NDArray[np.int32]) -> bool:
    """Larger x than the line at the same height; on a level line, higher up on the screen. In exact integers."""
    dx, dy = (int(value) for value in through - vertex)
    px, py = (int(value) for value in point - vertex)
    if dy == 0:
        return py < 0
    return px * abs(dy) > dx * py * (1 if dy > 0 else -1)


@given(SMALL_CONTOUR, COORDINATE, COORDINATE)
@settings(deadline=None, max_examples=400)
def test_right_hand_tangent_leaves_no_point_on_its_right(contour: NDArray[np.int32], x: int, y: int) -> None:
    vertex = np.array([x, y], np.int32)
    assume(not (contour == vertex).all(axis=1).any())
    qualifying = [i for i, t in enumerate(contour) if not any(_right_of(vertex, t, p) for p in contour)]
    found = right_hand_tangent(contour, vertex)
    if not qualifying:
        assert found is None
        return
    assert found in qualifying
    if cv2.pointPolygonTest(cv2.convexHull(contour), (float(x), float(y)), False) >= 0:
        return  # on the hull itself its edge is the tangent, and any of its points gives the same angle
    touching = contour[found] - vertex
    for i in qualifying:
        other = contour[i] - vertex
        if int(touching[0]) * int(other[1]) == int(touching[1]) * int(other[0]):
            assert (touching**2).sum() <= (other**2).sum()


def test_right_hand_tangent_of_the_worked_example() -> None:
    square = np.array([[1, 3], [3, 3], [3, 5], [1, 5]], np.int32)
    assert right_hand_tangent(square, np.array([0, 0], np.int32)) == 1
    assert right_hand_tangent(square, np.array([2, 4], np.int32)) is None


ELLIPSE = st.builds(
    lambda x, y, major, ratio, theta: Ellipse(
        center=(x, y), semi_major=major, semi_minor=major * ratio, theta_rad=theta
    ),
    FINITE, FINITE, st.floats(5, 40), st.floats(0.3, 1.0), st.floats(0, math.pi),
)  # fmt: skip


@given(ELLIPSE, st.floats(1.05, 4), st.floats(0, 2 * math.pi))
@settings(deadline=None, max_examples=200)
def test_ellipse_tangent_touches_on_the_counter_clockwise_side(ellipse: Ellipse, far: float, around: float) -> None:
    point = ellipse.from_circle(far * math.cos(around), far * math.sin(around))
    touching = ellipse_tangent(ellipse, point)
    assert touching is not None
    u, v = ellipse.to_circle(*touching)
    p, q = ellipse.to_circle(*point)
    assert math.hypot(u, v) == pytest.approx(1)
    assert (p - u) * u + (q - v) * v == pytest.approx(0, abs=1e-9)
    arm = _point(touching[0] - point[0], touching[1] - point[1])
    assert turn_rad(arm, _point(ellipse.center[0] - point[0], ellipse.center[1] - point[1])) > 0


@given(ELLIPSE, st.floats(0, 1), st.floats(0, 2 * math.pi))
@settings(deadline=None, max_examples=50)
def test_ellipse_has_no_tangent_from_inside(ellipse: Ellipse, near: float, around: float) -> None:
    point = ellipse.from_circle(0.999 * near * math.cos(around), 0.999 * near * math.sin(around))
    assert ellipse_tangent(ellipse, point) is None


def _sampled(ellipse: Ellipse, count: int = 4000) -> NDArray[np.float64]:
    angles = np.arange(count) * 2 * np.pi / count
    return np.array([ellipse.from_circle(math.cos(a), math.sin(a)) for a in angles])


@given(ELLIPSE, st.floats(1.2, 4), st.floats(0, 2 * math.pi))
@settings(deadline=None, max_examples=25)
def test_leading_point_of_a_sampled_ellipse_is_its_tangent(ellipse: Ellipse, far: float, around: float) -> None:
    point = ellipse.from_circle(far * math.cos(around), far * math.sin(around))
    tangent = ellipse_tangent(ellipse, point)
    assert tangent is not None
    vertex, inner = _point(*point), _point(*ellipse.center)
    index, angle = leading_point(_sampled(ellipse), vertex=vertex, inner=inner, turn=-1.0)
    expected = -turn_rad(inner - vertex, _point(*tangent) - vertex)
    assert angle == pytest.approx(expected, abs=1e-4)
    assert np.hypot(*(_sampled(ellipse)[index] - tangent)) < 0.5


@given(ELLIPSE, FINITE, FINITE)
@settings(deadline=None, max_examples=25)
def test_nearest_on_outline_beats_every_sampled_point(ellipse: Ellipse, x: float, y: float) -> None:
    outline, point = _sampled(ellipse, 400), _point(x, y)
    foot = nearest_on_outline(outline, point)
    distance = math.dist(foot, point)
    assert distance <= np.hypot(*(_sampled(ellipse) - point).T).min() + 0.02
    assert distance >= np.hypot(*(_sampled(ellipse) - point).T).min() - 0.02


def test_nearest_on_outline_lies_within_a_side() -> None:
    square = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]])
    assert nearest_on_outline(square, _point(0.5, -1.0)).tolist() == [0.5, 0.0]
    assert nearest_on_outline(np.array([[3.0, 4.0]]), _point(0, 0)).tolist() == [3.0, 4.0]


def test_ray_meets_the_near_side_and_tells_how_flatly() -> None:
    square = np.array([[1.0, -1.0], [3.0, -1.0], [3.0, 1.0], [1.0, 1.0]])
    hit = ray_meets_outline(square, origin=_point(0, 0), direction=_point(1, 0))
    assert hit == pytest.approx((1.0, math.pi / 2))
    slanted = ray_meets_outline(square, origin=_point(0, -0.9), direction=_point(math.cos(0.3), math.sin(0.3)))
    assert slanted == pytest.approx((1 / math.cos(0.3), math.pi / 2 - 0.3))
    assert ray_meets_outline(square, origin=_point(0, 0), direction=_point(-1, 0)) is None
    assert ray_meets_outline(square, origin=_point(0, 5), direction=_point(1, 0)) is None


def test_moments_of_a_rectangle() -> None:
    mask = np.zeros((60, 80), bool)
    mask[10:30, 20:60] = True
    contour = largest_contour(mask)
    assert contour is not None
    moments = region_moments(contour, pixel_size=(0.5, 0.5))
    assert moments.area == pytest.approx(40 * 20 / 4)
    assert moments.centroid == pytest.approx([39.5 / 2, 19.5 / 2])
    assert np.abs(moments.direction) == pytest.approx([1, 0])
    assert moments.elongation == pytest.approx(4)
    assert moments.skewness == pytest.approx(0, abs=1e-12)


def test_moments_use_the_pixel_size() -> None:
    mask = np.zeros((60, 80), bool)
    mask[10:30, 20:60] = True
    contour = largest_contour(mask)
    assert contour is not None
    moments = region_moments(contour, pixel_size=(1.0, 4.0))
    assert np.abs(moments.direction) == pytest.approx([0, 1])
    assert moments.elongation == pytest.approx(4)


def test_the_tapered_end_has_positive_skewness() -> None:
    mask = np.zeros((60, 80), np.uint8)
    cv2.fillPoly(mask, [np.array([[10, 10], [10, 50], [70, 30]])], 1)
    contour = largest_contour(mask.view(bool))
    assert contour is not None
    moments = region_moments(contour, pixel_size=(1.0, 1.0))
    assert moments.skewness * moments.direction[0] > 0.3


def test_holes_are_filled_and_debris_is_left_out() -> None:
    mask = np.zeros((60, 80), bool)
    mask[10:30, 20:60] = True
    mask[15:20, 30:40] = False
    mask[50, 5:75] = True
    largest, longest = largest_contour(mask), longest_contour(mask)
    assert largest is not None
    assert longest is not None
    assert region_moments(largest, pixel_size=(1.0, 1.0)).area == 800
    assert longest[:, 1].min() == 50
    assert largest_contour(np.zeros((5, 5), bool)) is None


@pytest.mark.parametrize("pixel_size", [(1.0, 1.0), (0.4, 0.4), (1.5, 0.8)])
def test_smooth_outline_of_a_disc_has_its_true_radius(pixel_size: tuple[float, float]) -> None:
    x, y = np.arange(256) * pixel_size[0], np.arange(256) * pixel_size[1]
    center, radius = np.array([127.3 * pixel_size[0], 126.6 * pixel_size[1]]), 60 * min(pixel_size)
    mask = (x[None, :] - center[0]) ** 2 + (y[:, None] - center[1]) ** 2 <= radius**2
    contour = largest_contour(mask)
    assert contour is not None
    radii = np.hypot(*(smooth_outline(contour, pixel_size=pixel_size) - center).T)
    assert radii.mean() == pytest.approx(radius, abs=0.1 * max(pixel_size))
    assert np.abs(radii - radius).max() < 0.5 * max(pixel_size)


@given(st.lists(st.tuples(COORDINATE, COORDINATE), min_size=1, max_size=12))
@settings(deadline=None, max_examples=100)
def test_smooth_outline_is_finite_on_any_contour(points: list[tuple[int, int]]) -> None:
    outline = smooth_outline(np.array(points, np.int32), pixel_size=(1.0, 2.0))
    assert outline.shape == (len(points), 2)
    assert np.isfinite(outline).all()
