"""Signatures of training frames: small thumbnails that recognise a frame or its near copy.

A signature is a frame's whole thumbnail (`calibration.data.groups`) in 31 levels, spaced by the square root, about
100 bytes packed. Of 979 PSFHS frames, each compared with all others, 997 in 1000 are told as from the thumbnails.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import TYPE_CHECKING

import numpy as np

from calibration.data.groups import ALIKE, COPY, THUMBNAIL_PX, frame_signatures
from calibration.errors import DataSetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = 15
"""Levels of each sign."""
_VALUES = THUMBNAIL_PX**2


def pack_signatures(thumbnails: NDArray[np.float32]) -> str:
    """Whole thumbnails (n, 256), the first of `frame_signatures`, as text; nearly restored by `unpack_signatures`."""
    greatest = np.abs(thumbnails).max(axis=1, keepdims=True)
    share = np.divide(np.abs(thumbnails), greatest, out=np.zeros_like(thumbnails), where=greatest > 0)
    levels = np.round(np.sign(thumbnails) * np.sqrt(share) * LEVELS).astype(np.int8)
    return base64.b64encode(zlib.compress(np.unique(levels, axis=0).tobytes(), 9)).decode("ascii")


def unpack_signatures(signatures: str) -> NDArray[np.float32]:
    """Thumbnails (n, 256), each of length 1, or 0 where flat.

    Raises:
        DataSetError: the text is not one of `packed`.
    """
    try:
        content = zlib.decompress(base64.b64decode(signatures, validate=True))
    except (binascii.Error, ValueError, zlib.error) as error:
        raise DataSetError(f"the signatures of a model's training frames are damaged ({error})") from error
    if len(content) % _VALUES:
        raise DataSetError(f"the signatures of a model's training frames are damaged ({len(content)} bytes)")
    levels = np.frombuffer(content, np.int8).reshape(-1, _VALUES).astype(np.float32) / LEVELS
    values = np.sign(levels) * levels**2
    length = np.linalg.norm(values, axis=1, keepdims=True)
    found: NDArray[np.float32] = np.divide(values, length, out=np.zeros_like(values), where=length > 0)
    return found


class TrainingFrames:
    """What a model was trained on, to ask whether a frame was among it.

    Args:
        signatures: of `packed`.

    Raises:
        DataSetError: they are damaged.
    """

    def __init__(self, signatures: str) -> None:
        self._thumbnails = unpack_signatures(signatures)

    def __len__(self) -> int:
        return len(self._thumbnails)

    def holds(self, image: NDArray[np.uint8]) -> bool:
        """Whether a frame, (H, W), or one nearly the same, was trained on; never so of a picture of one grey level.

        Nearly the same is what `calibration.data.groups` says: alike as a whole, or a copy that was mirrored, or
        freed of black borders.
        """
        signatures = frame_signatures(image)
        if (self._thumbnails @ signatures[0] >= ALIKE).any():
            return True
        mirrored = signatures.reshape(-1, THUMBNAIL_PX, THUMBNAIL_PX)[..., ::-1].reshape(signatures.shape)
        return bool((self._thumbnails @ np.concatenate([signatures, mirrored]).T >= COPY).any())


def join_signatures(*signatures: str) -> str:
    """The signatures of several trainings as one."""
    return pack_signatures(np.concatenate([unpack_signatures(each) for each in signatures]))
