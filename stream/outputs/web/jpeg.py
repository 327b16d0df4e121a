"""A frame as JPEG for the web page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LONGEST_SIDE_PX = 960
"""Pictures are shrunk to this."""
JPEG_QUALITY = 80


def encode_picture(image: NDArray[np.uint8], longest_side_px: int = LONGEST_SIDE_PX) -> bytes:
    """A grey picture (H, W) as JPEG, shrunk where its longer side has more pixels."""
    height, width = image.shape
    scale = min(1.0, longest_side_px / max(height, width))
    if scale < 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale > 0.5 else cv2.INTER_LINEAR)  # type: ignore[assignment]
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return encoded.tobytes()
