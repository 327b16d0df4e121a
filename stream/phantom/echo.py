"""Echo strength and attenuation of a phantom scene on the polar grid of the beams.

All levels are decibels relative to plain tissue. Arrays are (beams, samples) float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.phantom.scene import PS_BASE_POWER, PS_TIP_POWER, ps_scale_mm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

    from stream.phantom.scene import Blob, ProbeSector, Scene

MAX_LOSS_DB = 45.0


@dataclass(frozen=True, slots=True, eq=False)
class PolarGrid:
    """The polar grid of a sector: beam directions in rad, distances of the samples from the apex in mm."""

    sector: ProbeSector
    angle_rad: Floats
    radius_mm: Floats

    @property
    def step_mm(self) -> float:
        return float(self.radius_mm[1] - self.radius_mm[0])

    def part(self, beams: slice, samples: slice) -> PolarGrid:
        """A block of the grid."""
        return PolarGrid(self.sector, self.angle_rad[beams], self.radius_mm[samples])

    def affine(self, row: tuple[float, float, float]) -> Floats:
        """row[0] x + row[1] y + row[2] at every grid point, x and y in image mm."""
        apex_x, apex_y = self.sector.apex_mm
        across = row[0] * np.sin(self.angle_rad) + row[1] * np.cos(self.angle_rad)
        out = np.outer(across.astype(np.float32), self.radius_mm)
        out += np.float32(row[0] * apex_x + row[1] * apex_y + row[2])
        return out


@dataclass(frozen=True, slots=True, eq=False)
class HeadField:
    """First-order distance in mm outside the head's shown outline; cosine between beam and outward normal."""

    outside_mm: Floats
    facing: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Echo:
    """What comes back from every grid point.

    Attributes:
        scatter_db: level of the diffuse scatterers, transmission included.
        specular: amplitude of smooth interfaces, without transmission; 0 where there is none.
        transmission_db: what the way there and back leaves of an echo.
    """

    scatter_db: Floats
    specular: Floats
    transmission_db: Floats


def echo_map(scene: Scene, grid: PolarGrid, *, tissue: Floats, head: HeadField) -> Echo:
    """The echoes of a scene, given the unevenness of its tissue (mean 0, deviation 1)."""
    look = scene.look
    seen = np.float32(scene.head_visibility)
    inside = np.clip(0.5 - head.outside_mm, 0, 1) * seen
    level = _blob_levels(scene, grid, inside)
    level += tissue * (np.float32(look.tissue_db) * (1 + np.float32(0.3) * inside))
    level += inside * np.float32(look.brain_db)
    # Reverberation repeats the layers inside the head, more weakly.
    level += _layer_levels(scene, head.outside_mm, tissue) * (seen - np.float32(0.5) * inside)
    skull = np.exp(-((head.outside_mm / np.float32(look.skull_mm)) ** 2)) * seen
    loss = skull * np.float32(look.skull_loss_db / (look.skull_mm * math.sqrt(math.pi)) * grid.step_mm)
    specular = np.asarray(cv2.pow(np.abs(head.facing), look.skull_power), np.float32)
    specular *= np.float32(0.95)
    specular += np.float32(0.05)
    specular *= skull
    specular *= np.maximum(1 + np.float32(0.4) * tissue, np.float32(0.15))
    specular *= np.float32(10 ** (look.skull_db / 20))
    _add_pubis(scene, grid, tissue, _Layers(level, loss, specular))
    np.cumsum(loss, axis=1, out=loss)
    np.minimum(loss, MAX_LOSS_DB, out=loss)
    # The aperture is wider than one beam, so shadows have soft sides.
    loss = np.asarray(cv2.blur(loss, (1, max(3, len(grid.angle_rad) // 40 * 2 + 1))), np.float32)
    # Poor contact and bone at the side shade more with depth, where the whole aperture has met them.
    shade = np.minimum(0.3 + (grid.radius_mm - grid.sector.near_mm) / 60, 1)
    transmission = np.outer(_beam_level(scene, grid.angle_rad), shade.astype(np.float32))
    transmission += _depth_level(scene, grid.radius_mm)[None, :]
    transmission -= loss
    level += transmission
    return Echo(level, specular, transmission)


def head_field(scene: Scene, grid: PolarGrid) -> HeadField:
    """Where the head's outline runs on the grid."""
    head, part = scene.head, scene.head_section
    a, b = head.semi_major_mm * part, head.semi_minor_mm * part
    rows = _ellipse_rows(scene, at=(head.x_mm, head.y_mm), semi=(a, b), tilt_deg=head.tilt_deg)
    e1, e2 = (grid.affine(row) for row in rows)
    level = np.asarray(cv2.magnitude(e1, e2), np.float32)
    e1 *= np.float32(1 / a)
    e2 *= np.float32(1 / b)
    slope = np.asarray(cv2.magnitude(e1, e2), np.float32)
    np.maximum(slope, np.float32(1e-6), out=slope)
    # The unit vectors of the ellipse are the rows times the semi-axes; the beam is (sin, cos) of its angle.
    sin, cos = np.sin(grid.angle_rad), np.cos(grid.angle_rad)
    facing = e1 * np.asarray((rows[0][0] * sin + rows[0][1] * cos) * a, np.float32)[:, None]
    facing += e2 * np.asarray((rows[1][0] * sin + rows[1][1] * cos) * b, np.float32)[:, None]
    facing /= slope
    distance = level - np.float32(1)
    distance *= level
    distance /= slope
    return HeadField(distance, facing)


@dataclass(frozen=True, slots=True, eq=False)
class _Layers:
    """Arrays under construction, changed in place: levels, losses per step, specular amplitudes."""

    level: Floats
    loss: Floats
    specular: Floats


def _ellipse_rows(
    scene: Scene, *, at: tuple[float, float], semi: tuple[float, float], tilt_deg: float
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """The two affine functions of image mm in which an ellipse of the PS frame is the unit circle."""
    centre_x, centre_y = scene.pose.to_image(*at)
    turn = math.radians(tilt_deg - scene.pose.tilt_deg)
    cos, sin = math.cos(turn), math.sin(turn)
    first = (cos / semi[0], sin / semi[0], -(cos * centre_x + sin * centre_y) / semi[0])
    second = (-sin / semi[1], cos / semi[1], (sin * centre_x - cos * centre_y) / semi[1])
    return first, second


def _blob_levels(scene: Scene, grid: PolarGrid, inside: Floats) -> Floats:
    """Sum of the blobs' levels; those with their centre in the head show only inside it, the others outside.

    Computed on every fourth beam and sample: blobs are smooth.
    """
    coarse = grid.part(slice(None, None, 4), slice(None, None, 4))
    inner = np.zeros((len(coarse.angle_rad), len(coarse.radius_mm)), np.float32)
    outer = np.zeros_like(inner)
    for blob in scene.look.blobs:
        target = inner if _in_head(scene, blob) else outer
        x = blob.x_mm + (scene.head.x_mm if blob.rides_head else 0.0)
        y = blob.y_mm + (scene.head.y_mm if blob.rides_head else 0.0)
        rows = _ellipse_rows(scene, at=(x, y), semi=(blob.semi_x_mm, blob.semi_y_mm), tilt_deg=blob.tilt_deg)
        e1, e2 = (coarse.affine(row) for row in rows)
        square = e1 * e1 + e2 * e2
        target += np.exp(-(square * square)) * np.float32(blob.level_db)
    size = (inside.shape[1], inside.shape[0])
    outer = np.asarray(cv2.resize(outer, size, interpolation=cv2.INTER_LINEAR), np.float32)
    inner = np.asarray(cv2.resize(inner, size, interpolation=cv2.INTER_LINEAR), np.float32)
    inner -= outer
    inner *= inside
    outer += inner
    return outer


def _in_head(scene: Scene, blob: Blob) -> bool:
    head = scene.head
    dx, dy = (blob.x_mm, blob.y_mm) if blob.rides_head else (blob.x_mm - head.x_mm, blob.y_mm - head.y_mm)
    return math.hypot(dx, dy) < head.semi_minor_mm * 0.9


def _layer_levels(scene: Scene, outside_mm: Floats, tissue: Floats) -> Floats:
    """Fascia and muscle around the head: bright and dark layers 5.5 mm apart, parallel to its outline."""
    layers = outside_mm * np.float32(2 * math.pi / 5.5)
    layers += tissue * np.float32(1.2)
    np.cos(layers, out=layers)
    layers += np.float32(0.7)
    fade = np.abs(outside_mm)
    fade *= np.float32(-1 / 9)
    np.exp(fade, out=fade)
    fade *= np.float32(scene.look.layers_db)
    layers *= fade
    return layers


def _add_pubis(scene: Scene, grid: PolarGrid, tissue: Floats, layers: _Layers) -> None:
    """Adds the PS with its capsule, or the pubic ramus in its place, to the block of the grid they lie in."""
    look, length = scene.look, scene.ps_length_mm
    block = _pubis_block(scene, grid)
    part = grid.part(*block)
    if not (len(part.angle_rad) and len(part.radius_mm)):
        return
    x, y = (part.affine(row) for row in _ellipse_rows(scene, at=(0, 0), semi=(1, 1), tilt_deg=0))
    fraction = np.clip(x * np.float32(-1 / length), 0, 1)
    half = np.asarray(cv2.pow(fraction, PS_TIP_POWER) * cv2.pow(1 - fraction, PS_BASE_POWER), np.float32)
    half *= np.float32(ps_scale_mm(scene.ps_thickness_mm))
    beyond = np.maximum(np.maximum(x, -length - x), 0)
    depth = half - np.abs(y) - beyond
    seen, grain = np.float32(scene.ps_visibility), tissue[block]
    inside = np.clip(depth + 0.5, 0, 1) * seen
    capsule = np.exp(-((depth / 1.1) ** 2)) * seen
    rim = np.exp(-(((depth + 2.4) / 1.3) ** 2)) * seen
    layers.level[block] += inside * (look.ps_db - layers.level[block] * 0.8 + 2.5 * grain)
    layers.level[block] += capsule * look.capsule_db - rim * 10
    # A third of the loss is spread over the inside, the rest (a Gaussian 2 mm wide) lies at the deep capsule.
    layers.loss[block] += inside * np.float32(look.ps_loss_db / 3 / scene.ps_thickness_mm * grid.step_mm)
    layers.loss[block] += capsule * (y > 0) * np.float32(look.ps_loss_db / 3 * grid.step_mm)
    bent = y + np.float32(3.0) + x * x * np.float32(0.004) - np.float32(0.8) * grain
    line = np.exp(-((bent / 1.5) ** 2) - (beyond / 4) ** 2) * np.float32(scene.ramus)
    layers.specular[block] += line * np.float32(10 ** (look.skull_db / 20))
    layers.loss[block] += line * np.float32(9.0 * grid.step_mm)


def _pubis_block(scene: Scene, grid: PolarGrid) -> tuple[slice, slice]:
    """Beams and samples of the block that holds the PS with 6 mm to spare; it may be empty."""
    spare, half = 6.0, scene.ps_thickness_mm / 2 + 6.0
    apex_x, apex_y = grid.sector.apex_mm
    corners = [scene.pose.to_image(x, y) for x in (-scene.ps_length_mm - spare, spare) for y in (-half, half)]
    angles = [math.atan2(x - apex_x, y - apex_y) for x, y in corners]
    radii = [math.hypot(x - apex_x, y - apex_y) for x, y in corners]
    first, last = np.searchsorted(grid.angle_rad, (min(angles), max(angles)))
    # A chord comes nearer to the apex than its ends: by at most 6 mm for a block of this size.
    near, far = np.searchsorted(grid.radius_mm, (min(radii) - 6.0, max(radii)))
    return slice(int(first), int(last)), slice(int(near), int(far))


def _beam_level(scene: Scene, angle: Floats) -> Floats:
    """Poor contact: shadows, and the outermost beams."""
    degrees = np.degrees(angle)
    level = -8.0 * (degrees / scene.sector.half_angle_deg) ** 12
    for at_deg, width_deg, loss_db in scene.look.shadows:
        level -= loss_db * np.exp(-(((degrees - at_deg) / width_deg) ** 2))
    return level.astype(np.float32)


def _depth_level(scene: Scene, radius: Floats) -> Floats:
    """What depth gain compensation leaves over, near-field haze, gain, and the loss of contact."""
    look, depth = scene.look, radius - scene.sector.near_mm
    level = look.gain_db - look.attenuation_db_per_mm * depth
    level += (look.haze_db + 1.5 * np.cos(depth * 1.4)) * np.exp(-depth / 7)
    level += 1.2 * np.sin(depth * (2 * math.pi / 46))
    level -= 60 * (1 - scene.contact) ** 2
    return level.astype(np.float32)
