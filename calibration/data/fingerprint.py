"""Fingerprint (hash) of a data set's frames and labels."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from calibration.data.base import LabelledFrame


class Fingerprint:
    """A fingerprint that grows with every frame, so that frames need not be kept or read twice.

    It is the SHA-256 of each frame's name, group, split, plane label, landmarks, pixels and mask, in the
    order in which they are added; `look`, which only reports use, is left out.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, frame: LabelledFrame) -> None:
        """Takes in one frame."""
        words = [frame.name, frame.group, frame.split, frame.plane, sorted(frame.landmarks.items())]
        self._take(json.dumps(words).encode())
        self._take_pixels(frame.image)
        if frame.mask is None:
            self._take(b"")
        else:
            self._take_pixels(frame.mask)

    def hexdigest(self) -> str:
        """The fingerprint so far, 64 hexadecimal digits."""
        return self._hash.hexdigest()

    def _take_pixels(self, pixels: NDArray[np.uint8]) -> None:
        self._take(f"{pixels.shape}".encode() + pixels.tobytes())

    def _take(self, content: bytes) -> None:
        """Each part is led by its length, so that no two sequences of parts look the same."""
        self._hash.update(len(content).to_bytes(8, "big") + content)


def fingerprint(frames: Iterable[LabelledFrame]) -> str:
    """The fingerprint of a sequence of frames; see `Fingerprint`."""
    growing = Fingerprint()
    for frame in frames:
        growing.add(frame)
    return growing.hexdigest()
