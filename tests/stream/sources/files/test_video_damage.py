"""Video files that are cut, damaged or no video: what is whole is played, the rest is told."""

from __future__ import annotations

import logging
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from stream.common.errors import SourceError, SourceNotFound, SourceTruncated, SourceUnreadable
from stream.frames.reason import Reason
from stream.sources.files.video import VideoSource
from tests.samples.source_files import (
    CLOCK,
    frames_of,
    frames_to_error,
    from_grey,
    pictures_of,
    waves,
    write_video,
    write_waves,
)

if TYPE_CHECKING:
    from stream.frames.frame import Frame


LIMITED, FULL = 1, 2


def read_to_error(path: Path) -> tuple[list[Frame], SourceError | None]:
    """The frames delivered, and the error that ended them."""
    return frames_to_error(VideoSource(path, clock=CLOCK))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {"container_options": {"movflags": "faststart"}}),
        ("a.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
        ("a.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("a.avi", {"codec": "mpeg4"}),
        ("a.mkv", {}),
        ("a.ts", {}),
        ("a.flv", {}),
    ],
)
def test_a_recording_cut_short_gives_its_whole_frames_then_the_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, options: dict[str, Any]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 64, 96), dtype=np.uint8)  # so that frames weigh more
    pix_fmt = options.get("pix_fmt", "yuv420p")
    whole = write_video(tmp_path / name, (from_grey(picture, pix_fmt) for picture in noise), **options)
    expected = pictures_of(VideoSource(whole, clock=CLOCK))
    data = whole.read_bytes()
    cut = whole.with_stem("cut")
    cut.write_bytes(data[: len(data) * 6 // 10])
    frames, error = read_to_error(cut)
    assert isinstance(error, SourceTruncated)
    sound = [frame for frame in frames if frame.refusal is None]
    assert 20 <= len(sound) < 40
    assert len(frames) - len(sound) <= 3  # what was cut in two, and what was built on it
    for frame in sound:
        np.testing.assert_array_equal(frame.image, expected[round(frame.pts_s * 25)])
    assert str(error).startswith(f"{cut}: cut off or damaged after {len(sound)}")
    assert "\n" not in str(error)
    assert capfd.readouterr() == ("", "")


def test_the_message_names_the_declared_count(tmp_path: Path) -> None:
    path = write_waves(tmp_path / "a.mp4", 50, container_options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[:-2000])
    frames, error = read_to_error(path)
    assert f"after {sum(frame.refusal is None for frame in frames)} of 50 frames" in str(error)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.avi", "a.webm", "a.ts", "a.flv", "a.mpg"])
def test_a_whole_recording_ends_without_error(tmp_path: Path, name: str) -> None:
    codec = {"a.webm": "libvpx", "a.mpg": "mpeg2video", "a.avi": "mpeg4"}.get(name, "libx264")
    assert len(frames_of(VideoSource(write_waves(tmp_path / name, 40, codec=codec), clock=CLOCK))) == 40


@pytest.mark.parametrize("bf", ["0", "3"])
@pytest.mark.parametrize("at", [1, 5, 11, 16, 24, 38])
def test_damage_in_the_middle_refuses_frames_up_to_the_next_key_picture_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bf: str, at: int
) -> None:
    path = write_waves(tmp_path / "a.mp4", 60, gop=10, options={"bf": bf, "sc_threshold": "0"})
    expected = pictures_of(VideoSource(path, clock=CLOCK))
    with av.open(str(path)) as container:
        packet = [(packet.pos, packet.size) for packet in container.demux(video=0)][at]
    assert packet[0] is not None
    data = bytearray(path.read_bytes())
    data[packet[0] + 5 : packet[0] + packet[1]] = bytes(packet[1] - 5)
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        frames = frames_of(VideoSource(path, clock=CLOCK))
    assert [frame.index for frame in frames] == list(range(60))  # each has its place
    refused = [frame for frame in frames if frame.refusal]
    assert 1 <= len(refused) <= 11
    assert {frame.refusal for frame in refused} == {Reason.DAMAGED}
    assert [frame.pts_s for frame in frames] == pytest.approx([index / 25 for index in range(60)])
    for frame in frames:
        if frame.refusal is None:
            np.testing.assert_array_equal(frame.image, expected[frame.index])
    assert f"{len(refused)} damaged pictures were refused" in caplog.text


def with_cut_packets(source: Path, path: Path, cut: set[int]) -> Path:
    """The same recording, the packets of these numbers without their second half."""
    with av.open(str(source)) as whole, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(whole.streams.video[0])
        for index, packet in enumerate(whole.demux(video=0)):
            if packet.size:
                data = bytes(packet)
                copy = av.Packet(data[: len(data) // 2] if index in cut else data)
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                copy.duration, copy.is_keyframe, copy.stream = packet.duration or 0, packet.is_keyframe, stream
                output.mux(copy)
    return path


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "options"),
    [
        ("libx264", "yuv420p", {"bf": "0"}),
        ("libx264", "yuv420p", {"bf": "2"}),
        ("mpeg4", "yuv420p", None),
        ("mpeg2video", "yuv420p", None),
        ("mjpeg", "yuvj420p", None),
        ("ffv1", "gray", None),
        ("prores", "yuv422p10le", None),
    ],
)
def test_a_picture_that_is_not_whole_is_refused_and_all_are_counted(
    tmp_path: Path, codec: str, pix_fmt: str, options: dict[str, str] | None
) -> None:
    noise = np.random.default_rng(0).integers(0, 40, (24, 64, 96), dtype=np.uint8)
    frames = (from_grey(picture, pix_fmt) for picture in waves(24) // 2 + noise)
    whole = write_video(tmp_path / "a.mkv", frames, codec=codec, pix_fmt=pix_fmt, options=options, gop=8)
    expected = pictures_of(VideoSource(whole, clock=CLOCK))
    read = frames_of(VideoSource(with_cut_packets(whole, tmp_path / "cut.mkv", {5, 9, 12}), clock=CLOCK))
    assert len(read) == len(expected) == 24
    sound = [frame for frame in read if frame.refusal is None]
    assert 8 <= len(sound) <= 21
    for frame in sound:
        np.testing.assert_array_equal(frame.image, expected[frame.index])


def bad_file(folder: Path, kind: str) -> Path:
    path = folder / "bad.mp4"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("This is a text file, not a video.\n" * 50)
    elif kind == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(20_000))
    elif kind == "no moov":
        data = write_waves(path, 50).read_bytes()
        path.write_bytes(data[: len(data) * 6 // 10])
    elif kind == "folder":
        path.mkdir()
    elif kind == "sound":
        with wave.open(str(path), "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes(bytes(16_000))
    elif kind == "terminal":
        path = folder / "notes.txt"
        path.write_text("FFmpeg would play this as a terminal session.\n" * 20)
    elif kind == "no pictures":
        data = write_waves(path, 3, gop=30, container_options={"movflags": "faststart"}).read_bytes()
        path.write_bytes(data[: data.index(b"mdat") + 20])
    return path


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("missing", SourceNotFound),
        ("empty", SourceUnreadable),
        ("text", SourceUnreadable),
        ("noise", SourceUnreadable),
        ("no moov", SourceUnreadable),
        ("folder", SourceUnreadable),
        ("sound", SourceUnreadable),
        ("terminal", SourceUnreadable),
        ("no pictures", SourceUnreadable),
    ],
)
def test_what_is_no_video_gives_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str, error: type[SourceError]
) -> None:
    path = bad_file(tmp_path, kind)
    with pytest.raises(error) as caught:
        VideoSource(path, clock=CLOCK)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_few_frames_that_are_missing_at_the_end_are_told(tmp_path: Path) -> None:
    """9 of 25 pictures are 0.36 s: whoever watches does not see that they are missing."""
    whole = write_video(tmp_path / "a.mkv", map(from_grey, waves(25)), codec="ffv1")
    assert read_to_error(whole)[1] is None
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) * 7 // 10])
    frames, error = read_to_error(whole)
    assert 10 <= len(frames) <= 22
    assert isinstance(error, SourceTruncated)


def test_a_second_mp4_behind_the_first_is_noted(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", map(from_grey, waves(5)))
    assert VideoSource(path, clock=CLOCK).info.note == ""
    path.write_bytes(path.read_bytes() * 2)
    with VideoSource(path, clock=CLOCK) as source:
        assert source.info.note == "another recording lies behind the first in the file, and is not played"
