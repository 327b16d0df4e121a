"""Sources of frames, one module for each kind, and `open_source`, which tells the kinds apart.

The modules are imported when a source of their kind is opened, so that this package costs nothing to import.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from engines.redaction import looks_like_address, redact
from stream.common.clock import MonotonicClock
from stream.common.errors import OptionError, SourceNotFound, SourceUnreadable
from stream.common.text import did_you_mean
from stream.sources.files.kinds import SUPPORTED, VIDEO_SUFFIXES, SourceKind, kind_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from stream.common.clock import Clock
    from stream.frames.frame import PixelSpacing
    from stream.sources.base import FrameSource
    from stream.sources.live.base import LiveSource

__all__ = ["open_live", "open_source"]

NETWORK_SCHEMES = frozenset({"http", "https", "rtmp", "rtp", "rtsp", "rtsps", "tcp", "udp"})
DEVICE_SCHEMES = frozenset({"v4l2", "screen"})
NO_VIDEO = "it is no coded video"
LIVE_SCHEMES = NETWORK_SCHEMES | DEVICE_SCHEMES | {"igtl", "srt"}


def open_source(
    uri: str | Path, *, clock: Clock | None = None, spacing: PixelSpacing | None = None, decoder: str = "cpu"
) -> FrameSource:
    """Opens a recording or the phantom.

    Args:
        uri: a path, or `phantom:` with its options.
        clock: stamps the frames; the machine's monotonic clock where none is given.
        spacing: mm per pixel of the frames as shown; takes the place of what the source itself says.
        decoder: of video, `cpu`, or `cuda` and `cuda:1` for an NVIDIA GPU, which falls back on the CPU and says so.

    Raises:
        SourceNotFound: there is nothing at that path.
        SourceUnreadable: it is of no kind known here, damaged, or empty.
        SourceUnavailable: it needs an extra that is not installed.
        OptionError: it is a live feed, or the phantom's options are not valid.
    """
    if decoder == "cpu":
        return _open_source(os.fspath(uri), clock or MonotonicClock(), spacing, decoder)
    from stream.sources.decoding.acceleration import check_decoder, say_fallback  # PyAV, which a folder can do without

    source = _open_source(os.fspath(uri), clock or MonotonicClock(), spacing, check_decoder(decoder))
    if not source.info.decoder:
        say_fallback(source.info.uri, decoder, NO_VIDEO)
    return source


def _open_source(uri: str, clock: Clock, spacing: PixelSpacing | None, decoder: str) -> FrameSource:
    if not uri:
        raise SourceNotFound("the source's path is empty; give a file, a folder, or phantom:")
    scheme = uri.partition(":")[0].lower() if ":" in uri else ""
    if scheme == "phantom":
        return _open_phantom(uri, clock, spacing)
    if scheme in LIVE_SCHEMES:
        raise OptionError(f"{scheme}: is a live feed; watch it with: partum attach")
    if looks_like_address(uri) and not os.path.exists(uri):
        raise SourceNotFound(f"{redact(uri)}: no such file or folder.{_nearest(scheme, LIVE_SCHEMES | {'phantom'})}")
    return _open_path(Path(uri), clock, spacing, decoder)


def open_live(
    uri: str, *, clock: Clock | None = None, spacing: PixelSpacing | None = None, decoder: str = "cpu"
) -> LiveSource:
    """Opens a live feed; `stream.sources.live.base` connects it and connects it again.

    Args:
        uri: `rtsp://host/path`, `udp://@:5000`, `http://host/stream.mjpg`, `v4l2:/dev/video0`, `screen:` ...
        clock: stamps the frames; the machine's monotonic clock where none is given.
        spacing: mm per pixel of the frames.
        decoder: of network video, see `open_source`.

    Raises:
        OptionError: it is no live feed, or of a kind that this version cannot read.
    """
    from stream.sources.live.device import open_device
    from stream.sources.live.igtl.source import open_igtl
    from stream.sources.live.network import open_network

    if not uri:
        raise OptionError("the feed's address is empty; give one, for example rtsp://host/live")
    clock = clock or MonotonicClock()
    scheme = uri.partition(":")[0].lower() if ":" in uri else ""
    if scheme in NETWORK_SCHEMES:
        return open_network(uri, clock=clock, spacing=spacing, decoder=decoder)
    if decoder != "cpu" and scheme in DEVICE_SCHEMES | {"igtl"}:
        from stream.sources.decoding.acceleration import check_decoder, say_fallback

        say_fallback(redact(uri), check_decoder(decoder), NO_VIDEO)
    if scheme in DEVICE_SCHEMES:
        return open_device(uri, clock=clock, spacing=spacing)
    if scheme == "igtl":
        return open_igtl(uri, clock=clock, spacing=spacing)
    if scheme in LIVE_SCHEMES:
        raise OptionError(f"{scheme}: cannot be read by this version; partum sources lists what can")
    if re.fullmatch(r"/dev/video\d+", uri):
        raise OptionError(f"{uri}: a capture card or camera is watched as v4l2:{uri}")
    known = ", ".join(sorted(f"{name}:" for name in LIVE_SCHEMES - {"srt"}))
    named = uri if os.path.exists(uri) else redact(uri)
    nearest = _nearest(scheme, LIVE_SCHEMES)
    raise OptionError(
        f"{named}: is no live feed.{nearest} Give one of {known}; a recording is played by: partum replay"
    )


def _nearest(scheme: str, known: Collection[str]) -> str:
    """What was probably meant by a scheme that is not known, as words between two sentences."""
    return "" if scheme in known else did_you_mean(f"{scheme}:", [f"{name}:" for name in sorted(known)])


def _open_phantom(uri: str, clock: Clock, spacing: PixelSpacing | None) -> FrameSource:
    from stream.phantom.source import PhantomSource
    from stream.sources.wrappers import RespacedSource

    phantom = PhantomSource(uri, clock=clock)
    return RespacedSource(phantom, spacing=spacing) if spacing else phantom


def _open_path(path: Path, clock: Clock, spacing: PixelSpacing | None, decoder: str) -> FrameSource:
    kind = kind_of(path)
    if kind is SourceKind.IMAGES:
        from stream.sources.files.images.source import ImageFolderSource

        return ImageFolderSource(path, clock=clock, spacing=spacing)
    if kind is SourceKind.RECORDED:
        from stream.sources.recorded import RecordedSource

        return RecordedSource(path, clock=clock, spacing=spacing)
    if kind is SourceKind.DICOM:
        from stream.sources.files.dicom.folder import open_dicom_path

        return open_dicom_path(path, clock=clock, spacing=spacing)
    if kind is SourceKind.STACK:
        from stream.sources.files.volumes.source import StackSource

        return StackSource(path, clock=clock, spacing=spacing)
    if kind is SourceKind.ARCHIVE:
        from stream.sources.files.archive import ArchiveSource

        return ArchiveSource(path, open_path=lambda inside: _open_path(inside, clock, spacing, decoder))
    from stream.sources.files.video import VideoSource

    try:
        return VideoSource(path, clock=clock, spacing=spacing, decoder=decoder)
    except SourceUnreadable as error:
        if path.suffix.lower() in VIDEO_SUFFIXES:
            raise
        raise SourceUnreadable(f"{path}: of no kind that can be read; give {SUPPORTED}") from error
