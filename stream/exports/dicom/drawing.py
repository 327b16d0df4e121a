"""A frame drawn with its reading, for a Secondary Capture that people look at."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.exports.dicom.captures import NOTICE
from stream.labour.run_masks import mask_in_frame
from stream.measurement.biometry import Landmarks, Outlines
from stream.measurement.contours import largest_contour
from stream.outputs.pictures.drawing import PICTURE_PX, paint_landmarks, paint_outlines, paint_picture
from stream.outputs.pictures.text import draw_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from stream.exports.summary import ExportedFrame
    from stream.frames.frame import Frame
    from stream.labour.run_masks import RunMasks

TEXT_PX, LINE_PX, CAPTION_PX = 15, 20, 128
WHITE = (255, 255, 255)
NAMES = {"aop": "AoP", "hsd_min": "HSD, shortest", "hsd_perp": "HSD, infrapubic line"}
UNITS = {"deg": "\N{DEGREE SIGN}", "mm": " mm", "px": " px"}


def full_mask(masks: dict[int, RunMasks], index: int, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """The mask of a frame at its own pixels; None where it was not kept."""
    return mask_in_frame(masks[index][index], (shape[0], shape[1])) if index in masks else None


def drawn_frame(
    frame: Frame, numbers: ExportedFrame, mask: NDArray[np.uint8] | None, *, is_mirrored: bool
) -> NDArray[np.uint8]:
    """The frame with its outlines, the lines of its reading and, below it, the values, RGB."""
    canvas = np.zeros((PICTURE_PX + CAPTION_PX, PICTURE_PX, 3), np.uint8)
    view = paint_picture(canvas, frame)
    if mask is not None:
        paint_outlines(canvas, Outlines(partial(_outline, mask)), view)
    points = numbers.landmarks
    if {"ps_superior", "ps_inferior", "tangent"} <= points.keys():
        landmarks = Landmarks(
            ps_superior=points["ps_superior"],
            ps_inferior=points["ps_inferior"],
            tangent=points["tangent"],
            hsd_min_foot=points.get("hsd_min_foot"),
            hsd_perp_foot=points.get("hsd_perp_foot"),
        )
        paint_landmarks(canvas, landmarks, view, is_mirrored=is_mirrored)
    for number, line in enumerate((*_caption(numbers), NOTICE)):
        draw_text(canvas, line, (8, PICTURE_PX + 6 + LINE_PX * number), TEXT_PX, WHITE)
    return np.asarray(cv2.cvtColor(canvas, cv2.COLOR_BGR2RGB), np.uint8)


def _outline(mask: NDArray[np.uint8], code: int) -> NDArray[np.float32]:
    contour = largest_contour(mask == code)
    return np.empty((0, 2), np.float32) if contour is None else np.asarray(contour, np.float32)


def _caption(numbers: ExportedFrame) -> Iterator[str]:
    """The tracked values with their 95 % intervals; without one, the frame's own reading."""
    yield f"Frame {numbers.index}, {numbers.time_s:.1f} s, {numbers.role}"
    for quantity in numbers.quantities:
        if quantity.name in NAMES:
            unit = UNITS[quantity.unit]
            bounds = {"absolute": quantity.absolute, "repeatability": quantity.repeatability}
            said = [f"{kind} {ends[0]:.1f} to {ends[1]:.1f}{unit}" for kind, ends in bounds.items() if ends]
            intervals = f"  (95 %: {'; '.join(said)})" if said else ""
            yield f"{NAMES[quantity.name]} {quantity.value:.1f}{unit}{intervals}"
    if not any(quantity.name == "aop" for quantity in numbers.quantities):
        raw = next(quantity for quantity in numbers.quantities if quantity.name == "aop_raw")
        yield f"AoP, this frame alone {raw.value:.1f}{UNITS['deg']}"
