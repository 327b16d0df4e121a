"""Grey images from decoded video frames, by the luma plane where there is one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

if TYPE_CHECKING:
    from av import VideoFrame
    from numpy.typing import NDArray

_LUMA_FIRST = re.compile(r"(yuva?\d{3}p|yuvj\d{3}p|nv12|nv21|nv16|nv24|nv42|gray)(\d+)?(?:le)?")
"""Formats whose first plane is luma, in bytes or in the low bits of little-endian 16-bit words."""

_LIMITED, _FULL = 1, 2  # AVCOL_RANGE_MPEG, AVCOL_RANGE_JPEG


def grey_image(picture: VideoFrame) -> NDArray[np.uint8]:
    """Grey levels of a decoded picture, (H, W), where 0 is black and 255 white.

    Convention: luma of limited range (16 to 235 in 8 bits, 64 to 940 in 10) is stretched to 0 to 255 and
    clipped; full range of more than 8 bits is scaled down; 8 bits of full range are the decoder's own memory,
    not copied. YUV counts as limited unless its format or its flag says full, gray as full unless its flag
    says limited. RGB, palettes and packed YUV go through swscale: BT.601 luma, 0.299 R + 0.587 G + 0.114 B.
    Worked values: limited 8-bit 16, 126, 235 become 0, 128, 255; pure green becomes 150.
    """
    name = picture.format.name
    match = _LUMA_FIRST.fullmatch(name)
    if match is None or picture.planes[0].line_size <= 0:  # a negative stride: rows stored bottom up
        return picture.reformat(format="gray").to_ndarray().astype(np.uint8, copy=False)
    bits = int(match[2] or 8)
    if name.startswith("gray"):
        is_full = picture.color_range != _LIMITED
    else:
        is_full = picture.color_range == _FULL or name.startswith("yuvj")
    return to_full_range(_first_plane(picture, bits), bits=bits, is_full=is_full)


def _first_plane(picture: VideoFrame, bits: int) -> NDArray[Any]:
    plane = picture.planes[0]
    dtype = np.dtype(np.uint8) if bits == 8 else np.dtype("<u2")
    memory = np.frombuffer(cast("memoryview[int]", plane), dtype)  # numpy keeps the picture alive
    return memory.reshape(plane.height, plane.line_size // dtype.itemsize)[:, : picture.width]


def to_full_range(luma: NDArray[np.uint8] | NDArray[np.uint16], *, bits: int, is_full: bool) -> NDArray[np.uint8]:
    """Luma of limited or full range as grey levels from 0 to 255; see `grey_image`."""
    if is_full:
        black, white = 0, (1 << bits) - 1
    else:
        black, white = 16 << (bits - 8), 235 << (bits - 8)
    if (black, white) == (0, 255):
        return luma.astype(np.uint8, copy=False)
    scale = 255 / (white - black)
    if bits == 8:  # both steps saturate, and both are done 32 pixels at a time: half the time of a table of 256 levels
        grey = np.empty(luma.shape, np.uint8)
        cv2.subtract(luma, black, dst=grey)  # type: ignore[call-overload]
        cv2.convertScaleAbs(grey, dst=grey, alpha=scale)
        return grey
    # The call takes absolute values, so what is blacker than black is lifted to black first.
    lifted = np.maximum(luma, black)
    return cv2.convertScaleAbs(lifted, alpha=scale, beta=-black * scale).astype(np.uint8, copy=False)


@dataclass(frozen=True, slots=True)
class DisplayTransform:
    """How a stored picture must be turned to be shown: first transposed, then mirrored."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture upright; the same array where there is nothing to turn."""
        if self == DisplayTransform():
            return image
        turned = image.T if self.transpose else image
        return np.ascontiguousarray(turned[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1])


def display_transform(picture: VideoFrame) -> DisplayTransform:
    """The turn that the recording's display matrix asks for, to the nearest quarter, mirrors included.

    Convention: the matrix (a b u; c d v; x y w) sends a stored point (p, q), q down, to
    (a p + c q, b p + d q). Worked value: a = d = 0, b = -1, c = 1 is a quarter turn counter-clockwise.
    """
    a, b, c, d = _display_matrix(picture)
    if abs(a) >= abs(c):
        return DisplayTransform(flip_x=a < 0, flip_y=d < 0)
    return DisplayTransform(transpose=True, flip_x=c < 0, flip_y=b < 0)


def _display_matrix(picture: VideoFrame) -> tuple[int, int, int, int]:
    try:
        matrix = picture.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV refuses the whole list when it does not know one kind in it, such as EXIF
        quarter = round(picture.rotation / 90) % 4
        return ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))[quarter]
    if matrix is None:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = np.frombuffer(cast("memoryview[int]", matrix), np.int32).tolist()
    return a, b, c, d
