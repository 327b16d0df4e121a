"""Recordings of our own, damaged on the disk."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from benchmarks.fuzz import seeds
from stream.common.errors import SourceTruncated, SourceUnreadable
from stream.frames.reason import Reason
from stream.preprocessing.recorded import RecordedPreprocessor
from stream.sources import open_source
from tests.samples.source_files import CLOCK, frames_of, frames_to_error

if TYPE_CHECKING:
    from pathlib import Path

UNSEEN = 2
"""The frame of the recording that has no picture: it was frozen."""


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    (tmp_path / "frames.jsonl").write_bytes(seeds.recording_index())
    (tmp_path / "0000.nut").write_bytes(seeds.one_nut())
    return tmp_path


def lines(recording: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (recording / "frames.jsonl").read_text().splitlines()]


def write_lines(recording: Path, objects: list[dict[str, Any]]) -> None:
    (recording / "frames.jsonl").write_text("".join(json.dumps(each) + "\n" for each in objects))


def test_a_whole_recording_is_played_whole(recording: Path) -> None:
    frames = frames_of(open_source(str(recording), clock=CLOCK))
    assert [frame.index for frame in frames] == list(range(seeds.COUNT))
    for frame in frames:
        if frame.index != UNSEEN:
            np.testing.assert_array_equal(frame.image, seeds.pictures()[frame.index])


def test_a_picture_that_changed_on_the_disk_is_refused(recording: Path) -> None:
    path = recording / "0000.nut"
    with av.open(str(path)) as container:
        sizes = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    data[(sizes[0][0] or 0) + sizes[0][1] * 2 // 3] ^= 0x55  # one bit in eight bytes, deep in the first picture
    path.write_bytes(data)
    with open_source(str(recording), clock=CLOCK) as source:
        frames = list(source)
    assert [frame.index for frame in frames if frame.refusal is Reason.DAMAGED][:1] == [0]
    assert len(frames) == seeds.COUNT
    preprocessor = RecordedPreprocessor(recording)
    assert preprocessor.process(frames[0])[1] is Reason.DAMAGED
    for frame in frames:
        if frame.refusal is None and frame.index != UNSEEN:
            np.testing.assert_array_equal(frame.image, seeds.pictures()[frame.index])


def test_fewer_pictures_than_lines(recording: Path) -> None:
    path = recording / "0000.nut"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    frames, error = frames_to_error(open_source(str(recording), clock=CLOCK))
    assert 0 < len(frames) < seeds.COUNT
    assert isinstance(error, SourceTruncated)


def test_more_pictures_than_lines(recording: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_lines(recording, lines(recording)[:-2])
    with caplog.at_level(logging.WARNING):
        assert len(frames_of(open_source(str(recording), clock=CLOCK))) == seeds.COUNT - 2
    assert "2 pictures of part 0 have no line" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        {"time_base": [1, 0]},
        {"time_base": [-1, 25]},
        {"index": 7},
        {"index": 0.5},
        {"part": -1},
        {"part": "0"},
        {"pixel_aspect": float("nan")},
        {"pixel_aspect": 90.0},
        {"spacing_mm": [9000, 9000]},
        {"spacing_mm": [0.2]},
        {"origin_px": [0]},
        {"sight": "beautiful"},
        {"segment": -3},
    ],
)
def test_lines_that_cannot_be_give_one_line(recording: Path, change: dict[str, Any]) -> None:
    header, *frames = lines(recording)
    write_lines(recording, [header, {**frames[0], **change}, *frames[1:]])
    with pytest.raises(SourceUnreadable, match=r"frames\.jsonl: is no recording that can be read") as caught:
        open_source(str(recording), clock=CLOCK)
    assert "\n" not in str(caught.value)
