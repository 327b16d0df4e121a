"""What tests of a receiver share: its queue, what it says, and the answers to an object."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.receiver.queue import ReceivedQueue
from tests.fakes.dicom.archive import CommittingArchive, loop
from tests.fakes.dicom.receiver_parts import Times


@pytest.fixture
def queue(tmp_path: Path) -> ReceivedQueue:
    return ReceivedQueue(tmp_path / "out")


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    for seed, name in enumerate(("report", "segmentation"), 50):
        loop(folder, seed).rename(folder / f"{name}.dcm")
    return folder


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def archive() -> Iterator[CommittingArchive]:
    found = CommittingArchive(0)
    yield found
    found.server.shutdown()
