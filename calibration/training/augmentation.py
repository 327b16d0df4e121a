"""What an ultrasound frame may go through before the network sees it; image and mask alike.

Masks are moved with nearest-neighbour sampling: interpolating class codes would draw a false ring of PS (1)
around every head (2). Each function is pure: it takes a generator and returns new arrays.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from calibration.training.datasets import Example

    Image = NDArray[np.uint8]

MOSTLY_VISIBLE = {1: 0.7, 2: 0.45}
"""Share of each structure that must survive a crop for the plane label to stay certain."""


def warp(example: Example, rng: Generator) -> Example:
    """Mirror, rotation, scale, aspect, shift and a smooth elastic field, in one resampling."""
    size = example.image.shape[0]
    angle, scale = np.deg2rad(rng.uniform(-20, 20)), np.exp(rng.uniform(-0.32, 0.25))
    stretch = np.exp(rng.uniform(-0.15, 0.15))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = rotation @ np.diag([mirror / (scale * stretch), stretch / scale])
    shift = rng.uniform(-0.1, 0.1, 2) * size
    grid = rng.normal(0, 1, (2, 5, 5)).astype(np.float32) * rng.uniform(0, 4)
    dx, dy = (cv2.resize(field, (size, size), interpolation=cv2.INTER_CUBIC) for field in grid)
    axis = np.arange(size, dtype=np.float32) - (size - 1) / 2
    x, y = np.meshgrid(axis, axis)
    map_x = (matrix[0, 0] * x + matrix[0, 1] * y + (size - 1) / 2 + shift[0] + dx).astype(np.float32)
    map_y = (matrix[1, 0] * x + matrix[1, 1] * y + (size - 1) / 2 + shift[1] + dy).astype(np.float32)
    image = cv2.remap(example.image, map_x, map_y, cv2.INTER_LINEAR)
    mask = cv2.remap(example.mask, map_x, map_y, cv2.INTER_NEAREST)
    moved = replace(example, image=np.asarray(image, np.uint8), mask=np.asarray(mask, np.uint8))
    return _with_certain_plane(moved, example.mask, 1.0 / abs(float(np.linalg.det(matrix))))


def _with_certain_plane(moved: Example, before: Image, area_factor: float) -> Example:
    """Withdraws the plane label of a standard frame that lost part of a structure over the edge."""
    if not moved.plane:
        return moved
    shares = {
        code: np.count_nonzero(moved.mask == code) / max(area_factor * np.count_nonzero(before == code), 1.0)
        for code in MOSTLY_VISIBLE
    }
    if min(shares.values()) < 0.05:
        return replace(moved, plane=0.0)
    certain = all(shares[code] >= least for code, least in MOSTLY_VISIBLE.items())
    return replace(moved, plane_weight=float(certain))


def paint_out(image: Image, region: NDArray[np.bool_], rng: Generator) -> Image:
    """Fills a region with the grey of its surroundings under a speckle of its own."""
    outside = (~region).astype(np.float32)
    # Mean of the surroundings by normalised convolution, on a coarse grid: the region is large.
    coarse = (32, 32)
    weight = cv2.GaussianBlur(cv2.resize(outside, coarse, interpolation=cv2.INTER_AREA), (0, 0), 4)
    grey = cv2.resize(image * outside, coarse, interpolation=cv2.INTER_AREA)
    mean = cv2.GaussianBlur(grey, (0, 0), 4) / np.maximum(weight, 1e-3)
    base = cv2.resize(mean, image.shape[::-1], interpolation=cv2.INTER_CUBIC)
    real, imaginary = rng.normal(0, 1, (2, *image.shape)).astype(np.float32)
    grain = (float(rng.uniform(0.8, 2.2)), float(rng.uniform(0.6, 1.2)))  # speckle is wider than it is deep
    real, imaginary = (cv2.GaussianBlur(part, (0, 0), grain[0], sigmaY=grain[1]) for part in (real, imaginary))
    envelope = np.hypot(real, imaginary)
    texture = 0.35 + 0.65 * envelope / envelope.mean()
    alpha = cv2.GaussianBlur(cv2.dilate(region.astype(np.float32), np.ones((5, 5))), (0, 0), 3)
    filled = image * (1 - alpha) + np.clip(base * texture, 0, 255) * alpha
    return np.asarray(filled, dtype=np.uint8)


def cut_away(example: Example, rng: Generator) -> Example:
    """Makes an honest negative of a standard plane: PS, FH or both are painted out of picture and mask."""
    codes = ((1,), (2,), (1, 2))[int(rng.choice(3, p=[0.5, 0.3, 0.2]))]
    region = cv2.dilate(np.isin(example.mask, codes).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    mask = np.where(np.isin(example.mask, codes), 0, example.mask).astype(np.uint8)
    return replace(example, image=paint_out(example.image, region, rng), mask=mask, plane=0.0)


def decoy(example: Example, rng: Generator) -> Example:
    """Paints out a patch beside the structures, so that painting alone does not give a negative away."""
    size = example.image.shape[0]
    patch = np.zeros_like(example.mask)
    centre = tuple(int(value) for value in rng.integers(30, size - 30, 2))
    axes = tuple(int(value) for value in rng.integers(12, 40, 2))
    cv2.ellipse(patch, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    near = cv2.dilate((example.mask > 0).astype(np.uint8), np.ones((9, 9), np.uint8))
    return replace(example, image=paint_out(example.image, (patch > 0) & (near == 0), rng))


def upside_down(example: Example) -> Example:
    """Turns a frame on its head: the texture of a standard plane, but none that a probe could see."""
    return replace(example, image=example.image[::-1].copy(), plane=0.0, mask_weight=0.0)


def empty_picture(example: Example, rng: Generator) -> Example:
    """What a source shows without a signal: black, a flat grey, noise, or a test picture of bars."""
    size = example.image.shape[0]
    kind = rng.integers(3)
    image = np.full((size, size), rng.integers(0, 255) * (rng.random() < 0.7), np.float32)
    if kind == 1:
        image += rng.normal(0, rng.uniform(2, 60), (size, size))
    elif kind == 2:
        image = np.tile(np.repeat(rng.uniform(0, 255, 8), size // 8), (size, 1))
    empty = np.zeros_like(example.mask)
    return replace(example, image=np.clip(image, 0, 255).astype(np.uint8), mask=empty, plane=0.0)


def degrade(image: Image, rng: Generator) -> Image:
    """Scanner settings and everything between probe and file, each with its own small probability."""
    size = image.shape[0]
    x = image.astype(np.float32) / 255.0
    y_axis = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    if rng.random() < 0.4:  # depth attenuation or over-corrected TGC
        x *= np.exp(rng.uniform(-1.2, 0.6) * y_axis)
    if rng.random() < 0.25:
        x *= _shadow(size, rng)
    if rng.random() < 0.2:  # haze: scattered light over the near field
        x += rng.uniform(0.05, 0.25) * np.exp(-y_axis * rng.uniform(2, 6)) * (x > 0.01)
    if rng.random() < 0.7:  # gain and dynamic range
        x = np.clip(x, 0, 1) ** np.exp(rng.uniform(-0.5, 0.6)) * np.exp(rng.uniform(-0.35, 0.35))
    if rng.random() < 0.3:  # speckle, multiplicative and correlated
        noise = cv2.GaussianBlur(rng.normal(0, 1, x.shape).astype(np.float32), (0, 0), rng.uniform(0.6, 1.6))
        x *= 1 + noise * rng.uniform(0.1, 0.5)
    if rng.random() < 0.35:  # resolution of another scanner or a small export
        small = int(size * rng.uniform(0.3, 0.8))
        coarse = cv2.resize(x, (small, small), interpolation=cv2.INTER_AREA)
        x = np.asarray(cv2.resize(coarse, (size, size)), np.float32)
    elif rng.random() < 0.2:
        x = np.asarray(cv2.GaussianBlur(x, (0, 0), rng.uniform(0.5, 1.5)), np.float32)
    if rng.random() < 0.2:
        x += rng.normal(0, rng.uniform(0.01, 0.06), x.shape).astype(np.float32)
    out: Image = (np.clip(x, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.25:
        _burn_marks(out, rng)
    if rng.random() < 0.25:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 85))]
        out = np.asarray(cv2.imdecode(cv2.imencode(".jpg", out, quality)[1], 0), np.uint8)
    return out


def _shadow(size: int, rng: Generator) -> NDArray[np.float32]:
    """A dark beam from the probe downwards, soft at its sides."""
    x, y = np.meshgrid(np.linspace(-1, 1, size, dtype=np.float32), np.linspace(0, 1, size, dtype=np.float32))
    angle = np.arctan2(x, y + 0.15) - rng.uniform(-0.7, 0.7)
    depth = 1 / (1 + np.exp(-(y - rng.uniform(0, 0.6)) * 25))
    beam = np.exp(-0.5 * (angle / rng.uniform(0.03, 0.15)) ** 2)
    return np.asarray(1 - rng.uniform(0.4, 0.95) * beam * depth, dtype=np.float32)


def _burn_marks(image: Image, rng: Generator) -> None:
    """Draws calipers, ticks and letters into `image`."""
    size = image.shape[0]
    for _ in range(int(rng.integers(1, 4))):
        at = tuple(int(value) for value in rng.integers(5, size - 5, 2))
        grey = int(rng.integers(120, 256))
        if rng.random() < 0.5:
            cv2.drawMarker(image, at, grey, int(rng.choice([cv2.MARKER_CROSS, cv2.MARKER_TILTED_CROSS])), 7)
        else:
            text = "".join(rng.choice(list("0123456789.cmAPSFHx+"), int(rng.integers(1, 8))))
            cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, float(rng.uniform(0.25, 0.6)), grey, 1)
