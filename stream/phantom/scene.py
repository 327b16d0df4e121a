"""A phantom scene at one instant: probe sector, pubic symphysis, fetal head, appearance.

Lengths are millimetres. Two frames of reference are used:

- the image: x to the right, y deeper, origin at the top left corner of the picture, PS on the left;
- the PS frame: origin at the inferior PS end, x along the PS axis from the superior to the inferior end
  (caudal), y to the deep side, where the head lies.

`Pose` turns one into the other. A mirrored scene is the same scene, flipped left to right as a picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PS_TIP_POWER = 0.6
PS_BASE_POWER = 0.42
"""Half thickness at the fraction f of the length from the tip is proportional to
f ** PS_TIP_POWER * (1 - f) ** PS_BASE_POWER: a drop, widest at 0.59 of its length, pointed at the caudal end,
yet blunt enough there that the tip of its pixel mask lies within a third of a pixel of the true tip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSector:
    """The field of view of a curved array in a square picture.

    Attributes:
        field_mm: side of the square picture.
        half_angle_deg: from the middle line to either edge.
        near_mm, far_mm: radii of the probe's face and of the deepest echo, from the virtual apex.
        face_mm: depth in the picture at which the middle of the face lies.
    """

    field_mm: float = 195.0
    half_angle_deg: float = 38.0
    near_mm: float = 50.0
    far_mm: float = 225.0
    face_mm: float = 10.0

    @property
    def apex_mm(self) -> tuple[float, float]:
        """The virtual apex in the image; its y is usually negative, above the picture."""
        return self.field_mm / 2, self.face_mm - self.near_mm


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Where the inferior PS end lies in the image, and how the PS axis is turned.

    Convention: `tilt_deg` is positive where the inferior end is raised towards the probe, counter-clockwise
    on the screen. At tilt 0 the superior end lies exactly left of the inferior one. The point (x, y) of the
    PS frame lies at (x_mm + x cos + y sin, y_mm - x sin + y cos) in the image.
    """

    x_mm: float
    y_mm: float
    tilt_deg: float

    def to_image(self, x_mm: float, y_mm: float) -> tuple[float, float]:
        """Image coordinates in mm of a point of the PS frame."""
        cos, sin = math.cos(math.radians(self.tilt_deg)), math.sin(math.radians(self.tilt_deg))
        return self.x_mm + x_mm * cos + y_mm * sin, self.y_mm - x_mm * sin + y_mm * cos


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The outline of the fetal skull: an ellipse in the PS frame.

    Convention: `tilt_deg` is the direction of the major axis, from +x (caudal) towards +y (deep).
    """

    x_mm: float
    y_mm: float
    semi_major_mm: float
    semi_minor_mm: float
    tilt_deg: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A soft elliptic region that is darker or brighter than the tissue around it; PS frame, dB.

    With `rides_head` the coordinates are relative to the head's centre, and the region moves with the head.
    """

    x_mm: float
    y_mm: float
    semi_x_mm: float
    semi_y_mm: float
    tilt_deg: float
    level_db: float
    rides_head: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """Echo strengths in dB relative to plain tissue, losses, and the scanner's settings.

    Attributes:
        gain_db: added to every echo; 0 puts plain tissue in the middle of the grey range.
        dynamic_range_db: range of echoes shown between black and white.
        attenuation_db_per_mm: what depth gain compensation leaves over.
        haze_db: level of the near-field haze.
        noise_db: level of the receiver's noise, before attenuation is compensated.
        skull_db, skull_loss_db: echo of the skull where the beam meets it squarely; loss on crossing it once.
        skull_mm: thickness of its echo.
        skull_power: the skull's echo falls as |cos(incidence)| to this power.
        brain_db, ps_db, capsule_db: echo of the head's inside, the PS's inside, and the PS's outline.
        ps_loss_db: loss on crossing the PS, mostly at its deep side, which shades what lies behind.
        tissue_db: unevenness of all tissue, one standard deviation.
        layers_db: contrast of the layered tissue around the head.
        axial_mm, lateral_deg: standard deviations of the point spread function.
        shadows: (direction deg, width deg, loss dB) of places where the probe has poor contact.
        blobs: bladder, urethra, rectum and the like.
    """

    gain_db: float = 0.0
    dynamic_range_db: float = 55.0
    attenuation_db_per_mm: float = 0.1
    haze_db: float = 2.0
    noise_db: float = -30.0
    skull_db: float = 26.0
    skull_loss_db: float = 5.0
    skull_mm: float = 1.2
    skull_power: float = 3.0
    brain_db: float = -9.0
    ps_db: float = 4.0
    capsule_db: float = 10.0
    ps_loss_db: float = 10.0
    tissue_db: float = 3.5
    layers_db: float = 6.0
    axial_mm: float = 0.5
    lateral_deg: float = 0.55
    shadows: tuple[tuple[float, float, float], ...] = ()
    blobs: tuple[Blob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One instant of the phantom.

    Attributes:
        head: the anatomy's head, whether or not the plane shows it.
        ps_visibility: 1 in the midsagittal plane, 0 where the PS is not cut.
        head_visibility: likewise for the head.
        head_section: size of the head's section relative to the midsagittal one, (0, 1].
        ramus: 0 to 1, the bright line of the pubic ramus in place of the PS.
        contact: 1 with the probe on the skin, 0 in air.
        mirrored: PS on the right of the picture.
        speckle_phase_rad: turns one speckle pattern gradually into another (out-of-plane motion).
        noise_seed: picks the receiver's noise.
    """

    sector: ProbeSector
    pose: Pose
    ps_length_mm: float
    ps_thickness_mm: float
    head: Head
    look: Appearance
    ps_visibility: float = 1.0
    head_visibility: float = 1.0
    head_section: float = 1.0
    ramus: float = 0.0
    contact: float = 1.0
    mirrored: bool = False
    speckle_phase_rad: float = 0.0
    noise_seed: int = 0

    @property
    def shows_ps(self) -> bool:
        return self.contact >= 0.7 and self.ps_visibility >= 0.5

    @property
    def shows_head(self) -> bool:
        return self.contact >= 0.7 and self.head_visibility >= 0.5

    @property
    def is_standard_plane(self) -> bool:
        """Whether AoP and HSD can be measured here: PS and the full section of the head are both shown."""
        return self.shows_ps and self.shows_head and self.head_section == 1.0


def ps_scale_mm(thickness_mm: float) -> float:
    """The factor of fraction ** PS_TIP_POWER * (1 - fraction) ** PS_BASE_POWER that makes a PS this thick."""
    widest = PS_TIP_POWER / (PS_TIP_POWER + PS_BASE_POWER)
    return thickness_mm / 2 / (math.pow(widest, PS_TIP_POWER) * math.pow(1 - widest, PS_BASE_POWER))


def ps_half_thickness_mm(fraction: float, thickness_mm: float) -> float:
    """Half thickness of the PS at a fraction (0 to 1) of its length from the inferior end."""
    profile = math.pow(fraction, PS_TIP_POWER) * math.pow(1 - fraction, PS_BASE_POWER)
    return ps_scale_mm(thickness_mm) * profile
