"""Rasters of labels over a frame: between the network's input, a protocol's square, and pixels of the frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from engines.postprocess import class_labels
from stream.frames.regions import Point
from stream.measurement.biometry import Biometry, Landmarks, Outlines
from stream.measurement.contours import largest_contour, smooth_outline
from stream.measurement.convexity import convex_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engines.preprocess import Letterbox
    from stream.frames.frame import Frame

DRAWN_SMOOTHING_SHARE = 0.03
"""Smoothing of outlines that are shown: the pieces are convex hulls, whose straight sides a person would not draw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelGrid:
    """A raster of labels over a frame: x_frame = (x_grid + 0.5 - left) / scale_x - 0.5, likewise y."""

    width: int
    height: int
    scale_x: float
    scale_y: float
    left: float = 0.0
    top: float = 0.0

    def to_frame(self, point: Point) -> Point:
        """Grid pixels to frame pixels."""
        return (
            (point[0] + 0.5 - self.left) / self.scale_x - 0.5,
            (point[1] + 0.5 - self.top) / self.scale_y - 0.5,
        )

    def from_frame(self, point: Point) -> Point:
        """The inverse of `to_frame`."""
        return (
            (point[0] + 0.5) * self.scale_x + self.left - 0.5,
            (point[1] + 0.5) * self.scale_y + self.top - 0.5,
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FrameMask:
    """What was segmented: (H, W) uint8 on the network's raster, 1 = PS, 2 = FH, one convex piece each."""

    labels: NDArray[np.uint8]
    grid: LabelGrid


def square_of(frame: Frame, side: int) -> LabelGrid:
    """The square of a challenge protocol, to which a frame is squeezed."""
    height, width = frame.image.shape
    return LabelGrid(width=side, height=side, scale_x=side / width, scale_y=side / height)


def network_grid(letterbox: Letterbox) -> LabelGrid:
    """The raster of the network's input over the frame that was fitted into it."""
    left, top, _, _ = letterbox.content
    scale_x, scale_y = letterbox.scale
    return LabelGrid(
        width=letterbox.width, height=letterbox.height, scale_x=scale_x, scale_y=scale_y, left=left, top=top
    )


def resample_labels(logits: NDArray[np.float32], network: LabelGrid, target: LabelGrid) -> NDArray[np.uint8]:
    """Labels on another grid over the frame: logits are interpolated once, straight from the network's."""
    return convex_labels(class_labels(resample_logits(logits, network, target), target.height, target.width))


def resample_logits(logits: NDArray[np.float32], network: LabelGrid, target: LabelGrid) -> NDArray[np.float32]:
    """Logits (C, h, w) of the network at every pixel of another grid over the frame, (C, height, width)."""
    ratio_x, ratio_y = logits.shape[2] / network.width, logits.shape[1] / network.height
    zoom_x = network.scale_x / target.scale_x * ratio_x
    zoom_y = network.scale_y / target.scale_y * ratio_y
    # Pixel centres: x_logits + 0.5 = ((x_target + 0.5) / target.scale * network.scale + left) * ratio.
    to_logits = np.array(
        [
            [zoom_x, 0.0, 0.5 * zoom_x + network.left * ratio_x - 0.5],
            [0.0, zoom_y, 0.5 * zoom_y + network.top * ratio_y - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (target.width, target.height)
    resampled = np.empty((len(logits), target.height, target.width), np.float32)
    for plane, into in zip(logits, resampled, strict=True):
        cv2.warpAffine(plane, to_logits, size, dst=into, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return resampled


def biometry_in_frame(biometry: Biometry, grid: LabelGrid) -> Biometry:
    """Moves the landmarks from grid pixels to frame pixels; lengths are in the caller's unit already."""
    found = biometry.landmarks
    if found is None:
        return biometry
    feet = [grid.to_frame(foot) if foot else None for foot in (found.hsd_min_foot, found.hsd_perp_foot)]
    return replace(
        biometry,
        landmarks=Landmarks(
            ps_superior=grid.to_frame(found.ps_superior),
            ps_inferior=grid.to_frame(found.ps_inferior),
            tangent=grid.to_frame(found.tangent),
            hsd_min_foot=feet[0],
            hsd_perp_foot=feet[1],
        ),
    )


def outlines_of(mask: FrameMask) -> Outlines:
    """The smooth outlines of a mask, in pixels of the frame, for drawing."""
    return Outlines(lambda code: outline_of(mask.labels, code, mask.grid))


def outline_of(labels: NDArray[np.uint8], code: int, grid: LabelGrid) -> NDArray[np.float32]:
    """The smooth outline of a structure's largest piece, (N, 2) xy in frame pixels; (0, 2) where there is none."""
    contour = largest_contour(labels == code)
    if contour is None:
        return np.empty((0, 2), np.float32)
    points = smooth_outline(contour, pixel_size=(1.0, 1.0), share=DRAWN_SMOOTHING_SHARE)
    outline = (points + 0.5 - (grid.left, grid.top)) / (grid.scale_x, grid.scale_y) - 0.5
    return np.asarray(outline, dtype=np.float32)
