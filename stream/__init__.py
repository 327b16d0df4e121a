"""What happens to each frame, from capture to number to screen.

The names below are the public surface; they are imported when first used, so that `import stream` is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.biometry import Biometry, Landmarks, Reason
    from stream.channel import Channel, Overflow
    from stream.frame import Frame, PixelSpacing
    from stream.measurement import Measurement, State
    from stream.pipeline import Pipeline
    from stream.protocols import measure
    from stream.sources import open_source
    from stream.tracking import Estimate

_HOME = {
    "Biometry": "stream.biometry",
    "Channel": "stream.channel",
    "Estimate": "stream.tracking",
    "Frame": "stream.frame",
    "Landmarks": "stream.biometry",
    "Measurement": "stream.measurement",
    "Overflow": "stream.channel",
    "Pipeline": "stream.pipeline",
    "PixelSpacing": "stream.frame",
    "Reason": "stream.biometry",
    "State": "stream.measurement",
    "measure": "stream.protocols",
    "open_source": "stream.sources",
}

__all__ = [
    "Biometry",
    "Channel",
    "Estimate",
    "Frame",
    "Landmarks",
    "Measurement",
    "Overflow",
    "Pipeline",
    "PixelSpacing",
    "Reason",
    "State",
    "measure",
    "open_source",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'stream' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
