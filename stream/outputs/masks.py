"""`masks.jsonl`: the mask of every frame that the network segmented, as it was measured, without loss.

    {"schema": "partum.masks/1", "notice": ..., "classes": ["background", "PS", "FH"]}
    {"index": 12, "labels_png": BASE64, "scale": [0.41, 0.41], "offset_px": [0.0, 22.0]}

The mask lies on the network's raster, as a PNG of 8 bits: x_mask = (x_frame + 0.5) * scale_x + offset_x - 0.5, likewise
y, in pixels of the frame of the record with that index.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from stream.inference.label_grid import FrameMask, LabelGrid
from stream.outputs.manifest import NOTICE
from stream.outputs.tables import LineWriter
from stream.outputs.threaded import ThreadedSink

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from stream.pipeline.record import Measurement

MASKS_NAME = "masks.jsonl"
MASKS_SCHEMA = "partum.masks/1"
CLASSES = ("background", "PS", "FH")
WAITING_FRAMES = 64


class MaskTable:
    """Writes the masks in a thread of its own.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._lines = LineWriter(path)
        self._lines.add(json.dumps({"schema": MASKS_SCHEMA, "notice": NOTICE, "classes": CLASSES}) + "\n")
        self._behind = ThreadedSink(path, "masks", self._write_all, waiting=WAITING_FRAMES)

    def write(self, measurement: Measurement) -> None:
        self._behind.write(measurement)

    def close(self) -> None:
        self._behind.close()

    def _write_all(self, measurements: Iterable[Measurement]) -> None:
        try:
            for measurement in measurements:
                if measurement.mask is not None:
                    self._lines.add(json.dumps(mask_line(measurement.frame.index, measurement.mask)) + "\n")
        finally:
            self._lines.close()


def mask_line(index: int, mask: FrameMask) -> dict[str, Any]:
    """The line of a frame's mask."""
    _, data = cv2.imencode(".png", mask.labels, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    return {
        "index": index,
        "labels_png": base64.b64encode(data.tobytes()).decode(),
        "scale": [mask.grid.scale_x, mask.grid.scale_y],
        "offset_px": [mask.grid.left, mask.grid.top],
    }


def read_mask_line(line: dict[str, Any]) -> FrameMask:
    """What `mask_line` wrote.

    Raises:
        ValueError: it is no such line.
    """
    try:
        data = np.frombuffer(base64.b64decode(line["labels_png"], validate=True), np.uint8)
        labels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        if labels is None:
            raise ValueError("is no picture")
        (scale_x, scale_y), (left, top) = line["scale"], line["offset_px"]
        grid = LabelGrid(
            width=labels.shape[1],
            height=labels.shape[0],
            scale_x=float(scale_x),
            scale_y=float(scale_y),
            left=float(left),
            top=float(top),
        )
    except (LookupError, TypeError, AttributeError, binascii.Error, cv2.error) as error:
        raise ValueError("is no mask") from error
    if labels.ndim != 2 or labels.dtype != np.uint8 or labels.max(initial=0) >= len(CLASSES):
        raise ValueError("its labels are not 0, 1 and 2")
    return FrameMask(labels=np.asarray(labels, np.uint8), grid=grid)
