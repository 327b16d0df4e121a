"""Capture devices of this machine: V4L2 cards and cameras, the X11 screen."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from engines.redaction import redact
from stream.common.errors import OptionError
from stream.sources.live.base import LiveSource
from stream.sources.live.network import NetworkFeed
from stream.sources.live.v4l2 import CaptureRequest, V4l2Feed

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from stream.common.clock import Clock
    from stream.frames.frame import PixelSpacing
    from stream.sources.live.base import Feed

_SCREEN = re.compile(r"(?P<display>:\d+(\.\d+)?)?/?(?P<region>(?<!\d)\d+x\d+\+\d+\+\d+)?")
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
CODES: Mapping[str, str] = {
    "": "",
    "mjpeg": "MJPG",
    "yuyv422": "YUYV",
    "uyvy422": "UYVY",
    "nv12": "NV12",
    "gray": "GREY",
}
"""Formats by FFmpeg's names, as V4L2 writes them."""
RATE_HZ = 30


def open_device(uri: str, *, clock: Clock, spacing: PixelSpacing | None = None) -> LiveSource:
    """A live source of this machine.

    Args:
        uri: `v4l2:/dev/video0[?size=1920x1080&rate=60&format=mjpeg]`, or `screen:[:0][/][1280x960+100+50]`, a display
            (default: that of the environment, `$DISPLAY`) and a region of it.
        clock: stamps the frames.
        spacing: mm per pixel.

    Raises:
        OptionError: the address does not read so.
    """
    shown = redact(uri)
    scheme, _, rest = uri.partition(":")
    connect: Callable[[threading.Event], Feed]
    if scheme == "screen":
        address, options = _screen(rest)

        def connect(cancelled: threading.Event) -> Feed:
            return NetworkFeed(address, options, clock, cancelled, file_format="x11grab", name=shown)
    else:
        path, wanted = _v4l2(rest)

        def connect(cancelled: threading.Event) -> Feed:
            return V4l2Feed(path, wanted, clock, cancelled)

    return LiveSource(shown, kind=scheme, connect=connect, clock=clock, spacing=spacing, address=uri)


def _screen(rest: str) -> tuple[str, Mapping[str, str]]:
    match = _SCREEN.fullmatch(rest)
    if match is None:
        shown = redact(f"screen:{rest}")
        raise OptionError(f"{shown}: write screen:, screen::1, screen:1280x960+100+50, or screen::1/1280x960+100+50")
    display = match["display"] or os.environ.get("DISPLAY") or ":0"
    address, options = display, {"framerate": str(RATE_HZ), "draw_mouse": "0"}
    if match["region"]:
        size, left, top = match["region"].split("+")
        address, options["video_size"] = f"{address}+{left},{top}", size
    return address, options


def _v4l2(rest: str) -> tuple[str, CaptureRequest]:
    shown = redact(f"v4l2:{rest}")
    path, _, query = rest.partition("?")
    given = dict(part.partition("=")[::2] for part in query.split("&") if part)
    size = _SIZE.fullmatch(given.pop("size", "0x0"))
    code = CODES.get(given.pop("format", "").lower())
    try:
        rate_hz = float(given.pop("rate", 0))
    except ValueError:
        rate_hz = -1.0
    if given or size is None or code is None or not 0 <= rate_hz <= 1000 or not path:
        raise OptionError(
            f"{shown}: write v4l2:/dev/video0, with ?size=1920x1080&rate=60&format=mjpeg as needed; formats are"
            f" {', '.join(name for name in CODES if name)}"
        )
    if not Path(path).exists():
        raise OptionError(f"{shown}: there is no such device; ls /dev/video* shows those there are")
    return path, CaptureRequest(width=int(size[1]), height=int(size[2]), rate_hz=rate_hz, code=code)
