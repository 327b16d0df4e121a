"""`partum receive` as a scanner meets it: killed in between, it loses nothing and does nothing twice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pydicom
import pytest

from stream.sources.demo import DEMO_CLIP
from tests.conftest import REPOSITORY, catches
from tests.fakes.dicom.dcmtk import call, free_port, tool
from tests.fakes.dicom.receiver_process import Receiver, wait_for_results
from tests.samples.dicom_files import PATIENT, native, smooth

pytestmark = pytest.mark.slow


def test_what_was_acknowledged_is_measured_once_whatever_is_killed(tmp_path: Path) -> None:
    tool("storescu")
    out = tmp_path / "out"
    files = [native(tmp_path / f"{seed}.dcm", smooth(4, 64, 64, seed=seed)) for seed in range(3)]
    still = native(tmp_path / "still.dcm", smooth(1, 64, 64, seed=9))
    first = Receiver(out)
    for file in files:
        assert call("storescu", first.port, file)[0] == 0
    first.end(signal.SIGKILL)
    before = {path: path.stat().st_ino for path in out.glob("*/run.json")}
    assert len(list((out / ".queue" / "received").iterdir())) == 3
    second = Receiver(out)
    assert call("storescu", second.port, files[0])[0] == 0, "the scanner sends one once more"
    assert call("storescu", second.port, still)[0] == 0
    wait_for_results(out, 4, second)
    assert second.end(signal.SIGTERM) == 0
    runs = list(out.glob("*/run.json"))
    assert len(runs) == 4
    assert {path: path.stat().st_ino for path in before} == before
    assert len(re.findall("received ", second.said)) <= 4, "nothing was measured twice"
    said = first.said + second.said
    outside = [path for path in out.rglob("*") if path.is_file() and ".queue" not in path.parts]
    assert PATIENT not in said
    assert not [path for path in outside if PATIENT.encode() in path.read_bytes()]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_measured_loop_is_answered_in_its_study_whatever_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    out, archive, port = tmp_path / "out", tmp_path / "archive", free_port()
    archive.mkdir()
    with av.open(str(DEMO_CLIP)) as clip:
        pictures = np.stack([each.to_ndarray(format="gray") for each in islice(clip.decode(video=0), 12)])
    study, odd = pydicom.uid.generate_uid(), "1.2.826.0.1.04711"  # of a form that libraries warn of, and quote
    uids = {"SOPInstanceUID": pydicom.uid.generate_uid(), "SeriesInstanceUID": odd}
    loop = native(tmp_path / "loop.dcm", pictures, StudyInstanceUID=study, PatientID="04711", FrameTime=40, **uids)
    send_to = ("--send-to", f"ARCHIVE@127.0.0.1:{port}")
    first = Receiver(out, *send_to)
    assert call("storescu", first.port, loop)[0] == 0
    outbox = out / ".queue" / "outbox"
    give_up = time.monotonic() + 120
    while not list(outbox.glob("[!.]*/report.dcm")):
        assert time.monotonic() < give_up
        time.sleep(0.01)
    first.end(signal.SIGKILL)
    built = {pydicom.dcmread(file).SOPInstanceUID for file in outbox.glob("*/*.dcm")}
    command = [tool("storescp"), "-aet", "ARCHIVE", "-od", str(archive), str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        second = Receiver(out, *send_to)
        wait_for_results(out, 1, second)
        assert second.end(signal.SIGTERM) == 0
        process.kill()
    stored = [pydicom.dcmread(file) for file in archive.iterdir()]
    assert {each.SOPInstanceUID for each in stored} == built
    assert {each.StudyInstanceUID for each in stored} == {study}
    assert {"SR", "SEG"} <= {each.Modality for each in stored}
    assert len(list(out.glob("*/run.json"))) == 1
    assert "4711" not in first.said + second.said
    assert not list(outbox.iterdir())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_one_that_is_stopped_while_it_starts_ends_well(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path / "out", listens=False)
    give_up = time.monotonic() + 60
    while not catches(receiver.process.pid, signal.SIGTERM):
        assert time.monotonic() < give_up
        time.sleep(0.005)
    assert receiver.end(signal.SIGTERM) == 0, receiver.said
    assert "listening" not in receiver.said
    assert "Traceback" not in receiver.said


def test_nobody_may_send_without_being_named(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "partum", "receive", "-o", str(tmp_path)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.returncode == 2
    assert "--peer" in said.stderr
