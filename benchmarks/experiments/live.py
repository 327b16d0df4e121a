"""Latency of live pictures over loopback: when read, and when measured.

    python -m benchmarks.experiments.live

A publisher in a process of its own draws numbered pictures at 25 Hz and says when it began; a picture's age is counted
from when it was drawn. OpenIGTLink is timed from the sender's `send` to the frame at 1920 x 1080. Writes
`results/live.json`.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from benchmarks.reporting.environment import write_result
from benchmarks.rig.publisher import number_of
from engines.registry import load_engine
from stream.common.channel import Overflow
from stream.common.clock import MonotonicClock
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import FrameState
from stream.preprocessing import FramePreprocessor, PreprocessingOptions
from stream.sources.live.igtl.protocol import pack_image
from stream.sources.live.igtl.source import open_igtl
from stream.sources.live.network import open_network

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stream.sources.live.base import LiveSource

RATE_HZ = 25.0
PICTURES, SETTLING = 150, 25
IGTL_PICTURES = 200


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


def shares(values_ms: Sequence[float]) -> dict[str, float]:
    """Percentiles of some delays."""
    found = {f"p{share}": round(float(np.percentile(values_ms, share)), 2) for share in (50, 95, 99)}
    return found | {"n": len(values_ms)}


def network_delay(uri: str, publish: str, options: Mapping[str, str], *, later_s: float = 0.0) -> dict[str, object]:
    """Ages of pictures in ms: when read, and when the pipeline gives their result."""
    source = open_network(uri, clock=MonotonicClock(), options=options)
    started: list[subprocess.Popen[str]] = []
    timer = threading.Timer(later_s, lambda: started.append(_publisher(publish)))
    timer.start()
    read_ns: list[tuple[int, int, int]] = []
    with Pipeline(
        source,
        load_engine(),
        overflow=Overflow.DROP_OLDEST,
        preprocessor=FramePreprocessor(PreprocessingOptions(sector="whole")),
    ) as pipeline:
        for measurement in pipeline:
            done_ns = time.monotonic_ns()
            frame = measurement.frame
            if measurement.state is not FrameState.DROPPED:
                read_ns.append((number_of(frame.image), frame.captured_ns, done_ns))
            if len(read_ns) == PICTURES:
                break
    timer.join()
    (process,) = started
    assert process.stdout is not None
    start_ns = int(process.stdout.readline())
    process.kill()
    process.communicate()
    kept = read_ns[SETTLING:]
    return {
        "read_ms": shares([(came - start_ns) / 1e6 - number / RATE_HZ * 1e3 for number, came, _ in kept]),
        "measured_ms": shares([(done - start_ns) / 1e6 - number / RATE_HZ * 1e3 for number, _, done in kept]),
    }


def igtl_delay() -> dict[str, float]:
    """From `send` of a 1920 x 1080 picture in another thread to the frame, in ms."""
    image = np.random.default_rng(0).integers(0, 255, (1080, 1920), np.uint8)
    message = pack_image(image, "Probe", spacing=None, timestamp_ns=0)
    sent_ns: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                for _ in range(IGTL_PICTURES):
                    time.sleep(1 / 30)
                    sent_ns.append(time.monotonic_ns())
                    connection.sendall(message)

        thread = threading.Thread(target=serve)
        thread.start()
        source = open_igtl(f"igtl://127.0.0.1:{listening.getsockname()[1]}", clock=MonotonicClock())
        came_ns = _arrivals(source, IGTL_PICTURES)
        thread.join()
    return shares([(came - sent) / 1e6 for came, sent in zip(came_ns, sent_ns, strict=True)][10:])


def _arrivals(source: LiveSource, count: int) -> list[int]:
    came_ns = []
    for frame in source:
        came_ns.append(frame.captured_ns)
        if len(came_ns) == count:
            break
    source.close()
    return came_ns


def _publisher(uri: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.rig.publisher", uri, "--rate", str(RATE_HZ), "--seconds", "60"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def main() -> None:
    """Measures and writes the result file."""
    ports = [free_port() for _ in range(3)]
    udp, http = f"udp://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}/stream.mjpg"
    rtsp = f"rtsp://127.0.0.1:{ports[2]}/live"
    results: dict[str, object] = {
        "motion JPEG by HTTP": network_delay(http, http, {}),
        "H.264 by MPEG-TS over UDP": network_delay(udp, f"{udp}?pkt_size=1316", {}),
        "H.264 by RTSP over TCP": network_delay(
            rtsp, rtsp, {"rtsp_flags": "listen", "listen_timeout": "10"}, later_s=1.0
        ),
        "OpenIGTLink, 1920 x 1080, read_ms": igtl_delay(),
    }
    path = write_result("live", results, command="python -m benchmarks.experiments.live")
    Console().print(results)
    Console().print(str(path))


if __name__ == "__main__":
    main()
