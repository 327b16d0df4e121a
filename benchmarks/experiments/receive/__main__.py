"""What `partum receive` costs, with DCMTK's `storescu` as the scanner.

    python -m benchmarks.experiments.receive

Frames of the demonstration clip as DICOM objects: stills and short loops one at a time, from the end of `storescu` to
the result; a hundred stills over one association and over four at once, while they are measured; and an uncompressed
loop of ten seconds. Objects are on the disk before they are acknowledged. Writes `results/receive.json`.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
from rich.console import Console

from benchmarks.errors import BenchError
from benchmarks.experiments.receive.objects import write_object
from benchmarks.reporting.environment import write_result
from engines.runtime import available_cores
from stream.sources.demo import DEMO_CLIP

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

STILLS, LOOPS, LOOP_FRAMES = 12, 5, 72
MANY, AT_ONCE = 100, 4
LARGE = (250, 768, 1024)
"""Frames, rows and columns: ten seconds in grey, 197 MB."""


class Scanner:
    """DCMTK's `storescu`, and the objects that it sends.

    Raises:
        BenchError: it is not installed.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self._tool, self._folder, self._port, self._made = _storescu(), folder, port, 0
        with av.open(str(DEMO_CLIP)) as clip:
            shown = [each.to_ndarray(format="gray") for each in islice(clip.decode(video=0), 120)]
        self.pictures: NDArray[Any] = np.stack(shown)

    def object(self, pixels: NDArray[Any]) -> Path:
        """A file of pictures (frames, rows, columns), uint8, with UIDs of its own."""
        self._made += 1
        path = self._folder / f"{self._made}.dcm"
        write_object(path, pixels)
        return path

    def send(self, files: Sequence[Path]) -> float:
        """Sends files over one association; returns how long that takes, in s."""
        start = time.perf_counter()
        where = ("-aet", "SCANNER", "-aec", "PARTUM", "127.0.0.1", str(self._port))
        subprocess.run([self._tool, *where, *map(str, files)], check=True, capture_output=True)
        return time.perf_counter() - start


class Receiver:
    """`partum receive` in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], out: Path) -> None:
        self._process, self._out = process, out

    @property
    def done(self) -> int:
        """How many objects have their result."""
        return len(list(self._out.glob("*/summary.json")))

    def wait_for(self, count: int) -> float:
        """Waits for so many results; returns how long that took, in s."""
        start = time.perf_counter()
        while self.done < count:
            if self._process.poll() is not None:
                raise BenchError("partum receive has ended; run it by itself to see why")
            time.sleep(0.005)
        return time.perf_counter() - start

    @property
    def peak_mb(self) -> float:
        """Memory that the process which receives has held at most, without those that measure."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
        raise BenchError("this system does not tell the memory of a process; run it on Linux")


@contextmanager
def receiving(out: Path, port: int) -> Iterator[Receiver]:
    """A receiver that listens, and has started what measures."""
    command = [sys.executable, "-m", "partum", "receive", "--peer", "SCANNER@127.0.0.1", "--bind", "127.0.0.1"]
    command += ["--port", str(port), "-o", str(out), "--tables-only"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            while "listening" not in (line := process.stdout.readline()):
                if not line:
                    raise BenchError("partum receive does not start; run it by itself to see why")
            yield Receiver(process, out)
        finally:
            process.terminate()


def from_last_byte_to_row(scanner: Scanner, receiver: Receiver, objects: Sequence[Path]) -> dict[str, float]:
    """How long results take after their objects were acknowledged, in s, each sent when the one before has its own."""
    times = []
    for each in objects:
        before = receiver.done
        scanner.send([each])
        times.append(receiver.wait_for(before + 1))
    return {"median_s": round(statistics.median(times), 3), "most_s": round(max(times), 3)}


def many(scanner: Scanner, receiver: Receiver, at_once: int) -> dict[str, float]:
    """Stills over associations side by side, while they are measured."""
    files = [scanner.object(scanner.pictures[[number]]) for number in range(MANY)]
    before, start = receiver.done, time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(scanner.send, [files[number::at_once] for number in range(at_once)]))
    stored_s = time.perf_counter() - start
    receiver.wait_for(before + MANY)
    done_s = time.perf_counter() - start
    return {
        "associations": at_once,
        "stored_per_s": round(MANY / stored_s, 1),
        "measured_per_s": round(MANY / done_s, 1),
    }


def measure(folder: Path) -> dict[str, Any]:
    """All of it, in an empty folder."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = int(unused.getsockname()[1])
    scanner = Scanner(folder, port)
    frames, rows, columns = LARGE
    with receiving(folder / "out", port) as receiver:
        scanner.send([scanner.object(scanner.pictures[:1])])
        receiver.wait_for(1)
        found: dict[str, Any] = {"cores": available_cores(), "peak_mb_at_first": receiver.peak_mb}
        stills = [scanner.object(scanner.pictures[[number]]) for number in range(1, STILLS + 1)]
        loops = [scanner.object(scanner.pictures[number : number + LOOP_FRAMES]) for number in range(LOOPS)]
        found["a still"] = from_last_byte_to_row(scanner, receiver, stills)
        found[f"a loop of {LOOP_FRAMES} frames"] = from_last_byte_to_row(scanner, receiver, loops)
        found["stills"] = [many(scanner, receiver, at_once) for at_once in (1, AT_ONCE)]
        found["peak_mb_before_large"] = receiver.peak_mb
        repeated = [scanner.pictures[number % len(scanner.pictures)] for number in range(frames)]
        large = scanner.object(np.stack([cv2.resize(each, (columns, rows)) for each in repeated]))
        size_mb, before = large.stat().st_size / 1e6, receiver.done
        stored_s = scanner.send([large])
        found["large"] = {"mb": round(size_mb), "mb_per_s": round(size_mb / stored_s), "peak_mb": receiver.peak_mb}
        found["large"]["measured_after_s"] = round(receiver.wait_for(before + 1), 1)
    return found


def _storescu() -> str:
    """The path of DCMTK's tool; pynetdicom installs another one by the same name."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = shutil.which("storescu", path=folder)
        if path and b"dcmtk" in subprocess.run([path, "--version"], capture_output=True, check=False).stdout:
            return path
    raise BenchError("storescu is not installed; install DCMTK (Debian's dcmtk)")


def main() -> None:
    """Measures, and writes the result."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    Console(stderr=True).print(found)
    write_result("receive", found, command="python -m benchmarks.experiments.receive")


if __name__ == "__main__":
    main()
