"""Draws random phantom scenes: anatomy, pose in the picture, appearance."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from stream.phantom.descent import SIMULATED_AOP_DEG, clears_symphysis, head_tilt_deg, place_head, typical_hsd_mm
from stream.phantom.scene import Appearance, Blob, Pose, ProbeSector, Scene
from stream.phantom.truth import leading_tangent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stream.phantom.scene import Head


def sample_scene(
    rng: np.random.Generator, *, aop_deg: float | None = None, standard: bool = True, mirrored: bool = False
) -> Scene:
    """One random scene: anatomy, pose, sector and look, all drawn from `rng`.

    A standard scene shows the whole PS and the tangent point inside the sector. One that is not shows
    another plane: beside the symphysis, the head alone, the PS alone, plain tissue, or the probe in air.

    Args:
        rng: the only source of chance.
        aop_deg: angle of progression, 80 to 170; None draws it, normal (122, 20) kept in that range.
        standard: whether the plane is the standard one.
        mirrored: PS on the right of the picture.
    """
    if aop_deg is None:
        aop_deg = float(np.clip(rng.normal(122, 20), *SIMULATED_AOP_DEG))
    sector = sample_sector(rng)
    length_mm, thickness_mm = sample_symphysis(rng)
    head = sample_head(rng, aop_deg, length_mm=length_mm, thickness_mm=thickness_mm)
    tilt_deg = float(min(max(rng.normal(18, 9), -10), 40))
    pose = fit_pose(
        [head],
        sector,
        length_mm,
        tilt_deg=tilt_deg,
        rise=float(rng.uniform()),
        shift=float(rng.uniform(0, 0.8)),
    )
    scene = Scene(
        sector=sector,
        pose=pose,
        ps_length_mm=length_mm,
        ps_thickness_mm=thickness_mm,
        head=head,
        look=sample_appearance(rng, head),
        mirrored=mirrored,
    )
    return scene if standard else _OTHER_PLANES[rng.integers(len(_OTHER_PLANES))](scene, rng)


def sample_sector(rng: np.random.Generator) -> ProbeSector:
    """A curved array and its depth: 170 to 215 mm field, 33 to 43 degrees to either side."""
    field_mm = float(rng.uniform(175, 210))
    near_mm, face_mm = float(rng.uniform(42, 60)), float(rng.uniform(4, 14))
    return ProbeSector(
        field_mm=field_mm,
        half_angle_deg=float(rng.uniform(34, 42)),
        near_mm=near_mm,
        far_mm=near_mm + field_mm - face_mm - float(rng.uniform(2, 25)),
        face_mm=face_mm,
    )


def sample_symphysis(rng: np.random.Generator) -> tuple[float, float]:
    """Length and thickness of the PS in mm.

    The length is normal (38, 3) within 34 to 45; the thickness 14 to 22, but at most 0.55 of the length, so
    that the long axis is never in doubt.
    """
    length_mm = float(min(max(rng.normal(38, 3), 34), 45))
    return length_mm, float(min(rng.uniform(14, 22), 0.55 * length_mm))


def sample_head(
    rng: np.random.Generator,
    aop_deg: float,
    *,
    length_mm: float,
    thickness_mm: float,
    hsd_spread_mm: float = 4.0,
) -> Head:
    """A head of random size at the given AoP, clear of the PS; HSD scatters about its typical value."""
    major = 55.0 * float(rng.uniform(0.93, 1.08))
    minor = 44.0 * float(rng.uniform(0.93, 1.08))
    tilt = head_tilt_deg(aop_deg) + float(rng.uniform(-8, 8))
    hsd_mm = max(5.0, typical_hsd_mm(aop_deg) + hsd_spread_mm * float(rng.normal()))
    while True:
        head = place_head(aop_deg, hsd_mm=hsd_mm, semi_major_mm=major, semi_minor_mm=minor, tilt_deg=tilt)
        if clears_symphysis(head, length_mm, thickness_mm):
            return head
        hsd_mm += 1.0


def fit_pose(
    heads: Sequence[Head],
    sector: ProbeSector,
    length_mm: float,
    *,
    tilt_deg: float,
    rise: float,
    shift: float,
    margin_mm: float = 4.0,
) -> Pose:
    """Lays the anatomy into the sector so that the PS and every head's tangent point keep clear of its sides.

    Args:
        heads: where the head may be; all their tangent points are kept inside.
        sector: the field of view.
        length_mm: of the PS.
        tilt_deg: of the PS axis.
        rise: 0 to 1, how near the PS lies to the probe: its upper end 15 to 9 mm below the face.
        shift: 0 to 1, from the leftmost to the rightmost place that fits.
        margin_mm: least distance from the sector's sides.

    Where nothing fits at this depth the anatomy is moved deeper, as an operator would move the probe.
    """
    half = math.radians(sector.half_angle_deg)
    flat = Pose(x_mm=0.0, y_mm=0.0, tilt_deg=tilt_deg)
    keep = [flat.to_image(0, 0), flat.to_image(-length_mm, -9.0), flat.to_image(-length_mm, 9.0)]
    keep += [flat.to_image(*leading_tangent(head)[1:]) for head in heads]
    apex_x, apex_y = sector.apex_mm
    # Distance from the left side: (x - apex_x) cos + (y - apex_y) sin; from the right side with -cos.
    left = min(x * math.cos(half) + y * math.sin(half) for x, y in keep)
    right = min(-x * math.cos(half) + y * math.sin(half) for x, y in keep)
    needed_mm = (2 * margin_mm - left - right) / (2 * math.sin(half)) + apex_y
    top = min(y for _, y in keep[:3])
    y_mm = max(sector.face_mm + 15 - 6 * rise - top, needed_mm)
    drop = (y_mm - apex_y) * math.sin(half)
    low = (margin_mm - left - drop) / math.cos(half)
    high = (right + drop - margin_mm) / math.cos(half)
    return Pose(x_mm=apex_x + low + (high - low) * shift, y_mm=y_mm, tilt_deg=tilt_deg)


def sample_appearance(rng: np.random.Generator, head: Head) -> Appearance:
    """Random echo strengths, losses, scanner settings, poor-contact shadows and soft-tissue regions."""

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    shadows = tuple((between(-36, 36), between(1.5, 6), between(3, 14)) for _ in range(int(rng.integers(0, 3))))
    shadows += ((between(-44, -26), between(8, 18), between(2, 20)),)  # the pubic bone on the cranial side
    return Appearance(
        gain_db=between(-9, 5),
        dynamic_range_db=between(42, 60),
        attenuation_db_per_mm=between(0.04, 0.17),
        haze_db=between(-8, 4),
        noise_db=between(-40, -26),
        skull_db=between(16, 30),
        skull_loss_db=between(1.5, 9),
        skull_mm=between(0.9, 1.9),
        skull_power=between(2, 8),
        brain_db=between(-14, -4),
        ps_db=between(5, 11),
        capsule_db=between(11, 16),
        ps_loss_db=between(3, 16),
        tissue_db=between(3, 6),
        layers_db=between(4, 12),
        axial_mm=between(0.3, 0.6),
        lateral_deg=between(0.3, 0.6),
        shadows=shadows,
        blobs=sample_blobs(rng, head),
    )


def sample_blobs(rng: np.random.Generator, head: Head) -> tuple[Blob, ...]:
    """Urethra and bladder between PS and head, bright tissue behind the head, streaks inside it."""

    def blob(
        at: tuple[float, float], semi: tuple[float, float], tilt: float, level: float, *, rides: bool = False
    ) -> Blob:
        return Blob(
            x_mm=at[0] + 3 * float(rng.normal()),
            y_mm=at[1] + 2 * float(rng.normal()),
            semi_x_mm=semi[0] * float(rng.uniform(0.7, 1.3)),
            semi_y_mm=semi[1] * float(rng.uniform(0.7, 1.3)),
            tilt_deg=tilt + 12 * float(rng.normal()),
            level_db=level + 2 * float(rng.normal()),
            rides_head=rides,
        )

    return (
        blob((6, 7), (9, 2.5), -15, -14),  # urethra and bladder neck
        blob((-18, 17), (15, 3.5), -10, -7),  # bladder, pressed flat by the head
        blob((16, -3), (14, 8), 30, 4),  # perineal tissue
        blob((head.semi_major_mm, 5), (9, 38), -12, 8, rides=True),  # rectum and sacral tissue behind the head
        blob((-2, 6), (4, 24), 12, 9, rides=True),  # midline of the brain
        blob((14, -12), (9, 14), 25, 6, rides=True),  # choroid plexus and gyri
    )


def _beside_symphysis(scene: Scene, rng: np.random.Generator) -> Scene:
    return replace(
        scene,
        ps_visibility=0.0,
        ramus=1.0,
        head_section=float(rng.uniform(0.5, 0.9)),
        head_visibility=float(rng.integers(0, 2)),
    )


def _head_alone(scene: Scene, rng: np.random.Generator) -> Scene:
    return replace(scene, ps_visibility=0.0, head_section=float(rng.uniform(0.7, 0.99)))


def _symphysis_alone(scene: Scene, rng: np.random.Generator) -> Scene:
    return replace(scene, head_visibility=0.0, ramus=0.3 * float(rng.integers(0, 2)))


def _plain_tissue(scene: Scene, rng: np.random.Generator) -> Scene:
    return replace(scene, ps_visibility=0.0, head_visibility=0.0, ramus=float(rng.uniform(0, 0.4)))


def _in_air(scene: Scene, rng: np.random.Generator) -> Scene:
    return replace(scene, contact=float(rng.uniform(0, 0.2)))


_OTHER_PLANES: tuple[Callable[[Scene, np.random.Generator], Scene], ...] = (
    _beside_symphysis,
    _head_alone,
    _symphysis_alone,
    _plain_tissue,
    _in_air,
)
