"""Letterbox: a frame of any size into the network's input, and points back again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from engines.errors import ModelMismatch

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterbox:
    """Fits grey frames of one size into the network's: square pixels, aspect kept, centred, black around.

    Training and inference both go through here, so that the network meets the same pixels in both.

    Convention: points are (..., 2) float64 xy in pixels, x to the right, y down, pixel centres at integers.
    Per axis `x_net = (x_img + 0.5) * scale - 0.5 + pad`, without limits: a point outside the frame maps
    outside the content. Degenerate: the content is never less than one pixel wide or high. Example: a 512x512
    frame of square pixels in a 256x256 network has scale 0.5 and pad 0, and (0.5, 0.5) maps to (0, 0).
    Source: the half-pixel rule of `cv2.resize`, which maps the outer edges of the pictures onto each other.

    Attributes:
        image_height, image_width: of the frames, in pixels.
        height, width: of the network's input, in pixels.
        pixel_aspect: width of one frame pixel over its height.
    """

    image_height: int
    image_width: int
    height: int
    width: int
    pixel_aspect: float = 1.0

    def __post_init__(self) -> None:
        if min(self.image_height, self.image_width, self.height, self.width) < 1:
            raise ValueError(
                f"a letterbox needs sides of 1 pixel or more, got {self.image_width}x{self.image_height}"
                f" into {self.width}x{self.height}"
            )
        if not (math.isfinite(self.pixel_aspect) and self.pixel_aspect > 0):
            raise ValueError(f"pixel aspect must be positive and finite, got {self.pixel_aspect}")

    @property
    def content(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the frame's picture in the network's input, in pixels."""
        square_width = self.image_width * self.pixel_aspect  # in units of a pixel's height
        zoom = min(self.width / square_width, self.height / self.image_height)
        width = max(1, min(self.width, round(square_width * zoom)))
        height = max(1, min(self.height, round(self.image_height * zoom)))
        return (self.width - width) // 2, (self.height - height) // 2, width, height

    @property
    def scale(self) -> tuple[float, float]:
        """Network pixels per frame pixel, along x and along y."""
        _, _, width, height = self.content
        kept_width, kept_height = self.kept
        return width / kept_width, height / kept_height

    @property
    def field_of_view(self) -> NDArray[np.bool_]:
        """Where the network's input shows the frame and not the black around it, (height, width)."""
        left, top, width, height = self.content
        seen = np.zeros((self.height, self.width), np.bool_)
        seen[top : top + height, left : left + width] = True
        return seen

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Returns the network's input for a frame: (H, W) uint8 -> (height, width) uint8, a new array.

        Shrinking averages 2x2 blocks while it can, then interpolates linearly: an average over the true area
        costs ten times as much for a 1080p frame.

        Raises:
            ModelMismatch: the frame has another size or type than this letterbox was made for.
        """
        if image.shape != (self.image_height, self.image_width) or image.dtype != np.uint8:
            raise ModelMismatch(
                f"the letterbox takes uint8 of shape {(self.image_height, self.image_width)},"
                f" got {image.dtype} of shape {image.shape}; make one for this size"
            )
        left, top, width, height = self.content
        kept_width, kept_height = self.kept
        shrunk = image[:kept_height, :kept_width]
        for _ in range(self.halvings):
            half = (shrunk.shape[1] // 2, shrunk.shape[0] // 2)
            shrunk = cv2.resize(shrunk, half, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        fitted = np.zeros((self.height, self.width), np.uint8)
        # The "exact" variant of linear gives the same bits on every CPU.
        fitted[top : top + height, left : left + width] = cv2.resize(
            shrunk, (width, height), interpolation=cv2.INTER_LINEAR_EXACT
        )
        return fitted

    def to_network(self, points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Maps (..., 2) points from frame pixels to network pixels."""
        mapped: NDArray[np.float64] = (points_xy + 0.5) * self.scale - 0.5 + self.content[:2]
        return mapped

    def to_image(self, points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Maps (..., 2) points from network pixels to frame pixels; the inverse of `to_network`."""
        mapped: NDArray[np.float64] = (points_xy + 0.5 - self.content[:2]) / self.scale - 0.5
        return mapped

    @property
    def halvings(self) -> int:
        """How often both sides can be halved without falling below the content's size."""
        _, _, width, height = self.content
        return int(math.log2(max(1.0, min(self.image_width / width, self.image_height / height))))

    @property
    def kept(self) -> tuple[int, int]:
        """Width and height that halve without a rest; the few columns and rows beyond them are not looked at.

        Averaging blocks that do not divide the frame is slow, and padding would invent pixels.
        """
        block = 2**self.halvings
        return self.image_width // block * block, self.image_height // block * block
