"""Speckle rendering of a phantom scene: polar scatterers, point spread, compression, scan conversion.

Scatterers are complex Gaussian noise fixed to the tissue; they are multiplied by the local echo amplitude and
by the transmission along the beam, blurred by the point spread function, turned into an envelope, compressed
to decibels, and mapped from beams to the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.phantom.echo import PolarGrid, echo_map, head_field
from stream.phantom.truth import sector_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream.phantom.scene import ProbeSector, Scene

_NEPER_PER_DB = math.log(10) / 20
_REST_MM = (97.0, 40.0)
_REST_TILT_DEG = 20.0
_REST_HEAD_MM = (-10.0, 77.0)
"""Where PS and head lie when the scatterer pattern is not displaced; any fixed place serves."""


@dataclass(frozen=True, slots=True, eq=False)
class Speckle:
    """What is random in the tissue, on the polar grid; float32.

    Attributes:
        first, second: (beams, samples, 2) independent patterns of complex scatterers, fixed to the tissue.
        tissue: (beams, samples) slow unevenness of the tissue, mean 0, deviation 1.
        noise: (4 * beams * samples,) receiver noise to cut a stretch from.
    """

    first: NDArray[np.float32]
    second: NDArray[np.float32]
    tissue: NDArray[np.float32]
    noise: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Beams:
    """The polar grid of a sector, and where each pixel of the picture lies on it."""

    grid: PolarGrid
    map_fixed: NDArray[np.int16]
    map_fraction: NDArray[np.uint16]
    outside: NDArray[np.bool_]


def beam_count(size: int) -> tuple[int, int]:
    """Beams, and samples per beam, that suit a picture of `size` pixels."""
    return 64 + size * 5 // 16, size * 5 // 4


@lru_cache(maxsize=4)
def beams_of(sector: ProbeSector, size: int) -> Beams:
    """The polar grid for a sector and a picture size."""
    lines, samples = beam_count(size)
    half = math.radians(sector.half_angle_deg)
    axis = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(sector.field_mm / size)
    x = np.broadcast_to(axis[None, :] - np.float32(sector.apex_mm[0]), (size, size))
    y = np.broadcast_to(axis[:, None] - np.float32(sector.apex_mm[1]), (size, size))
    angle = np.arctan2(x, y)
    radius = np.sqrt(x * x + y * y)
    beam = (angle + np.float32(half)) * np.float32((lines - 1) / (2 * half))
    per_mm = (samples - 1) / (sector.far_mm - sector.near_mm)
    sample = (radius - np.float32(sector.near_mm)) * np.float32(per_mm)
    fixed, fraction = cv2.convertMaps(sample, beam, cv2.CV_16SC2)
    return Beams(
        grid=PolarGrid(
            sector,
            np.linspace(-half, half, lines, dtype=np.float32),
            np.linspace(sector.near_mm, sector.far_mm, samples, dtype=np.float32),
        ),
        map_fixed=np.asarray(fixed, np.int16),
        map_fraction=np.asarray(fraction, np.uint16),
        outside=~sector_mask(size, sector),
    )


def draw_speckle(rng: np.random.Generator, size: int) -> Speckle:
    """Random scatterers for pictures of `size` pixels."""
    lines, samples = beam_count(size)
    first = rng.standard_normal((lines, samples, 2), dtype=np.float32)
    second = rng.standard_normal((lines, samples, 2), dtype=np.float32)
    noise = rng.standard_normal(lines * samples * 4, dtype=np.float32)
    tissue = _draw_tissue(rng, lines, samples)
    return Speckle(first, second, tissue, noise)


def _draw_tissue(rng: np.random.Generator, lines: int, samples: int) -> NDArray[np.float32]:
    """Slow unevenness with thin bright fascia, which follow the level lines of a smooth random height."""
    tissue = np.zeros((lines, samples), np.float32)
    # Lobes, strands across the beams, and grain of about 4 mm.
    for rows, columns, weight in ((10, 9, 0.7), (12, 44, 0.6), (40, 40, 0.5)):
        tissue += weight * _smooth_noise(rng, rows, columns, lines, samples)
    height = _smooth_noise(rng, 6, 14, lines, samples) + 0.25 * _smooth_noise(rng, 14, 40, lines, samples)
    fascia = np.exp(-((np.sin(height * 4) / 0.3) ** 2))
    tissue += 2 * fascia * (_smooth_noise(rng, 8, 12, lines, samples) > 0.2)
    tissue -= tissue.mean()
    return tissue / np.float32(tissue.std())


def _smooth_noise(rng: np.random.Generator, rows: int, columns: int, lines: int, samples: int) -> NDArray[np.float32]:
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (samples, lines), interpolation=cv2.INTER_CUBIC), np.float32)


def render(scene: Scene, rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """A picture of the scene, scatterers drawn from `rng`: (size, size) uint8, black outside the sector."""
    return render_speckle(scene, draw_speckle(rng, size), size)


def render_speckle(scene: Scene, speckle: Speckle, size: int) -> NDArray[np.uint8]:
    """A picture of the scene with given scatterers, which move with PS and head from picture to picture."""
    beams = beams_of(scene.sector, size)
    head = head_field(scene, beams.grid)
    map_sample, map_beam = _displacement(scene, beams.grid, head.outside_mm)
    tissue = _moved(speckle.tissue, map_sample, map_beam)
    echo = echo_map(scene, beams.grid, tissue=tissue, head=head)
    turn = scene.speckle_phase_rad
    pattern = cv2.addWeighted(speckle.first, math.cos(turn), speckle.second, math.sin(turn), 0)
    field = _moved(np.asarray(pattern, np.float32), map_sample, map_beam)
    field *= np.asarray(cv2.exp(echo.scatter_db * np.float32(_NEPER_PER_DB)))[..., None]
    field[..., 0] += echo.specular * cv2.exp(echo.transmission_db * np.float32(_NEPER_PER_DB))
    return _finish(scene, beams, _received(scene, speckle, beams.grid, field))


def render_clean(scene: Scene, size: int) -> NDArray[np.uint8]:
    """The same picture without speckle, unevenness and noise: every echo at its mean strength."""
    beams = beams_of(scene.sector, size)
    head = head_field(scene, beams.grid)
    echo = echo_map(scene, beams.grid, tissue=np.zeros_like(head.outside_mm), head=head)
    amplitude = np.asarray(cv2.exp(echo.scatter_db * np.float32(_NEPER_PER_DB)), np.float32)
    amplitude += echo.specular * cv2.exp(echo.transmission_db * np.float32(_NEPER_PER_DB))
    return _finish(scene, beams, amplitude * amplitude)


def _displacement(
    scene: Scene, grid: PolarGrid, outside_mm: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where on the undisplaced grid each grid point's tissue came from: (sample, beam) indices.

    The pelvis moves as a rigid body with the PS; the head adds its own movement, which fades within some
    12 mm outside the skull. First order in polar coordinates: dr along the beam, dtheta = across / r.
    """
    angle, radius, pose = grid.angle_rad, grid.radius_mm, scene.pose
    turn = math.radians(pose.tilt_deg - _REST_TILT_DEG)
    arm_x, arm_y = pose.x_mm - scene.sector.apex_mm[0], pose.y_mm - scene.sector.apex_mm[1]
    body = (pose.x_mm - _REST_MM[0] - turn * arm_y, pose.y_mm - _REST_MM[1] + turn * arm_x)
    centre = pose.to_image(scene.head.x_mm, scene.head.y_mm)
    rest = pose.to_image(*_REST_HEAD_MM)
    weight = np.exp(np.maximum(outside_mm, 0) * np.float32(-1 / 12))
    sin, cos = np.sin(angle)[:, None], np.cos(angle)[:, None]

    def polar(x: float, y: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return (x * sin + y * cos).astype(np.float32), (x * cos - y * sin).astype(np.float32)

    body_along, body_across = polar(*body)
    head_along, head_across = polar(centre[0] - rest[0], centre[1] - rest[1])
    along, across = weight * head_along, weight * head_across
    along += body_along
    across += body_across
    across /= radius[None, :]
    across += np.float32(turn)
    along *= np.float32(-1 / (radius[1] - radius[0]))
    along += np.arange(len(radius), dtype=np.float32)[None, :]
    across *= np.float32(-1 / (angle[1] - angle[0]))
    across += np.arange(len(angle), dtype=np.float32)[:, None]
    return along, across


def _moved(
    pattern: NDArray[np.float32], map_sample: NDArray[np.float32], map_beam: NDArray[np.float32]
) -> NDArray[np.float32]:
    moved = cv2.remap(pattern, map_sample, map_beam, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(moved, np.float32)


def _received(scene: Scene, speckle: Speckle, grid: PolarGrid, field: NDArray[np.float32]) -> NDArray[np.float32]:
    """Point spread, receiver noise and reverberation: the squared envelope."""
    look, (lines, samples) = scene.look, field.shape[:2]
    count = lines * samples * 2
    start = scene.noise_seed * 7919 % count
    noise = speckle.noise[start : start + count].reshape(field.shape)
    step_deg = math.degrees(float(grid.angle_rad[1] - grid.angle_rad[0]))
    along = _unit_energy_kernel(look.axial_mm / grid.step_mm)
    across = _unit_energy_kernel(look.lateral_deg / step_deg)
    blurred = cv2.sepFilter2D(field, -1, along, across, borderType=cv2.BORDER_REPLICATE)
    received = np.asarray(cv2.scaleAdd(noise, 10 ** (look.noise_db / 20), blurred), np.float32)
    if scene.contact < 1:
        received[..., 0] += _reverberation(grid.radius_mm - scene.sector.near_mm) * (1 - scene.contact)
    received *= received
    return np.asarray(received[..., 0] + received[..., 1])


def _reverberation(depth_mm: NDArray[np.float32]) -> NDArray[np.float32]:
    """Amplitude of the bands that a probe in air shows: echoes of its own lens, each 5 dB weaker."""
    bands = np.zeros_like(depth_mm)
    for order in range(1, 7):
        bands += np.float32(8 * 10 ** (-order / 4)) * np.exp(-(((depth_mm - 2.6 * order) / 0.7) ** 2))
    return bands


def _unit_energy_kernel(sigma: float) -> NDArray[np.float32]:
    """A Gaussian that leaves the power of white noise as it is."""
    reach = max(1, round(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 0.3)) ** 2)
    return (kernel / math.sqrt(float((kernel**2).sum()))).astype(np.float32)


def _finish(scene: Scene, beams: Beams, power: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Compresses the squared envelope to grey values and maps the beams to the picture."""
    np.maximum(power, np.float32(1e-9), out=power)
    # 10 log10(power / 2): the mean power of a complex pattern with unit parts is 2.
    scale = 255 / scene.look.dynamic_range_db
    grey = np.asarray(cv2.log(power), np.float32)
    grey *= np.float32(scale * 10 / math.log(10))
    grey += np.float32(127.5 - scale * 10 * math.log10(2))
    np.clip(grey, 0, 255, out=grey)
    image = np.asarray(
        cv2.remap(grey.astype(np.uint8), beams.map_fixed, beams.map_fraction, cv2.INTER_LINEAR), np.uint8
    )
    image[beams.outside] = 0
    return np.ascontiguousarray(image[:, ::-1]) if scene.mirrored else image
