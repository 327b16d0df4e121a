"""Scanner, receiver and archive as processes of their own, ended in the middle of what they do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

import av
import numpy as np
import pydicom
import pytest

from stream.sources.demo import DEMO_CLIP
from tests.conftest import REPOSITORY
from tests.fakes.dicom.dcmtk import call, free_port, held_after, tool
from tests.fakes.dicom.receiver_process import Receiver, wait_for_results
from tests.samples.dicom_files import native

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


@contextmanager
def archive(port: int, receiver: int, folder: Path) -> Iterator[None]:
    """An archive that stores, and commits to what it has."""
    command = [sys.executable, "-m", "tests.fakes.dicom.archive", str(port), str(receiver), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
        process.kill()


def test_what_was_being_sent_is_not_taken_and_what_was_taken_is_answered_once_and_committed_to(tmp_path: Path) -> None:
    tool("storescu")
    pytest.importorskip("highdicom")
    out, stored = tmp_path / "out", tmp_path / "archive"
    stored.mkdir()
    with av.open(str(DEMO_CLIP)) as clip:
        pictures = np.stack([each.to_ndarray(format="gray") for each in islice(clip.decode(video=0), 12)])
    uids = {name: pydicom.uid.generate_uid() for name in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")}
    loop = native(tmp_path / "loop.dcm", pictures, FrameTime=40, **uids)
    port, archive_port = free_port(), free_port()
    send_to = ("--send-to", f"ARCHIVE@127.0.0.1:{archive_port}")
    for number, code in ((signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)):
        receiver = Receiver(out, *send_to, port=port)
        with ThreadPoolExecutor(1) as pool, held_after(loop.stat().st_size // 2, port) as (gate, is_reached):
            scanner = pool.submit(call, "storescu", gate, loop)
            assert is_reached.wait(60)
            give_up = time.monotonic() + 60
            while not list((out / ".queue" / "arriving").iterdir()):  # what has passed is not yet read
                assert time.monotonic() < give_up
                time.sleep(0.01)
            assert receiver.end(number) == code
        assert scanner.result()[0] != 0, "the scanner knows that it must send it again"
        assert not list((out / ".queue" / "received").iterdir())
    with archive(archive_port, port, stored):
        receiver = Receiver(out, *send_to, port=port)
        assert not list((out / ".queue" / "arriving").iterdir())
        assert call("storescu", port, loop)[0] == 0
        log = stored / "log"
        give_up = time.monotonic() + 120
        while not log.exists():  # the archive has the first answer
            assert time.monotonic() < give_up
            time.sleep(0.01)
        receiver.end(signal.SIGKILL)
        receiver = Receiver(out, *send_to, port=port)
        wait_for_results(out, 1, receiver)
        assert call("storescu", port, loop)[0] == 0
        assert receiver.end(signal.SIGTERM) == 0
    sent = log.read_text().split()
    assert len(sent) - len(set(sent)) <= 1, "one that was being acknowledged when it was killed may come once more"
    assert len(set(sent)) >= 2
    assert len(list(out.glob("*/run.json"))) == 1
    assert not list((out / ".queue" / "outbox").iterdir())
