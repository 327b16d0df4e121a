"""DICOM files that are cut, damaged or of the wrong kind: what is whole is read, the rest is told in one line."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import uid

from engines.errors import PartumError
from stream.common.errors import SourceNotFound, SourceTruncated, SourceUnavailable, SourceUnreadable
from stream.frames.reason import Reason
from tests.samples.dicom_files import (
    CODED,
    GREY,
    PATIENT,
    SHAPE,
    encapsulated,
    header,
    is_equal,
    jpeg_2000,
    native,
    one_of,
    open_source,
    read,
    smooth,
    video,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stream.frames.frame import Frame


def read_to_the_end(path: Path) -> tuple[list[Frame], str]:
    """The frames, and the message of the SourceTruncated behind them, "" where there is none."""
    frames: list[Frame] = []
    with open_source(path) as source:
        try:
            frames.extend(source)
        except SourceTruncated as error:
            return frames, str(error)
    return frames, ""


@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize("has_table", [True, False])
def test_a_cut_recording_gives_its_whole_frames_and_then_says_so(
    tmp_path: Path, fragments: int, has_table: bool
) -> None:
    path = encapsulated(tmp_path / "a.dcm", CODED, SHAPE, fragments=fragments, has_table=has_table)
    expected, data = read(path), path.read_bytes()
    start = data.index(CODED[0][:20])
    counts = []
    for end in range(start, len(data), 97):
        path.write_bytes(data[:end])
        frames, message = read_to_the_end(path)
        assert is_equal(frames, expected[: len(frames)])
        assert f"{len(frames)} of 6" in message or len(frames) == 6
        counts.append(len(frames))
    assert counts == sorted(counts)
    assert set(counts) >= {0, 1, 2, 3, 4, 5}


def test_a_cut_uncompressed_recording_gives_its_whole_frames(tmp_path: Path) -> None:
    path = native(tmp_path / "a.dcm", GREY)
    data = path.read_bytes()
    start = len(data) - GREY.size
    for missing, count in ((1, 5), (24 * 32, 5), (24 * 32 + 1, 4), (GREY.size, 0)):
        path.write_bytes(data[: len(data) - missing])
        frames, message = read_to_the_end(path)
        assert [frame.image.tolist() for frame in frames] == GREY[:count].tolist()
        assert f"{count} of 6 frames" in message
    assert start > 0


def test_fewer_pixels_than_declared_frames_are_told_as_well(tmp_path: Path) -> None:
    frames, message = read_to_the_end(native(tmp_path / "a.dcm", GREY, NumberOfFrames=9))
    assert (len(frames), "6 of 9 frames" in message) == (6, True)
    coded = encapsulated(tmp_path / "b.dcm", CODED, SHAPE, NumberOfFrames=9)
    frames, message = read_to_the_end(coded)
    assert (len(frames), "6 of 9 frames" in message) == (6, True)


def test_a_cut_video_ends_in_an_error(tmp_path: Path) -> None:
    stream = video(smooth(40, *SHAPE), codec="libx264", container="mpegts")
    options: dict[str, Any] = {"syntax": uid.MPEG4HP41, "has_table": False, "NumberOfFrames": 40}
    path = encapsulated(tmp_path / "a.dcm", [stream], SHAPE, photometric="YBR_PARTIAL_420", **options)
    expected = read(path)
    path.write_bytes(path.read_bytes()[: -len(stream) // 2])
    frames, message = read_to_the_end(path)
    sound = [frame for frame in frames if not frame.refusal]
    assert 5 < len(sound) < 40
    assert is_equal(sound, expected[: len(sound)])
    assert f"after {len(sound)} of 40 frames" in message


@pytest.mark.parametrize("declared", [None, 4])
@pytest.mark.parametrize("container", ["mp4", "mpegts"])
def test_a_video_that_holds_more_than_declared_is_played_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, declared: int | None, container: str
) -> None:
    stream = video(smooth(9, *SHAPE), codec="libx264", container=container)
    options: dict[str, Any] = {"syntax": uid.MPEG4HP41, "has_table": False, "NumberOfFrames": declared}
    path = encapsulated(tmp_path / "a.dcm", [stream], SHAPE, photometric="YBR_PARTIAL_420", **options)
    with open_source(path) as source:
        assert len(list(source)) == 9
    words = "9 frames found; the file says it holds 4" if declared else "9 frames found"
    assert words in caplog.text
    assert (words in source.info.note) == (container == "mp4")  # the other says no number at its start


def test_a_video_keeps_the_place_of_what_is_damaged(tmp_path: Path) -> None:
    stream = video(smooth(40, *SHAPE), codec="libx264", container="mpegts")
    options: dict[str, Any] = {"syntax": uid.MPEG4HP41, "has_table": False, "NumberOfFrames": 40}
    whole = read(encapsulated(tmp_path / "a.dcm", [stream], SHAPE, photometric="YBR_PARTIAL_420", **options))
    start = len(stream) // 188 * 2 // 3 * 188
    lossy = stream[:start] + stream[start + 188 :]  # one packet of the transport stream is missing
    path = encapsulated(tmp_path / "b.dcm", [lossy], SHAPE, photometric="YBR_PARTIAL_420", **options)
    frames, _ = read_to_the_end(path)
    assert 0 < sum(frame.refusal is not None for frame in frames) < 25
    assert len(frames) == len(whole) == 40
    assert all(a.refusal or np.array_equal(a.image, b.image) for a, b in zip(frames, whole, strict=True))


def test_half_a_picture_is_refused_and_the_others_are_played(tmp_path: Path) -> None:
    whole = read(encapsulated(tmp_path / "b.dcm", CODED, SHAPE))
    for place in range(6):
        broken = [*CODED[:place], CODED[place][: len(CODED[place]) // 4 * 2], *CODED[place + 1 :]]
        frames, message = read_to_the_end(encapsulated(tmp_path / "a.dcm", broken, SHAPE))
        assert message == ""
        assert [frame.refusal for frame in frames] == [Reason.DAMAGED if at == place else None for at in range(6)]
        assert not frames[place].image.any()
        assert all(np.array_equal(a.image, b.image) for a, b in zip(frames, whole, strict=True) if not a.refusal)
        assert [frame.pts for frame in frames] == [frame.pts for frame in whole]


def report(folder: Path) -> Path:
    dataset = header(rows=1, columns=1, frames=1, photometric="RGB", syntax=uid.ExplicitVRLittleEndian)
    dataset.SOPClassUID = uid.ComprehensiveSRStorage
    dataset.save_as(folder / "a.dcm", enforce_file_format=True)
    return folder / "a.dcm"


def with_bytes(folder: Path, data: bytes) -> Path:
    (folder / "a.dcm").write_bytes(data)
    return folder / "a.dcm"


def wrongly_native(folder: Path) -> Path:
    path = native(folder / "a.dcm", GREY)
    return with_bytes(folder, path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"))


@pytest.mark.parametrize(
    ("make_bad", "words"),
    [
        (lambda folder: with_bytes(folder, b""), "empty"),
        (lambda folder: with_bytes(folder, b"a text file, no DICOM\n" * 20), "not a DICOM file"),
        (lambda folder: with_bytes(folder, bytes(500)), "not a DICOM file"),
        (lambda folder: with_bytes(folder, bytes(128) + b"DICM"), "without pictures"),
        (report, "without pictures (kind: Comprehensive SR Storage)"),
        (lambda folder: native(folder / "a.dcm", GREY, SOPClassUID=uid.EnhancedUSVolumeStorage), "Enhanced US Volume"),
        (lambda folder: native(folder / "a.dcm", GREY, Rows=60000, Columns=60000), "60000x60000 pixels"),
        (lambda folder: native(folder / "a.dcm", GREY, Rows=0), "gives 0 Rows"),
        (lambda folder: native(folder / "a.dcm", GREY, Columns=None), "gives no Columns"),
        (lambda folder: native(folder / "a.dcm", GREY, photometric="HSV", SamplesPerPixel=1), "is HSV,"),
        (lambda folder: native(folder / "a.dcm", GREY, SamplesPerPixel=3), "SamplesPerPixel 1, not 3"),
        (lambda folder: native(folder / "a.dcm", GREY, BitsAllocated=32), "BitsAllocated is 32"),
        (lambda folder: native(folder / "a.dcm", GREY, BitsStored=12), "BitsStored 12"),
        (lambda folder: native(folder / "a.dcm", GREY, photometric="PALETTE COLOR"), "red palette"),
        (wrongly_native, "in one piece"),
        (lambda folder: encapsulated(folder / "a.dcm", CODED, (24, 33)), "it is 32x24"),
        (lambda folder: encapsulated(folder / "a.dcm", [b"nonsense"] * 2, SHAPE), "no frame can be decoded"),
        (
            lambda folder: encapsulated(folder / "a.dcm", [b"nonsense"] * 2, SHAPE, syntax=uid.RLELossless),
            "as RLE Lossless",
        ),
        (
            lambda folder: encapsulated(folder / "a.dcm", [b"nonsense"], SHAPE, syntax=uid.MPEG4HP41),
            "its pixels cannot be read as MPEG-4",
        ),
    ],
)
def test_bad_files_get_one_typed_line_without_the_patient(
    tmp_path: Path, make_bad: Callable[[Path], Path], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = make_bad(tmp_path)
    with pytest.raises(SourceUnreadable) as caught:
        read(path)
    message = str(caught.value)
    assert words in message
    assert message.startswith(str(path))
    assert "\n" not in message
    assert PATIENT not in message
    assert capfd.readouterr() == ("", "")


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"none\.dcm: no such file"):
        open_source(tmp_path / "none.dcm")
    with pytest.raises(SourceUnreadable, match="cannot be opened"):
        open_source(tmp_path)


def test_a_missing_pydicom_is_named_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = native(tmp_path / "a.dcm", GREY)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(SourceUnavailable, match=r'pip install "partum\[dicom\]"'):
        open_source(path)


def test_a_missing_decoder_is_named_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encapsulated(tmp_path / "a.dcm", [jpeg_2000(GREY[0])], SHAPE, syntax=uid.JPEG2000Lossless)
    monkeypatch.setattr("stream.sources.files.dicom.pixels._is_available", lambda _plugin: False)
    with pytest.raises(SourceUnavailable, match=r"JPEG 2000 .*pip install pylibjpeg"):
        read(path)


def test_sloppy_files_are_read_without_a_remark(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = native(tmp_path / "a.dcm", GREY, SpecificCharacterSet="ISO_IR 100", FrameTime="12345678")
    data = path.read_bytes()
    for old, new in ((b"ISO_IR 100", b"ISO_IR 999"), (b"12345678", b"1,5 \xe4\xf6 s"), (b"1.2.826", b"1.x.826")):
        data = data.replace(old, new)
    path.write_bytes(data)
    with caplog.at_level(logging.INFO):
        assert len(read(path)) == 6
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""


def test_nothing_of_the_patient_is_kept(tmp_path: Path) -> None:
    with open_source(native(tmp_path / "a.dcm", GREY)) as source:
        kept = repr(source.info) + repr([getattr(source, name) for name in vars(source)])
    assert PATIENT not in kept


@pytest.mark.slow
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_gives_frames_or_an_error_of_ours(tmp_path: Path, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["native", "coded"]))
    damaged = bytearray(one_of(tmp_path, kind).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(128, min(len(damaged) - 1, 1500)))] = data.draw(st.integers(0, 255))
    path = with_bytes(tmp_path, bytes(damaged))
    message = ""
    try:
        frames = read(path)
    except PartumError as error:
        message = str(error)
    else:
        assert len({frame.image.shape for frame in frames}) == 1
    assert "\n" not in message
    assert PATIENT[:6] not in message
