"""What is mutated: a format is a function that makes sound inputs, and one that reads an input to its end.

To add a format: a row in `FORMATS`.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.fuzz import dicom_seeds, seeds
from stream.common.clock import MonotonicClock
from stream.common.errors import SourceUnreadable
from stream.preprocessing.options import read_profile
from stream.sources import open_source
from stream.sources.files.masks import read_mask
from stream.sources.live.igtl.source import IgtlFeed
from stream.sources.live.rtsp.source import RtspFeed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of input.

    Attributes:
        seeds: makes sound inputs, the same at every call.
        read: reads one input to its end in an empty folder of its own, and returns how many pictures (or messages,
            or settings) it held. It may raise a `PartumError` and nothing else.
        mend: makes the check sums of a mutated input right again, so that what lies behind them is reached; used on
            every second case.
    """

    seeds: Callable[[], Sequence[bytes]]
    read: Callable[[bytes, Path], int]
    mend: Callable[[bytes], bytes] | None = None


def count_frames(path: Path) -> int:
    """Opens a recording as the command line does, and reads it to its end."""
    with open_source(str(path)) as source:
        return sum(1 for _ in source)


def as_file(name: str, *, beside: dict[str, Callable[[], bytes]] | None = None) -> Callable[[bytes, Path], int]:
    """Reads the input as a recording of that file name, with other files `beside` it."""

    def read(data: bytes, folder: Path) -> int:
        (folder / name).write_bytes(data)
        for other, content in (beside or {}).items():
            (folder / other).write_bytes(content())
        return count_frames(folder / name)

    return read


def in_folder(name: str, *, beside: dict[str, Callable[[], bytes]]) -> Callable[[bytes, Path], int]:
    """Reads a folder, in which the input is one of several files."""

    def read(data: bytes, folder: Path) -> int:
        (folder / name).write_bytes(data)
        for other, content in beside.items():
            (folder / other).write_bytes(content())
        return count_frames(folder)

    return read


def _mask(suffix: str) -> Callable[[bytes, Path], int]:
    def read(data: bytes, folder: Path) -> int:
        path = folder / f"mask{suffix}"
        path.write_bytes(data)
        return int(read_mask(path).max())

    return read


def _profile(data: bytes, folder: Path) -> int:
    path = folder / "profile.toml"
    path.write_bytes(data)
    read_profile(path)
    return 1


def _openigtlink(data: bytes, folder: Path) -> int:
    """Reads the input as what a peer sends before it goes."""
    ours, theirs = socket.socketpair()
    sender = threading.Thread(target=_send, args=(theirs, data))
    sender.start()
    feed = IgtlFeed(ours, "igtl://peer", "Probe", MonotonicClock(), threading.Event())
    try:
        return sum(1 for _ in feed)
    finally:
        feed.close()
        sender.join()


def _rtsp(data: bytes, folder: Path) -> int:
    """Reads the input as all that an RTSP server says, from its first answer on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=_answer, args=(server, data))
        answering.start()
        found: list[object] = []
        try:
            feed = RtspFeed(f"rtsp://127.0.0.1:{server.getsockname()[1]}/live", MonotonicClock(), threading.Event())
            found.extend(feed)
        except SourceUnreadable as error:
            if not found or not str(error).endswith("the server ended the session"):
                raise
        finally:
            answering.join()
        return len(found)


def _answer(server: socket.socket, data: bytes) -> None:
    connection, _ = server.accept()
    with connection, suppress(OSError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):  # a reset would throw away what the reader has not read yet
            pass


def _send(connection: socket.socket, data: bytes) -> None:
    with connection, suppress(OSError):  # the reader may have had enough
        connection.sendall(data)


FORMATS: dict[str, Format] = {
    "mp4": Format(seeds.mp4, as_file("a.mp4")),
    "mkv": Format(seeds.mkv, as_file("a.mkv")),
    "avi": Format(seeds.avi, as_file("a.avi")),
    "ts": Format(seeds.ts, as_file("a.ts")),
    "gif": Format(seeds.gif, as_file("a.gif")),
    "png": Format(seeds.png, as_file("a.png"), seeds.with_png_sums),
    "png-folder": Format(seeds.png, in_folder("2.png", beside={"1.png": seeds.one_png, "3.png": seeds.one_png})),
    "jpeg": Format(seeds.jpeg, as_file("a.jpg")),
    "tiff": Format(seeds.tiff, as_file("a.tif")),
    "pnm": Format(seeds.pnm, as_file("a.pgm")),
    "webp": Format(seeds.webp, as_file("a.webp")),
    "nrrd": Format(seeds.nrrd, as_file("a.nrrd")),
    "mha": Format(seeds.mha, as_file("a.mha")),
    "mhd": Format(seeds.mhd, as_file("a.mhd", beside={"a.raw": seeds.raw})),
    "dicom": Format(dicom_seeds.dicom, as_file("a.dcm")),
    "dicom-folder": Format(dicom_seeds.dicom, in_folder("2", beside={"1": dicom_seeds.one_file})),
    "dicomdir": Format(
        dicom_seeds.dicomdir,
        in_folder("DICOMDIR", beside={"A": dicom_seeds.one_file, "B": dicom_seeds.one_file}),
    ),
    "zip": Format(seeds.zip_archive, as_file("a.zip")),
    "recording": Format(seeds.recording_lines, in_folder("frames.jsonl", beside={"0000.nut": seeds.one_nut})),
    "nut": Format(seeds.nut, in_folder("0000.nut", beside={"frames.jsonl": seeds.recording_index})),
    "mask-png": Format(seeds.mask_png, _mask(".png"), seeds.with_png_sums),
    "mask-mha": Format(seeds.mask_mha, _mask(".mha")),
    "profile": Format(seeds.profile, _profile),
    "rtsp": Format(seeds.rtsp, _rtsp),
    "igtl": Format(seeds.openigtlink, _openigtlink),
}
