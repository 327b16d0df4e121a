"""DICOM files as sources of frames: their pieces found, read in order, and never held in memory."""

from __future__ import annotations

import io
import itertools
import shutil
import threading
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.pixels.utils import pixel_array

from stream.common.clock import ManualClock
from stream.sources.files.dicom.frames import Fragments, FragmentStream, Span
from stream.sources.files.dicom.source import DicomSource
from tests.samples.dicom_files import (
    CODED,
    GREY,
    SHAPE,
    encapsulated,
    is_equal,
    jpeg,
    native,
    one_of,
    open_source,
    read,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_frames_are_numbered_read_only_and_stamped(tmp_path: Path) -> None:
    clock = ManualClock(start_ns=7)
    with DicomSource(native(tmp_path / "a.dcm", GREY), clock=clock) as source:
        info = source.info
        frames = list(source)
    assert (info.kind, info.width, info.height, info.frame_count) == ("dicom", 32, 24, 6)
    assert info.uri == str(tmp_path / "a.dcm")
    assert [frame.index for frame in frames] == list(range(6))
    assert all(not frame.image.flags.writeable and frame.captured_ns == 7 for frame in frames)
    assert all(later.pts > earlier.pts for earlier, later in itertools.pairwise(frames))


def test_a_single_frame_is_a_recording_of_one(tmp_path: Path) -> None:
    path = native(tmp_path / "a.dcm", GREY[:1], NumberOfFrames=None)
    with open_source(path) as source:
        assert source.info.frame_count == 1
        assert np.array_equal(next(iter(source)).image, GREY[0])


@pytest.mark.parametrize("kind", ["native", "coded", "video"])
def test_reading_is_repeatable_and_close_ends_it(tmp_path: Path, kind: str) -> None:
    path = one_of(tmp_path, kind)
    first, second = read(path), read(path)
    assert len(first) == 6
    assert is_equal(first, second)
    source = open_source(path)
    frames = iter(source)
    kept = next(frames)
    closer = threading.Thread(target=source.close)
    closer.start()
    closer.join(timeout=10)
    assert not closer.is_alive()
    assert list(frames) == []
    assert list(source) == []
    source.close()
    assert np.array_equal(kept.image, first[0].image)


@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize("has_table", [True, False])
def test_fragments_find_their_frames(tmp_path: Path, fragments: int, has_table: bool) -> None:
    path = encapsulated(tmp_path / "a.dcm", CODED, SHAPE, fragments=fragments, has_table=has_table)
    plain = encapsulated(tmp_path / "b.dcm", CODED, SHAPE)
    assert is_equal(read(path), read(plain))
    one = encapsulated(tmp_path / "c.dcm", CODED[:1], SHAPE, fragments=fragments, has_table=has_table)
    assert is_equal(read(one), read(plain)[:1])


@pytest.mark.parametrize("fragments", [1, 3])
def test_a_wrong_offset_table_does_not_mislead(tmp_path: Path, fragments: int) -> None:
    good = encapsulated(tmp_path / "a.dcm", CODED, SHAPE, fragments=fragments)
    dataset = dcmread(good)
    table = np.frombuffer(dataset.PixelData, "<u4", 6, 8)
    for wrong in (table + 2, np.zeros(6, "<u4"), table[::-1], np.full(6, 0xFFFFFFFF, "<u4")):
        dataset.PixelData = dataset.PixelData[:8] + wrong.astype("<u4").tobytes() + dataset.PixelData[32:]
        dataset.save_as(tmp_path / "b.dcm")
        assert is_equal(read(tmp_path / "b.dcm"), read(good))


def test_an_extended_offset_table_serves_as_well(tmp_path: Path) -> None:
    good = encapsulated(tmp_path / "a.dcm", CODED, SHAPE, fragments=3)
    dataset = dcmread(good)
    table = np.frombuffer(dataset.PixelData, "<u4", 6, 8)
    dataset.ExtendedOffsetTable = table.astype("<u8").tobytes()
    dataset.ExtendedOffsetTableLengths = np.zeros(6, "<u8").tobytes()
    dataset.PixelData = dataset.PixelData[:4] + bytes(4) + dataset.PixelData[32:]
    dataset.save_as(tmp_path / "b.dcm")
    assert is_equal(read(tmp_path / "b.dcm"), read(good))


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(0, 40), max_size=6),
    moves=st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.integers(-50, 250), st.integers(-1, 90)), max_size=12),
)
def test_fragments_read_and_seek_as_one_file(lengths: list[int], moves: list[tuple[int, int, int]]) -> None:
    pieces = [bytes([65 + index]) * length for index, length in enumerate(lengths)]
    spans = [Span(10 + sum(lengths[:index]) + 8 * index, length) for index, length in enumerate(lengths)]
    file = io.BytesIO(bytes(10) + b"".join(piece + bytes(8) for piece in pieces))
    joined, stream = io.BytesIO(b"".join(pieces)), FragmentStream(file, Fragments(tuple(spans), None, True, ()))
    for whence, offset, size in moves:
        if whence or offset >= 0:
            assert stream.seek(offset, whence) == joined.seek(offset, whence)
        assert stream.read(size) == joined.read(size)
        assert stream.tell() == joined.tell()


@pytest.mark.parametrize("kind", ["native", "coded", "video"])
def test_files_without_preamble_or_meta_information_are_read(tmp_path: Path, kind: str) -> None:
    path = one_of(tmp_path, kind)
    expected = read(path)
    data = path.read_bytes()
    path.write_bytes(data[132:])
    assert is_equal(read(path), expected)
    if kind == "native":
        meta_bytes = 12 + dcmread(one_of(tmp_path, kind)).file_meta.FileMetaInformationGroupLength
        path.write_bytes(data[132 + meta_bytes :])
        assert is_equal(read(path), expected)


def test_a_large_recording_is_never_in_memory(tmp_path: Path) -> None:
    side, count = 1024, 80
    path = native(tmp_path / "a.dcm", np.zeros((1, side, side), np.uint8), NumberOfFrames=count)
    data = path.read_bytes()
    start = len(data) - side * side
    with path.open("r+b") as file:
        file.seek(start - 4)
        file.write((side * side * count).to_bytes(4, "little"))
        file.truncate(start + side * side * count)
    tracemalloc.start()
    try:
        with open_source(path) as source:
            assert sum(1 for _ in source) == count
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_large_coded_recording_is_never_in_memory(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024)).astype(np.uint8)
    coded = jpeg(noise)
    path = encapsulated(tmp_path / "a.dcm", [coded] * 40, (1024, 1024))
    assert path.stat().st_size > 30e6
    tracemalloc.start()
    try:
        with open_source(path) as source:
            assert sum(1 for _ in source) == 40
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_the_real_recording(shared_data: Path, tmp_path: Path) -> None:
    clip = shared_data / "clips" / "pydicom_examples_ybr_color_US30frames.dcm"
    path = tmp_path / "clip.dcm"
    shutil.copy(clip, path)
    with open_source(path) as source:
        frames, info = list(source), source.info
    assert (info.width, info.height, info.frame_count) == (320, 240, 30)
    assert [frame.pts for frame in frames] == [33333 * index for index in range(30)]
    decoded = pixel_array(path, raw=True)[..., 0].astype(int)
    assert max(np.abs(frame.image - decoded[frame.index]).max() for frame in frames) <= 1
    # Its region lies in 640 x 480, before the clip was made half as large: the scale would be wrong by two.
    assert info.spacing is None
    assert "reaches out of the picture" in info.note
