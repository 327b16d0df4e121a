"""Pictures of this machine: a capture card or camera (V4L2), and the screen (X11)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from stream.errors import OptionError
from stream.sources.live import LiveSource
from stream.sources.network import NetworkFeed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream.clock import Clock
    from stream.frame import PixelSpacing

_SCREEN = re.compile(r"(?P<display>:\d+(\.\d+)?)?/?(?P<region>(?<!\d)\d+x\d+\+\d+\+\d+)?")
RATE_HZ = 30


def open_device(uri: str, *, clock: Clock, spacing: PixelSpacing | None = None) -> LiveSource:
    """A live source of this machine.

    Args:
        uri: `v4l2:/dev/video0[?size=1920x1080&rate=60&format=mjpeg]`, or `screen:[:0][/][1280x960+100+50]`, a display
            and a region of it.
        clock: stamps the frames.
        spacing: mm per pixel.

    Raises:
        OptionError: the address does not read so.
    """
    scheme, _, rest = uri.partition(":")
    if scheme == "screen":
        address, options = _screen(rest)
        file_format = "x11grab"
    else:
        address, options = _v4l2(rest)
        file_format = "v4l2"
    return LiveSource(
        uri,
        kind=scheme,
        connect=lambda cancelled: NetworkFeed(address, options, clock, cancelled, file_format=file_format),
        clock=clock,
        spacing=spacing,
    )


def _screen(rest: str) -> tuple[str, Mapping[str, str]]:
    match = _SCREEN.fullmatch(rest)
    if match is None:
        raise OptionError(
            f"screen:{rest}: write screen:, screen::1, screen:1280x960+100+50, or screen::1/1280x960+100+50"
        )
    address, options = match["display"] or ":0", {"framerate": str(RATE_HZ), "draw_mouse": "0"}
    if match["region"]:
        size, left, top = match["region"].split("+")
        address, options["video_size"] = f"{address}+{left},{top}", size
    return address, options


def _v4l2(rest: str) -> tuple[str, Mapping[str, str]]:
    path, _, query = rest.partition("?")
    given = dict(part.partition("=")[::2] for part in query.split("&") if part)
    names = {"size": "video_size", "rate": "framerate", "format": "input_format"}
    unknown = [name for name in given if name not in names]
    if unknown or not path:
        raise OptionError(f"v4l2:{rest}: write v4l2:/dev/video0, with ?size=1920x1080&rate=60&format=mjpeg as needed")
    if not Path(path).exists():
        raise OptionError(f"v4l2:{path}: there is no such device; ls /dev/video* shows those there are")
    return path, {names[name]: value for name, value in given.items()}
