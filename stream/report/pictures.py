"""Best frames, drawn with what they were measured by."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.outputs.pictures.drawing import PICTURE_PX, paint_landmarks, paint_outlines, paint_picture

if TYPE_CHECKING:
    from stream.frames.frame import Frame
    from stream.measurement.biometry import Landmarks, Outlines

JPEG_QUALITY = 88


def draw_frame(frame: Frame, landmarks: Landmarks | None, *, is_mirrored: bool, outlines: Outlines | None) -> str:
    """A frame with outlines and the lines of its reading, as a data URI of a JPEG."""
    canvas = np.zeros((PICTURE_PX, PICTURE_PX, 3), np.uint8)
    view = paint_picture(canvas, frame)
    if outlines is not None:
        paint_outlines(canvas, outlines, view)
    if landmarks is not None:
        paint_landmarks(canvas, landmarks, view, is_mirrored=is_mirrored)
    shown = canvas[view.top : view.top + view.height, view.left : view.left + view.width]
    _, data = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
