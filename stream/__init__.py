"""The real-time pipeline: frames from a source to measurements and outputs, in the rooms of a frame's way.

The names below are the public surface; they are imported when first used, so that `import stream` is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.common.channel import Channel, Overflow
    from stream.frames.frame import Frame, PixelSpacing
    from stream.frames.reason import Reason
    from stream.measurement.biometry import Biometry, Landmarks
    from stream.measurement.protocols import measure
    from stream.pipeline.pipeline import Pipeline
    from stream.pipeline.record import FrameState, Measurement
    from stream.sources import open_source
    from stream.tracking.tracker import Estimate

_HOME = {
    "Biometry": "stream.measurement.biometry",
    "Channel": "stream.common.channel",
    "Estimate": "stream.tracking.tracker",
    "Frame": "stream.frames.frame",
    "Landmarks": "stream.measurement.biometry",
    "Measurement": "stream.pipeline.record",
    "Overflow": "stream.common.channel",
    "Pipeline": "stream.pipeline.pipeline",
    "PixelSpacing": "stream.frames.frame",
    "Reason": "stream.frames.reason",
    "FrameState": "stream.pipeline.record",
    "measure": "stream.measurement.protocols",
    "open_source": "stream.sources",
}

__all__ = [
    "Biometry",
    "Channel",
    "Estimate",
    "Frame",
    "FrameState",
    "Landmarks",
    "Measurement",
    "Overflow",
    "Pipeline",
    "PixelSpacing",
    "Reason",
    "measure",
    "open_source",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'stream' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
