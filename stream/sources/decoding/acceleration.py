"""Decoding on an NVIDIA GPU (NVDEC), where there is one and it takes the stream; on the CPU otherwise, said once.

Pictures come down to the host decoded: preprocessing looks at every one of them there. What the GPU's decoder conceals
inside a picture it does not tell; pictures and packets that are missing are told as they are on the CPU.
"""

from __future__ import annotations

import logging
import re
from functools import cache
from typing import TYPE_CHECKING

import av
import av.error
from av.codec.hwaccel import HWAccel

from stream.common.errors import OptionError

if TYPE_CHECKING:
    from av import VideoFrame

CPU, CUDA = "cpu", "cuda"
_NAME = re.compile(r"cpu|cuda(?::(\d{1,2}))?")
_FROM_GPU = frozenset({"nv12", "p010le", "p012le", "p016le", "nv16", "p210le", "p216le", "nv24", "yuv444p16le"})
"""Formats in which pictures come down from NVDEC; the CPU's decoders of the same codecs make planar ones."""

_log = logging.getLogger(__name__)


def check_decoder(name: str) -> str:
    """The name of a decoder: `cpu`, `cuda`, or `cuda:1` for another GPU.

    Raises:
        OptionError: it is none.
    """
    if _NAME.fullmatch(name) is None:
        raise OptionError(f"{name!r} is no decoder; give cpu, cuda, or cuda:1 for another GPU")
    return name


def acceleration(decoder: str, source: str) -> HWAccel | None:
    """What PyAV is given to decode by; None for the CPU, and where the GPU cannot be used, which is said.

    Args:
        decoder: a name that `check_decoder` takes.
        source: whom the words are about, as the user may see it.
    """
    match = _NAME.fullmatch(check_decoder(decoder))
    if decoder == CPU or match is None:
        return None
    made = HWAccel("cuda", device=match[1], allow_software_fallback=True)
    try:
        made.create(av.Codec("h264", "r"))  # asks the driver, before any packet is read
    except (av.error.FFmpegError, NotImplementedError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", "") or str(error)
        say_fallback(source, decoder, f"no NVIDIA GPU and driver can be used ({reason.lower()})")
        return None
    return made


def decoder_of(first: VideoFrame, wanted: str, source: str) -> str:
    """What the stream is really decoded by, by its first picture; where that is not what was wanted, it is said."""
    if wanted == CPU or first.format.name in _FROM_GPU:
        return wanted
    say_fallback(source, wanted, f"it does not take this stream ({first.format.name}, {first.width}x{first.height})")
    return CPU


@cache
def say_fallback(source: str, decoder: str, why: str) -> None:
    """Says once that the CPU decodes: a recording that is looped, or a feed that comes back, says it no second time."""
    _log.warning("%s: decoded on the CPU, not by %s: %s", source, decoder, why)
