"""Checks whether a JPEG is complete; decoders fill gaps silently."""

from __future__ import annotations

import simplejpeg

_START = b"\xff\xd8"


def is_whole(data: bytes) -> bool:
    """Whether every block of a baseline or progressive JPEG is there, its end marker and its restart markers in order.

    Bytes behind the end marker do not matter. JPEG has no checksum: a changed bit that leaves a valid code is not
    noticed, a lost or foreign stretch of bytes is.
    """
    if not data.startswith(_START):
        return False
    try:
        # libjpeg-turbo decodes all coefficients and counts what it had to mend; an eighth of the size saves the rest.
        simplejpeg.decode_jpeg(data, "GRAY", min_factor=8, strict=True)
    except ValueError:
        return False
    return True
