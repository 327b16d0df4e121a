"""What is passed on of a source's picture: a window of it, the sector's pixels alone, without the text in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.preprocessing.text_masking import mask_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from stream.frames.regions import Box


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class View:
    """How a picture is cut and masked; holds for the pictures from one change of sector or text to the next.

    Attributes:
        window: left, top, width and height of what is cut out.
        inside: (height, width) uint8, 255 where the window shows the sector.
        text: boxes in the window that are masked.
    """

    window: Box
    inside: NDArray[np.uint8]
    text: Sequence[Box]

    def cut(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The window of a picture."""
        left, top, width, height = self.window
        return image[top : top + height, left : left + width]

    def sector_of(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The sector's pixels of a picture, in memory of their own."""
        return np.asarray(cv2.bitwise_and(self.cut(image), self.inside), np.uint8)

    def of(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What is passed on of a picture."""
        shown = self.sector_of(image)
        mask_text(shown, self.text)
        return shown

    def is_like(self, other: View) -> bool:
        """Whether it shows the same of any picture."""
        return self.inside is other.inside and self.window == other.window and list(self.text) == list(other.text)
