"""`partum receive` in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tests.conftest import REPOSITORY
from tests.fakes.dicom.dcmtk import SCANNER, free_port

if TYPE_CHECKING:
    from pathlib import Path


class Receiver:
    """`partum receive` in a process; it listens by the time that it is made, or else it may still be starting."""

    def __init__(self, out: Path, *more: str, port: int = 0, listens: bool = True) -> None:
        self.port = port or free_port()
        arguments = ["--peer", f"{SCANNER}@127.0.0.1", "--bind", "127.0.0.1", "--port", str(self.port), "-o", str(out)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "partum", "receive", *arguments, "--jobs", "1", "--tables-only", *more],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = ""
        while listens and "listening" not in self.said:
            line = self.process.stdout.readline()
            assert line, self.said
            self.said += line

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=60)
        self.said += said
        return self.process.returncode


def wait_for_results(out: Path, count: int, receiver: Receiver) -> None:
    give_up = time.monotonic() + 120
    while len(list((out / ".queue" / "done").iterdir())) < count:
        assert time.monotonic() < give_up
        assert receiver.process.poll() is None
        time.sleep(0.01)
