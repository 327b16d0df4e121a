"""A scanner that publishes H.264 by RTSP at its own pace, for as long as somebody reads."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any

import av

from stream.phantom.source import PhantomSource
from tests.conftest import REPOSITORY
from tests.fakes.rtsp_server import RtspServer, packets_of

if TYPE_CHECKING:
    from stream.common.clock import Clock

RATE_HZ = 25
COUNT = 50


@cache
def scanned(side: int = 256) -> tuple[bytes, ...]:
    """Two seconds of a phantom, a packet for each picture, the first of them a key picture."""
    from stream.common.clock import MonotonicClock

    clock: Clock = MonotonicClock()
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = side, side, "yuv420p"
    context.time_base, context.framerate, context.gop_size = Fraction(1, RATE_HZ), Fraction(RATE_HZ), RATE_HZ
    context.options = {"tune": "zerolatency", "preset": "ultrafast", "crf": "20"}
    packets: list[av.Packet[Any]] = []
    with PhantomSource(f"phantom:?seed=3&size={side}&rate={RATE_HZ}&duration={COUNT / RATE_HZ}", clock=clock) as source:
        for number, frame in enumerate(source):
            picture = av.VideoFrame.from_ndarray(frame.image, format="gray").reformat(format="yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, RATE_HZ)
            packets += context.encode(picture)
    return tuple(bytes(packet) for packet in [*packets, *context.encode(None)])


class PacedPackets(Sequence[bytes]):
    """RTP packets without end, each when it is due, to every reader from the beginning."""

    def __init__(self, pictures: Sequence[bytes]) -> None:
        self._packets = packets_of(pictures, "H264")
        self._count = len(pictures)

    def __len__(self) -> int:
        return len(self._packets)

    def __getitem__(self, index: object) -> Iterator[bytes]:  # type: ignore[override]
        """What `RtspServer` asks for: none before its answer, and all after it."""
        if isinstance(index, slice) and index.stop is not None:
            return
        began_s, sequence = time.monotonic(), 0
        for turn in range(1_000_000):
            for number, packet in self._packets:
                shown = turn * self._count + number
                time.sleep(max(0.0, began_s + shown / RATE_HZ - time.monotonic()))
                stamp = 90_000 // RATE_HZ * shown & 0xFFFF_FFFF
                yield packet[:2] + struct.pack(">HI", sequence & 0xFFFF, stamp) + packet[8:]
                sequence += 1


class PacedRtspServer:
    """Publishes from a process of its own until it is closed; `uri` may be read by several at once."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        port = int(self._process.stdout.readline())
        self.uri = f"rtsp://nurse:secret@127.0.0.1:{port}/live"

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


if __name__ == "__main__":
    server = RtspServer(PacedPackets(scanned()))
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    sys.stdin.read()  # the test has ended
    os._exit(0)
