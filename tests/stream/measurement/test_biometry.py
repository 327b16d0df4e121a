"""The default protocol: right on drawn anatomy, steady under noise, silent where there is nothing to measure."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calibration.fitting.boundary_noise import add_boundary_noise
from stream.common.errors import MaskError, OptionError
from stream.frames.reason import Reason
from stream.measurement.biometry import Biometry, Orientation
from stream.measurement.protocols import PROTOCOLS, measure
from stream.phantom.sample import sample_scene
from stream.phantom.truth import scene_masks, scene_truth
from stream.sources.files.masks import mask_paths, read_mask
from tests.samples.anatomy import DESCENT, Anatomy, at_aop

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PIXEL_MM = (0.36, 0.36)


def _aop(labels: NDArray[np.uint8], **options: object) -> float:
    found = measure(labels, **options)  # type: ignore[arg-type]  # keyword pass-through
    assert found.aop_deg is not None, found.reason
    return found.aop_deg


def _flipped(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(labels[:, ::-1])


# ---- Truth -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("aop_deg", DESCENT)
def test_drawn_anatomy_is_measured_within_half_a_degree_and_half_a_millimetre(aop_deg: int, mirrored: bool) -> None:
    anatomy = at_aop(aop_deg, mirrored=mirrored)
    aop, hsd_min, hsd_perp = anatomy.truth()
    found = measure(anatomy.draw(pixel_mm=PIXEL_MM), pixel_size=PIXEL_MM)
    assert found.reason is None
    assert found.mirrored is mirrored
    assert found.aop_deg == pytest.approx(aop, abs=0.5)
    assert found.hsd_min == pytest.approx(hsd_min, abs=0.5)
    if aop < 91:
        assert found.hsd_perp is None
    elif aop > 97:
        assert found.hsd_perp == pytest.approx(hsd_perp, abs=0.5)


@pytest.mark.parametrize("aop_deg", [80, 100, 120, 140, 160])
@pytest.mark.parametrize("pixel_mm", [(0.30, 0.42), (0.45, 0.30)])
def test_anisotropic_pixels_are_measured_true_when_their_size_is_known(
    aop_deg: int, pixel_mm: tuple[float, float]
) -> None:
    anatomy = at_aop(aop_deg)
    labels = anatomy.draw((round(190 / pixel_mm[0]), round(190 / pixel_mm[1])), pixel_mm=pixel_mm)
    aop, hsd_min, _ = anatomy.truth()
    assert _aop(labels, pixel_size=pixel_mm) == pytest.approx(aop, abs=0.5)
    assert measure(labels, pixel_size=pixel_mm).hsd_min == pytest.approx(hsd_min, abs=0.5)
    assert abs(_aop(labels) - aop) > 1.0


def test_phantoms_are_measured_within_half_a_degree_and_half_a_millimetre() -> None:
    rng = np.random.default_rng(11)
    for index, aop_deg in enumerate(np.linspace(80, 170, 46)):
        scene = sample_scene(rng, aop_deg=float(aop_deg), mirrored=bool(index % 2))
        truth, pixel_mm = scene_truth(scene, 512), scene.sector.field_mm / 512
        found = measure(
            scene_masks(scene, 512), pixel_size=(pixel_mm, pixel_mm), orientation=_orientation(scene.mirrored)
        )
        assert found.mirrored is scene.mirrored
        assert found.aop_deg == pytest.approx(truth.aop_deg, abs=0.5)
        assert found.hsd_min == pytest.approx(truth.hsd_min_mm, abs=0.5)
        if found.hsd_perp is not None:
            assert found.hsd_perp == pytest.approx(truth.hsd_perp_mm, abs=0.5)


def test_aop_passes_180_degrees_without_wrapping() -> None:
    anatomy = Anatomy(head=(34, 50, 60), tilt_deg=10, place_mm=(60, 40))
    aop, _, _ = anatomy.truth()
    assert aop > 185
    assert _aop(anatomy.draw(pixel_mm=PIXEL_MM), pixel_size=PIXEL_MM) == pytest.approx(aop, abs=0.7)


@pytest.mark.parametrize("aop_deg", [100, 130, 160])
def test_landmarks_tell_the_same_story_as_the_numbers(aop_deg: int) -> None:
    found = measure(at_aop(aop_deg).draw())
    marks = found.landmarks
    assert marks is not None
    assert found.hsd_min == pytest.approx(math.dist(marks.ps_inferior, marks.hsd_min_foot or (0, 0)))
    assert found.hsd_perp == pytest.approx(math.dist(marks.ps_inferior, marks.hsd_perp_foot or (0, 0)))
    up, arm = (np.subtract(point, marks.ps_inferior) for point in (marks.ps_superior, marks.tangent))
    angle = math.degrees(math.acos(float(up @ arm) / float(np.hypot(*up) * np.hypot(*arm))))
    assert found.aop_deg == pytest.approx(angle, abs=1e-6)


def _orientation(mirrored: bool) -> Orientation:
    return Orientation.MIRRORED if mirrored else Orientation.NORMAL


# ---- Invariance ------------------------------------------------------------------------------------------------


@given(
    aop_deg=st.sampled_from(sorted(DESCENT)),
    tilt_deg=st.floats(-25, 15),
    shift=st.tuples(st.floats(-4, 4), st.floats(-3, 3)),
    zoom=st.floats(0.9, 1.3),
    mirrored=st.booleans(),
)
@settings(deadline=None, max_examples=25)
def test_rotation_shift_scale_and_mirror_leave_aop_alone(
    aop_deg: int, tilt_deg: float, shift: tuple[float, float], zoom: float, mirrored: bool
) -> None:
    place = (92 + shift[0], 40 + shift[1])
    moved = at_aop(aop_deg, tilt_deg=tilt_deg, place_mm=place, mirrored=mirrored)
    pixel_mm = (0.36 / zoom, 0.36 / zoom)
    labels = moved.draw((round(512 * zoom), round(512 * zoom)), pixel_mm=pixel_mm)
    aop, hsd_min, _ = moved.truth()
    found = measure(labels, pixel_size=pixel_mm, orientation=_orientation(mirrored))
    if found.reason is Reason.CUT_BY_SECTOR:
        return  # turned so far that the tangent point left the picture
    assert found.aop_deg == pytest.approx(aop, abs=0.6)
    assert found.hsd_min == pytest.approx(hsd_min, abs=0.5)


def test_lengths_scale_with_the_pixel_size_and_angles_do_not() -> None:
    labels = at_aop(120).draw()
    one, three = measure(labels), measure(labels, pixel_size=(3.0, 3.0))
    assert three.aop_deg == pytest.approx(one.aop_deg)
    assert one.hsd_min is not None
    assert three.hsd_min == pytest.approx(3 * one.hsd_min)
    assert three.landmarks is not None
    assert one.landmarks is not None
    assert three.landmarks.tangent == pytest.approx(one.landmarks.tangent)


# ---- Orientation -----------------------------------------------------------------------------------------------


def test_a_given_orientation_overrules_the_cues() -> None:
    labels = at_aop(120).draw()
    found, forced = measure(labels), measure(labels, orientation=Orientation.MIRRORED)
    assert not found.mirrored
    assert forced.mirrored
    assert found.aop_deg == _aop(labels, orientation=Orientation.NORMAL)
    assert abs((forced.aop_deg or 0) - (found.aop_deg or 0)) > 10
    assert found.orientation_log_odds > 3
    assert measure(_flipped(labels)).orientation_log_odds == pytest.approx(-found.orientation_log_odds)


def test_a_symmetric_ps_in_the_middle_is_taken_for_normal_and_said_to_be_uncertain() -> None:
    anatomy = Anatomy(radii_mm=(8.0, 8.0), tilt_deg=0.0, place_mm=(92.16 + 19, 40.0))
    found = measure(anatomy.draw(pixel_mm=PIXEL_MM), pixel_size=PIXEL_MM)
    assert not found.mirrored
    assert found.quality < 0.1


def test_a_real_mask_is_read_right_or_not_at_all_alone_and_mirrored(shared_data: Path) -> None:
    """Out of its fold: `tests/stream/measurement/test_orientation_cues.py`. Here, that no mask that was learned from is
    read wrong alone."""
    paths = mask_paths(shared_data / "psfhs" / "val" / "masks")
    found = [measure(read_mask(path)) for path in paths]
    assert not any(one.mirrored for one in found)
    assert sum(one.reason is Reason.AXIS_AMBIGUOUS for one in found) <= 6
    flipped = [measure(_flipped(read_mask(path))) for path in paths]
    assert sum(one.reason is None and not one.mirrored for one in flipped) <= 6
    assert sum(one.mirrored for one in flipped) >= 40


def test_what_is_known_to_be_mirrored_measures_as_its_mirror_image(shared_data: Path) -> None:
    for path in sorted((shared_data / "iugc2024_masks").glob("*/*.png")):
        labels = read_mask(path)
        original = measure(labels)
        flipped = measure(_flipped(labels), orientation=Orientation.MIRRORED)
        assert not original.mirrored
        assert flipped.mirrored
        assert flipped.aop_deg == pytest.approx(original.aop_deg, abs=0.3)
        assert flipped.hsd_min == pytest.approx(original.hsd_min, abs=0.3)


# ---- Noise -----------------------------------------------------------------------------------------------------


def _scatter(masks: list[NDArray[np.uint8]], protocol: str, *, seed: int, repeats: int) -> tuple[float, float]:
    """Standard deviation of AoP and mean absolute change under 2 px of boundary noise."""
    rng = np.random.default_rng(seed)
    change = []
    for labels in masks:
        still = _aop(labels, protocol=protocol, orientation=Orientation.NORMAL)
        for _ in range(repeats):
            noisy = add_boundary_noise(labels, rng)
            change.append(_aop(noisy, protocol=protocol, orientation=Orientation.NORMAL) - still)
    return float(np.std(change)), float(np.mean(np.abs(change)))


def test_boundary_noise_scatters_drawn_anatomy_at_most_half_as_much_as_under_iugc2024() -> None:
    masks = [at_aop(aop_deg, radii_mm=(11.0, 8.0)).draw() for aop_deg in (100, 120, 140)]
    challenge = _scatter(masks, "iugc2024", seed=5, repeats=12)
    robust = _scatter(masks, "robust", seed=5, repeats=12)
    assert robust[0] <= 0.5 * challenge[0]
    assert robust[1] <= 0.5 * challenge[1]


def test_boundary_noise_scatters_real_masks_at_most_half_as_much_as_under_iugc2024(shared_data: Path) -> None:
    paths = sorted((shared_data / "iugc2024_masks").glob("*/*.png"))
    masks = [read_mask(path) for path in paths]
    challenge = _scatter(masks, "iugc2024", seed=1, repeats=2)
    robust = _scatter(masks, "robust", seed=1, repeats=2)
    assert robust[0] <= 0.5 * challenge[0]
    assert robust[1] <= 0.5 * challenge[1]


# ---- Refusals --------------------------------------------------------------------------------------------------


def _reason(labels: NDArray[np.uint8], **options: object) -> Reason | None:
    return measure(labels, **options).reason  # type: ignore[arg-type]  # keyword pass-through


def test_debris_is_no_anatomy() -> None:
    labels = at_aop(120).draw()
    speck = np.where(labels == 1, 0, labels).astype(np.uint8)
    speck[50:53, 100:110] = 1
    assert _reason(speck) is Reason.NO_PS
    speck = np.where(labels == 2, 0, labels).astype(np.uint8)
    speck[300:320, 200:240] = 2
    assert _reason(speck) is Reason.NO_FH


def test_a_round_ps_has_no_axis() -> None:
    assert _reason(Anatomy(length_mm=22, radii_mm=(10.0, 9.0)).draw()) is Reason.AXIS_AMBIGUOUS


def test_a_ps_cut_by_the_picture_or_the_sector_is_refused() -> None:
    anatomy = at_aop(120)
    labels = anatomy.draw()
    assert _reason(anatomy.draw((512, 512))) is None
    columns = np.flatnonzero((labels == 1).any(axis=0))
    assert _reason(np.ascontiguousarray(labels[:, columns[0] + 10 :])) is Reason.CUT_BY_SECTOR
    field = np.ones(labels.shape, bool)
    field[:, : columns[0] + 10] = False
    inside = np.where(field, labels, 0).astype(np.uint8)
    assert _reason(inside) is None
    assert _reason(inside, field_of_view=field) is Reason.CUT_BY_SECTOR


def test_a_head_may_be_cut_anywhere_but_at_the_tangent() -> None:
    anatomy = at_aop(120)
    labels = anatomy.draw()
    whole = measure(labels)
    assert whole.landmarks is not None
    rows = np.flatnonzero((labels == 2).any(axis=1))
    deep = measure(np.ascontiguousarray(labels[: rows[-1] - 60]))
    assert deep.aop_deg == pytest.approx(whole.aop_deg, abs=0.1)
    assert deep.hsd_min == pytest.approx(whole.hsd_min, abs=0.1)
    assert deep.quality < whole.quality
    tangent_column = round(whole.landmarks.tangent[0])
    assert _reason(np.ascontiguousarray(labels[:, : tangent_column - 4])) is Reason.CUT_BY_SECTOR
    field = np.ones(labels.shape, bool)
    field[:, tangent_column - 4 :] = False
    assert _reason(np.where(field, labels, 0).astype(np.uint8), field_of_view=field) is Reason.CUT_BY_SECTOR


def test_impossible_proportions_are_refused() -> None:
    tiny_head = Anatomy(head=(-12, 40, 100), semi_axes_mm=(14.0, 12.0)).draw()
    assert _reason(tiny_head) is Reason.IMPLAUSIBLE
    far_head = Anatomy(head=(-5, 120, 100), semi_axes_mm=(35.0, 33.0), place_mm=(92, 25)).draw()
    assert _reason(far_head) is Reason.IMPLAUSIBLE
    head_above = Anatomy(head=(-60, 45, 100), semi_axes_mm=(30.0, 25.0), place_mm=(110, 40)).draw()
    assert _reason(head_above) is Reason.IMPLAUSIBLE
    line = np.where(at_aop(120).draw() == 2, 2, 0).astype(np.uint8)
    line[60:63, 60:200] = 1
    assert _reason(line) is Reason.IMPLAUSIBLE


def test_no_real_mask_is_refused_whose_orientation_is_known(shared_data: Path) -> None:
    for path in mask_paths(shared_data / "psfhs" / "val" / "masks"):
        assert measure(read_mask(path), orientation=Orientation.NORMAL).reason is None, path.name


# ---- Anything at all -------------------------------------------------------------------------------------------


def _is_sound(found: Biometry) -> bool:
    numbers = [found.aop_deg, found.hsd_min, found.hsd_perp, found.quality, found.orientation_log_odds]
    if found.landmarks is not None:
        marks = found.landmarks
        for point in (marks.ps_superior, marks.ps_inferior, marks.tangent, marks.hsd_min_foot, marks.hsd_perp_foot):
            numbers += list(point or ())
    is_finite = all(number is None or math.isfinite(number) for number in numbers)
    is_measured = found.aop_deg is not None and found.landmarks is not None
    return is_finite and is_measured == (found.reason is None) and 0 <= found.quality <= 1


@given(
    labels=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24),
                      elements=st.integers(0, 2)),
    protocol=st.sampled_from(sorted(PROTOCOLS)),
    pixel_size=st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)),
)  # fmt: skip
@settings(deadline=None, max_examples=300)
def test_garbage_is_refused_or_measured_but_never_raises(
    labels: NDArray[np.uint8], protocol: str, pixel_size: tuple[float, float]
) -> None:
    assert _is_sound(measure(labels, protocol=protocol, pixel_size=pixel_size))


BLOB = st.tuples(
    st.sampled_from([0, 1, 2]), st.integers(-20, 148), st.integers(-20, 148), st.integers(0, 70), st.integers(0, 70),
    st.integers(0, 180),
)  # fmt: skip


@given(
    blobs=st.lists(BLOB, min_size=1, max_size=6),
    choice=st.sampled_from(
        [
            (protocol, orientation)
            for protocol in sorted(PROTOCOLS)
            for orientation in Orientation
            if protocol == "robust" or orientation is not Orientation.MIRRORED
        ]
    ),
    has_field=st.booleans(),
)
@settings(deadline=None, max_examples=300)
def test_blobs_are_refused_or_measured_but_never_raise(
    blobs: list[tuple[int, int, int, int, int, int]], choice: tuple[str, Orientation], has_field: bool
) -> None:
    protocol, orientation = choice
    labels = np.zeros((128, 128), np.uint8)
    for code, x, y, a, b, angle in blobs:
        cv2.ellipse(labels, (x, y), (a, b), angle, 0, 360, code, -1)
    field = np.zeros(labels.shape, bool)
    field[:, 20:100] = True
    found = measure(labels, protocol=protocol, orientation=orientation, field_of_view=field if has_field else None)
    assert _is_sound(found)


@given(blobs=st.lists(BLOB, min_size=0, max_size=3), protocol=st.sampled_from(sorted(PROTOCOLS)))
@settings(deadline=None, max_examples=100)
def test_damaged_anatomy_is_refused_or_measured_but_never_raises(
    blobs: list[tuple[int, int, int, int, int, int]], protocol: str
) -> None:
    labels = at_aop(120).draw((128, 128), pixel_mm=(1.44, 1.44))
    for code, x, y, a, b, angle in blobs:
        cv2.ellipse(labels, (x, y), (a // 4, b // 4), angle, 0, 360, code, -1)
    assert _is_sound(measure(labels, protocol=protocol))


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
@pytest.mark.parametrize("fill", [0, 1, 2])
def test_uniform_images_are_refused(protocol: str, fill: int) -> None:
    found = measure(np.full((64, 64), fill, np.uint8), protocol=protocol)
    assert found.reason in {Reason.NO_PS, Reason.NO_FH}


def test_wrong_arguments_raise_one_clear_error() -> None:
    labels = at_aop(120).draw()
    with pytest.raises(MaskError, match="got 7"):
        measure(np.where(labels == 1, 7, labels).astype(np.uint8))
    with pytest.raises(MaskError, match="float64"):
        measure(labels.astype(np.float64))
    with pytest.raises(MaskError, match=r"\(2, 4, 4\)"):
        measure(np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(MaskError, match="field of view"):
        measure(labels, field_of_view=np.ones((4, 4), bool))
    with pytest.raises(OptionError, match="ellipse"):
        measure(labels, protocol="ellipse")
    with pytest.raises(OptionError, match="positive"):
        measure(labels, pixel_size=(0.0, 1.0))


def test_a_mask_of_256_px_takes_about_a_millisecond() -> None:
    labels = at_aop(120).draw((256, 256), pixel_mm=(0.72, 0.72))
    taken_s = []
    for _ in range(15):
        start = time.process_time()
        for _ in range(10):
            measure(labels)
        taken_s.append((time.process_time() - start) / 10)
    # 0.5 to 0.7 ms where this was written; the bound leaves room for a slower machine.
    assert min(taken_s) < 0.002


def slanted(labels: NDArray[np.uint8], whole: Biometry, lost_px: float) -> NDArray[np.bool_]:
    """A field whose edge leans, as a fan's does, and leaves so much of the head away where the tangent touches it."""
    assert whole.landmarks is not None
    x, y = whole.landmarks.tangent
    centre_y, centre_x = np.argwhere(labels == 2).mean(axis=0)
    across, down = np.array([x - centre_x, y - centre_y]) / np.hypot(x - centre_x, y - centre_y)
    columns, rows = np.meshgrid(np.arange(labels.shape[1]), np.arange(labels.shape[0]))
    beyond = (columns - x) * across + (rows - y) * down
    farthest = float(beyond[labels == 2].max())
    return np.asarray((beyond < farthest - lost_px) | (columns < x - 60))  # the PS lies on the left


def test_a_head_that_a_slanted_edge_cuts_at_the_tangent_is_refused_and_one_that_it_grazes_is_measured() -> None:
    labels = at_aop(150).draw()
    whole = measure(labels)
    assert whole.aop_deg is not None
    for lost_px, reason in ((12.0, Reason.CUT_BY_SECTOR), (25.0, Reason.CUT_BY_SECTOR), (0.0, None), (-3.0, None)):
        field = slanted(labels, whole, lost_px)
        found = measure(np.where(field, labels, 0).astype(np.uint8), field_of_view=field)
        assert found.reason is reason, lost_px
        if found.aop_deg is not None:
            assert found.aop_deg == pytest.approx(whole.aop_deg, abs=3.0)


@pytest.mark.parametrize("side", [200, 256, 400])
def test_a_small_sector_in_a_large_mask_is_measured_as_by_itself(side: int) -> None:
    pixel_mm = 0.36 * 512 / side
    small = at_aop(120).draw((side, side), pixel_mm=(pixel_mm, pixel_mm))
    alone = measure(small)
    large = np.zeros((1080, 1920), np.uint8)
    large[300 : 300 + side, 700 : 700 + side] = small
    field = np.zeros(large.shape, bool)
    field[300 : 300 + side, 700 : 700 + side] = True
    assert alone.aop_deg is not None
    assert measure(large).aop_deg == pytest.approx(alone.aop_deg, abs=0.01)
    assert measure(large, field_of_view=field).aop_deg == pytest.approx(alone.aop_deg, abs=0.01)
