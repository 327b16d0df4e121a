"""Phantom scenes: truth against dense outlines, masks against truth, the look against what it should show."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.phantom.descent import head_tilt_deg, place_head, typical_hsd_mm
from stream.phantom.render import draw_speckle, render, render_clean, render_speckle
from stream.phantom.sample import sample_scene
from stream.phantom.scene import Appearance, Head, Pose, ProbeSector, Scene
from stream.phantom.truth import (
    infrapubic_crossing,
    leading_tangent,
    nearest_point,
    scene_masks,
    scene_truth,
    sector_mask,
)

SIZE = 256


def plain_scene(head: Head | None = None, *, mirrored: bool = False) -> Scene:
    return Scene(
        sector=ProbeSector(),
        pose=Pose(x_mm=95, y_mm=28, tilt_deg=17),
        ps_length_mm=38,
        ps_thickness_mm=18,
        head=head or typical_head(120),
        look=Appearance(),
        mirrored=mirrored,
    )


def typical_head(aop_deg: float) -> Head:
    return place_head(
        aop_deg,
        hsd_mm=typical_hsd_mm(aop_deg),
        semi_major_mm=55,
        semi_minor_mm=44,
        tilt_deg=head_tilt_deg(aop_deg),
    )


def outline(head: Head, count: int = 200_001) -> NDArray[np.float64]:
    """Dense points of the head's outline in the PS frame, straight from the definition of an ellipse."""
    t = np.linspace(0, 2 * math.pi, count)
    tilt = math.radians(head.tilt_deg)
    major = head.semi_major_mm * np.cos(t)
    minor = head.semi_minor_mm * np.sin(t)
    x = head.x_mm + major * math.cos(tilt) - minor * math.sin(tilt)
    y = head.y_mm + major * math.sin(tilt) + minor * math.cos(tilt)
    return np.stack([x, y], axis=1)


def read_mask(mask: NDArray[np.uint8], *, mirrored: bool) -> tuple[float, NDArray[np.float64]]:
    """AoP and the inferior PS end from a mask: moment axis, extreme projection, extreme direction."""
    if mirrored:
        mask = mask[:, ::-1]
    ps = np.argwhere(mask == 1)[:, ::-1].astype(float)
    fh = np.argwhere(mask == 2)[:, ::-1].astype(float)
    centre = ps.mean(axis=0)
    axis = np.linalg.svd(ps - centre, full_matrices=False)[2][0]
    axis = axis if axis[0] > 0 else -axis
    tip = centre + axis * ((ps - centre) @ axis).max()
    across = np.array([-axis[1], axis[0]])
    angle = np.arctan2((fh - tip) @ across, -(fh - tip) @ axis)
    return math.degrees(float(angle.max())), tip


# --- truth ---


@settings(deadline=None, max_examples=40)
@given(
    aop_deg=st.floats(80, 170),
    hsd_mm=st.floats(5, 45),
    axes=st.tuples(st.floats(50, 60), st.floats(40, 48)),
    turn_deg=st.floats(-20, 20),
)
def test_truth_agrees_with_dense_outline(
    aop_deg: float, hsd_mm: float, axes: tuple[float, float], turn_deg: float
) -> None:
    head = place_head(
        aop_deg,
        hsd_mm=hsd_mm,
        semi_major_mm=axes[0],
        semi_minor_mm=axes[1],
        tilt_deg=head_tilt_deg(aop_deg) + turn_deg,
    )
    truth = scene_truth(plain_scene(head), SIZE)
    points = outline(head)
    # All heads lie on the deep side, so the directions from the superior end onwards do not wrap.
    angles = np.degrees(np.arctan2(points[:, 1], -points[:, 0]))
    assert truth.aop_deg == pytest.approx(angles.max(), abs=1e-4)
    assert truth.aop_deg == pytest.approx(aop_deg, abs=1e-6)
    assert truth.hsd_min_mm == pytest.approx(np.hypot(*points.T).min(), abs=1e-6)
    assert truth.hsd_min_mm == pytest.approx(hsd_mm, abs=1e-6)
    assert truth.progression_mm == pytest.approx(points[:, 0].max(), abs=1e-6)
    crossings = points[:-1, 1][np.diff(np.signbit(points[:, 0]).astype(int)) != 0]
    if abs(aop_deg - 90) > 0.1:
        assert (truth.hsd_perp_mm is None) == (crossings.size == 0)
    if truth.hsd_perp_mm is not None and crossings.size:
        assert truth.hsd_perp_mm == pytest.approx(crossings.min(), abs=2e-2)


def test_worked_values_of_circles() -> None:
    circle = Head(x_mm=0, y_mm=2, semi_major_mm=1, semi_minor_mm=1, tilt_deg=30)
    far = Head(x_mm=0, y_mm=3, semi_major_mm=1, semi_minor_mm=1, tilt_deg=0)
    assert leading_tangent(circle)[0] == pytest.approx(120)
    assert nearest_point(far) == pytest.approx((0, 2))
    assert infrapubic_crossing(far) == pytest.approx(2)


def test_angle_passes_180_without_wrapping() -> None:
    crowning = Head(x_mm=60, y_mm=30, semi_major_mm=45, semi_minor_mm=45, tilt_deg=0)
    assert leading_tangent(crowning)[0] == pytest.approx(
        180 - math.degrees(math.atan2(30, 60)) + math.degrees(math.asin(45 / math.hypot(60, 30)))
    )
    assert leading_tangent(crowning)[0] > 180


def test_no_tangent_from_inside_the_head() -> None:
    with pytest.raises(ValueError, match="inside the head"):
        leading_tangent(Head(x_mm=5, y_mm=5, semi_major_mm=50, semi_minor_mm=40, tilt_deg=0))


def test_perpendicular_distance_does_not_exist_high_up() -> None:
    truth = scene_truth(plain_scene(typical_head(82)), SIZE)
    assert truth.hsd_perp_mm is None
    assert truth.hsd_perp_foot is None
    assert truth.progression_mm < 0


@pytest.mark.parametrize("aop_deg", [80, 110, 140, 170])
@pytest.mark.parametrize("mirrored", [False, True])
def test_landmarks_in_pixels_give_the_same_angle(aop_deg: float, mirrored: bool) -> None:
    truth = scene_truth(plain_scene(typical_head(aop_deg), mirrored=mirrored), SIZE)
    vertex = np.array(truth.ps_inferior)
    to_superior = np.array(truth.ps_superior) - vertex
    to_tangent = np.array(truth.tangent) - vertex
    cos = to_superior @ to_tangent / np.linalg.norm(to_superior) / np.linalg.norm(to_tangent)
    assert math.degrees(math.acos(cos)) == pytest.approx(truth.aop_deg, abs=1e-4)
    mm_per_px = 195 / SIZE
    foot = np.array(truth.hsd_min_foot) - vertex
    assert np.linalg.norm(foot) * mm_per_px == pytest.approx(truth.hsd_min_mm, abs=1e-9)
    assert (truth.ps_superior[0] > truth.ps_inferior[0]) == mirrored


# --- masks ---


@pytest.mark.parametrize("mirrored", [False, True])
def test_masks_give_back_the_truth(mirrored: bool) -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        scene = sample_scene(rng, aop_deg=80 + 8 * seed, mirrored=mirrored)
        truth = scene_truth(scene, 512)
        aop_deg, tip = read_mask(scene_masks(scene, 512), mirrored=mirrored)
        x = truth.ps_inferior[0]
        expected = (511 - x if mirrored else x, truth.ps_inferior[1])
        assert math.dist(tip, expected) < 1
        assert aop_deg == pytest.approx(truth.aop_deg, abs=0.5)


def test_mask_areas() -> None:
    scene = plain_scene()
    mask = scene_masks(scene, 512)
    mm2 = (195 / 512) ** 2
    assert (mask == 2).sum() * mm2 == pytest.approx(math.pi * 55 * 44, rel=2e-3)
    # Area of the drop: 2 scale L B(1.6, 1.42), by numeric integration of its definition.
    f = (np.arange(100_000) + 0.5) / 100_000
    profile = f**0.6 * (1 - f) ** 0.42
    area = 2 * 38 * float(profile.mean()) * 9 / float(profile.max())
    assert (mask == 1).sum() * mm2 == pytest.approx(area, rel=5e-3)


def test_mask_is_clipped_by_the_sector_and_mirrors_exactly() -> None:
    scene = plain_scene(typical_head(170))
    mask = scene_masks(scene, SIZE)
    assert not mask[~sector_mask(SIZE)].any()
    assert np.array_equal(scene_masks(plain_scene(typical_head(170), mirrored=True), SIZE), mask[:, ::-1])


def test_sector_is_symmetric_and_its_corners_black() -> None:
    inside = sector_mask(SIZE)
    assert np.array_equal(inside, inside[:, ::-1])
    assert not inside[0, 0]
    assert not inside[-1, 0]
    assert inside[SIZE // 2, SIZE // 2]
    image = render(sample_scene(np.random.default_rng(1)), np.random.default_rng(2), SIZE)
    assert not image[~sector_mask(SIZE, sample_scene(np.random.default_rng(1)).sector)].any()


# --- random scenes ---


def test_random_standard_scenes_show_their_landmarks() -> None:
    for seed in range(100):
        scene = sample_scene(np.random.default_rng(seed))
        truth = scene_truth(scene, SIZE)
        inside = sector_mask(SIZE, scene.sector)
        assert scene.is_standard_plane
        assert 80 - 1e-6 <= truth.aop_deg <= 170 + 1e-6
        for x, y in (truth.ps_superior, truth.ps_inferior, truth.tangent, truth.hsd_min_foot):
            assert inside[round(y), round(x)]


def test_random_other_planes_never_show_both_structures_whole() -> None:
    seen = set()
    for seed in range(60):
        scene = sample_scene(np.random.default_rng(seed), standard=False)
        assert not scene.is_standard_plane
        codes = frozenset(int(code) for code in np.unique(scene_masks(scene, 128)))
        assert codes != {0, 1, 2}
        seen.add(codes)
    assert seen == {frozenset({0}), frozenset({0, 1}), frozenset({0, 2})}


# --- rendering ---


def test_speckle_envelope_is_rayleigh_in_even_tissue() -> None:
    scene = plain_scene()
    even = Scene(
        sector=scene.sector,
        pose=scene.pose,
        ps_length_mm=38,
        ps_thickness_mm=18,
        head=scene.head,
        look=Appearance(tissue_db=0, haze_db=-60, attenuation_db_per_mm=0, noise_db=-60, dynamic_range_db=80),
        ps_visibility=0,
        head_visibility=0,
    )
    grey = render(even, np.random.default_rng(5), 512).astype(float)
    level_db = grey / 255 * 80
    patch = 10 ** (level_db[260:420, 180:330] / 20)
    # Mean over deviation of a Rayleigh envelope is sqrt(pi / (4 - pi)) = 1.91; interpolation raises it.
    assert 1.7 < patch.mean() / patch.std() < 2.4


def test_skull_is_bright_and_shades_what_lies_behind() -> None:
    scene = plain_scene()
    image = render_clean(scene, 512).astype(float)
    x, y = scene.pose.to_image(*nearest_point(scene.head))
    column, row = round(x / 195 * 512), round(y / 195 * 512)
    near_skull = image[row - 6 : row + 7, column - 3 : column + 4].max()
    assert near_skull > image[row - 30 : row - 15, column - 3 : column + 4].max()
    mask = scene_masks(scene, 512)
    assert image[mask == 2].mean() < 0.6 * image[(mask == 0) & sector_mask(512)].mean()


def test_speckle_moves_with_the_tissue() -> None:
    scene, speckle = plain_scene(), draw_speckle(np.random.default_rng(3), 512)
    pose = Pose(x_mm=scene.pose.x_mm, y_mm=scene.pose.y_mm + 8 * 195 / 512, tilt_deg=scene.pose.tilt_deg)
    deeper = Scene(
        sector=scene.sector,
        pose=pose,
        ps_length_mm=38,
        ps_thickness_mm=18,
        head=scene.head,
        look=scene.look,
    )
    before = render_speckle(scene, speckle, 512)[60:110, 240:300].astype(float)
    after = render_speckle(deeper, speckle, 512).astype(float)

    def likeness(shift_px: int) -> float:
        return float(np.corrcoef(before.ravel(), after[60 + shift_px : 110 + shift_px, 240:300].ravel())[0, 1])

    assert likeness(8) > 0.7
    assert likeness(8) > likeness(0) + 0.3
