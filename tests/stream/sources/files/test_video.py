"""Video files: grey levels, orientation, time, and files that are damaged or no videos at all."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from stream.common.errors import SourceUnreadable
from stream.frames.frame import PixelSpacing, SegmentCause
from stream.sources.decoding.luma import grey_image, to_full_range
from stream.sources.files.video import VideoSource
from tests.samples.source_files import (
    CLOCK,
    bars,
    frames_of,
    from_grey,
    from_luma,
    pictures_of,
    waves,
    write_film,
    write_video,
    write_waves,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


LIMITED, FULL = 1, 2
LEVELS = np.arange(0, 256, 17)
"""16 levels from black to white, the same in every format below."""

LOSSLESS = {"qp": "0"}
RECORDINGS = Path(__file__).parents[3] / "samples" / "recordings"
"""Two frames of the bars in HEVC without chroma, written once: the encoder fails at random on such pictures."""


def coded(bits: int, color_range: int) -> NDArray[Any]:
    """The bars as luma of so many bits."""
    black, white = (0, (1 << bits) - 1) if color_range == FULL else (16 << (bits - 8), 235 << (bits - 8))
    luma: NDArray[np.float64] = np.rint(black + bars() * ((white - black) / 255))
    return luma.astype(np.uint8) if bits == 8 else luma.astype(np.uint16)


def read_bars(source: VideoSource) -> NDArray[np.int64]:
    """The level in the middle of each bar of the first frame."""
    return frames_of(source)[0].image[32, 8::16].astype(np.int64)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "bits", "color_range", "flag", "options"),
    [
        ("a.mp4", "libx264", "yuv420p", 8, LIMITED, None, LOSSLESS),
        ("a.mp4", "libx264", "yuv420p", 8, LIMITED, LIMITED, LOSSLESS),
        ("a.mp4", "libx264", "yuv420p", 8, FULL, FULL, LOSSLESS),
        ("a.mp4", "libx264", "yuvj420p", 8, FULL, FULL, LOSSLESS),
        ("a.mp4", "libx264", "yuv444p", 8, LIMITED, None, LOSSLESS),
        ("a.mp4", "libx264", "yuv420p10le", 10, LIMITED, None, LOSSLESS),
        ("a.mp4", "libx264", "yuv420p10le", 10, FULL, FULL, LOSSLESS),
        ("a.mkv", "ffv1", "gray", 8, FULL, None, None),
        ("a.mkv", "ffv1", "gray10le", 10, FULL, None, None),
        ("a.mkv", "ffv1", "gray16le", 16, FULL, None, None),
        ("a.mkv", "ffv1", "yuv422p", 8, LIMITED, None, None),
        ("a.mkv", "ffv1", "yuv444p10le", 10, FULL, FULL, None),
        ("a.avi", "rawvideo", "nv12", 8, LIMITED, None, None),
        ("a.avi", "rawvideo", "gray", 8, FULL, None, None),
        ("a.avi", "mjpeg", "yuvj420p", 8, FULL, FULL, {"qscale": "1"}),
    ],
)
def test_known_luma_comes_out_as_known_grey(
    tmp_path: Path,
    name: str,
    codec: str,
    pix_fmt: str,
    bits: int,
    color_range: int,
    flag: int | None,
    options: dict[str, str] | None,
) -> None:
    frames = [from_luma(coded(bits, color_range), pix_fmt) for _ in range(2)]
    path = write_video(tmp_path / name, frames, codec=codec, pix_fmt=pix_fmt, color_range=flag, options=options)
    assert np.abs(read_bars(VideoSource(path, clock=CLOCK)) - LEVELS).max() <= 1


@pytest.mark.parametrize("name", ["hevc_gray_limited.mp4", "hevc_gray_full.mp4"])
def test_grey_hevc_comes_out_as_known_grey(name: str) -> None:
    assert np.abs(read_bars(VideoSource(RECORDINGS / name, clock=CLOCK)) - LEVELS).max() <= 1


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mkv", "ffv1", "bgr0"),
        ("a.mkv", "ffv1", "gbrp16le"),
        ("a.avi", "rawvideo", "bgr24"),  # rows stored bottom up
        ("a.mov", "qtrle", "rgb24"),
        ("a.mov", "qtrle", "gray"),  # decodes to a palette
        ("a.mov", "png", "rgb24"),
        ("a.mkv", "libx264rgb", "rgb24"),
        ("a.gif", "gif", "gray"),
    ],
)
def test_rgb_and_palettes_come_out_as_known_grey(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    options = LOSSLESS if codec == "libx264rgb" else None
    frames = [from_grey(bars(), pix_fmt) for _ in range(2)]
    path = write_video(tmp_path / name, frames, codec=codec, pix_fmt=pix_fmt, options=options)
    assert np.abs(read_bars(VideoSource(path, clock=CLOCK)) - LEVELS).max() <= 1


@pytest.mark.parametrize("pix_fmt", ["nv21", "nv16", "yuva420p", "yuv410p", "yuyv422", "yuv420p10be", "p010le"])
def test_formats_without_a_codec_here(pix_fmt: str) -> None:
    picture = av.VideoFrame.from_ndarray(bars(), format="gray").reformat(format=pix_fmt)
    assert np.abs(grey_image(picture)[32, 8::16].astype(int) - LEVELS).max() <= 1


def test_colour_becomes_grey_by_bt601(tmp_path: Path) -> None:
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 200, 90], [255, 255, 255]], np.uint8)
    rgb = np.repeat(np.repeat(colours[None], 16, axis=1), 64, axis=0)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    path = write_video(tmp_path / "a.mov", [frame], codec="qtrle", pix_fmt="rgb24")
    grey = frames_of(VideoSource(path, clock=CLOCK))[0].image[32, 8::16]
    assert np.abs(grey - colours @ [0.299, 0.587, 0.114]).max() <= 1


def test_blacker_than_black_and_whiter_than_white_are_clipped() -> None:
    luma = np.repeat(np.array([[0, 5, 16, 126, 235, 250, 255, 255]], np.uint8), 8, axis=0)
    assert grey_image(from_luma(luma, "yuv420p"))[0].tolist() == [0, 0, 0, 128, 255, 255, 255, 255]


def test_every_level_of_limited_range_is_stretched_to_the_nearest_grey() -> None:
    every = np.arange(256, dtype=np.uint8)[None].repeat(2, axis=0)
    wanted = np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255)
    assert to_full_range(every, bits=8, is_full=False)[0].tolist() == wanted.tolist()


def test_full_range_luma_is_the_decoders_memory() -> None:
    picture = from_luma(bars(), "gray")
    grey = grey_image(picture)
    np.frombuffer(picture.planes[0], np.uint8)[:] = 9  # type: ignore[call-overload]
    assert (grey == 9).all()


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_the_display_matrix_is_obeyed(tmp_path: Path, degrees: int) -> None:
    stored = np.zeros((32, 64), np.uint8)
    stored[:16, :16] = 255  # bright top left
    path = write_video(tmp_path / "a.mp4", [from_grey(stored)], rotation=degrees, aspect=Fraction(4, 3))
    source = VideoSource(path, clock=CLOCK)
    (frame,) = frames_of(source)
    expected = np.rot90(stored, degrees // 90)  # counter-clockwise, as the matrix
    assert frame.image.shape == expected.shape == (source.info.height, source.info.width)
    assert np.abs(frame.image.astype(int) - expected).mean() < 5
    assert frame.pixel_aspect == pytest.approx(4 / 3 if degrees in (0, 180) else 3 / 4)


def test_a_mirror_in_the_display_matrix_is_obeyed(tmp_path: Path) -> None:
    stored = np.zeros((32, 64), np.uint8)
    stored[:16, :16] = 255
    path = write_video(tmp_path / "a.mp4", [from_grey(stored)], rotation=0, hflip=True)
    (frame,) = frames_of(VideoSource(path, clock=CLOCK))
    assert np.abs(frame.image.astype(int) - stored[:, ::-1]).mean() < 5


def test_rotation_is_found_beside_side_data_that_the_decoder_binding_does_not_know(tmp_path: Path) -> None:
    stored = np.zeros((32, 64), np.uint8)
    stored[:16, :16] = 255
    jpeg = cv2.imencode(".jpg", stored)[1].tobytes()
    turned_right = struct.pack("<4sIHHHIII", b"II*\0", 8, 1, 0x112, 3, 1, 6, 0)
    exif = b"Exif\0\0" + turned_right
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    (frame,) = frames_of(VideoSource(path, clock=CLOCK))
    assert frame.image.shape == (64, 32)
    assert np.abs(frame.image.astype(int) - np.rot90(stored, -1)).mean() < 5


def test_true_times_are_kept(tmp_path: Path) -> None:
    times = [1000, 1033, 1066, 1400, 1410, 1500, 2900, 2933]
    path = write_waves(tmp_path / "a.mkv", 8, times=times, time_base=Fraction(1, 1000), options={"bf": "0"})
    frames = frames_of(VideoSource(path, clock=CLOCK))
    assert [frame.pts_s for frame in frames] == pytest.approx([(time - 1000) / 1000 for time in times])
    assert {frame.segment for frame in frames} == {0}


def test_without_timestamps_frames_follow_at_the_declared_rate(tmp_path: Path) -> None:
    path = write_waves(tmp_path / "a.h264", 10, rate=20, options={"bf": "0"})
    with av.open(str(path)) as container:
        assert {packet.pts for packet in container.demux(video=0)} == {None}
    frames = frames_of(VideoSource(path, clock=CLOCK))
    assert [frame.pts_s for frame in frames] == pytest.approx([index / 20 for index in range(10)])


def test_joined_recordings_become_segments_of_one_clock(tmp_path: Path) -> None:
    part = write_waves(tmp_path / "part.ts", 50).read_bytes()
    path = tmp_path / "a.ts"
    path.write_bytes(part + part)
    frames = frames_of(VideoSource(path, clock=CLOCK))
    # The break in the packets' count makes one frame at the joint suspect, and the one that is built on it.
    assert [frame.index for frame in frames if frame.refusal] == [48, 49]
    assert [frame.segment for frame in frames] == [0] * 50 + [1] * 50
    assert np.diff([frame.pts_s for frame in frames]) == pytest.approx(np.full(99, 1 / 25))


def test_where_the_size_changes_a_segment_begins(tmp_path: Path) -> None:
    small = write_video(tmp_path / "1.h264", map(from_grey, waves(6)), options={"bf": "0"})
    large = write_video(tmp_path / "2.h264", map(from_grey, waves(6, width=128)), options={"bf": "0"})
    path = tmp_path / "a.h264"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    spacing = PixelSpacing(0.2, 0.3)
    frames = frames_of(VideoSource(path, clock=CLOCK, spacing=spacing))
    assert [frame.image.shape[1] for frame in frames] == [96] * 6 + [128] * 6
    assert [frame.segment for frame in frames] == [0] * 6 + [1] * 6
    assert frames[6].segment_cause is SegmentCause.SIZE
    assert [frame.spacing for frame in frames] == [spacing] * 6 + [None] * 6  # typed for the first size


@pytest.mark.parametrize("bf", ["0", "3"])
def test_where_the_shape_of_pixels_changes_a_segment_begins_at_that_picture(tmp_path: Path, bf: str) -> None:
    parts = [
        write_video(tmp_path / f"{aspect}.h264", map(from_grey, waves(9)), options={"bf": bf}, aspect=Fraction(*aspect))
        for aspect in ((16, 15), (16, 9))
    ]
    path = tmp_path / "a.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = frames_of(VideoSource(path, clock=CLOCK))
    assert [frame.pixel_aspect for frame in frames] == pytest.approx([16 / 15] * 9 + [16 / 9] * 9)
    assert [frame.segment for frame in frames] == [0] * 9 + [1] * 9
    assert frames[9].segment_cause is SegmentCause.ASPECT


def test_what_the_caller_and_the_file_say_is_passed_on(tmp_path: Path) -> None:
    note = {"comment": "partum-note: an animated still"}
    path = write_waves(tmp_path / "a.mp4", metadata=note, aspect=Fraction(4, 3))
    spacing = PixelSpacing(x_mm=0.1, y_mm=0.2)
    with VideoSource(str(path), clock=CLOCK, spacing=spacing) as source:
        assert source.info.note == "an animated still"
        assert source.info.spacing == next(iter(source)).spacing == spacing
        assert source.info.frame_rate_hz == 25
        assert source.info.frame_count == 12
    other = write_waves(tmp_path / "b.mkv", metadata={"comment": "by partum-note: not at the start"})
    with VideoSource(other, clock=CLOCK) as source:
        assert source.info.note == ""


def test_of_several_streams_the_film_is_played_and_it_is_said(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.avif", waves(12), mode="RGB", quality=100)  # a still in front of the film
    with av.open(str(path)) as container:
        assert [stream.frames for stream in container.streams.video] == [1, 12]
    source = VideoSource(path, clock=CLOCK)
    assert "stream 2 of 2 is played" in source.info.note
    assert np.abs(pictures_of(source).astype(int) - waves(12)).mean() < 3
    Image.fromarray(waves(1)[0]).convert("RGB").save(tmp_path / "still.avif")
    assert len(frames_of(VideoSource(tmp_path / "still.avif", clock=CLOCK))) == 1


def test_several_stills_are_no_film(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"  # as the tiles of a large HEIC picture come
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("libx264", rate=25) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for stream, picture in zip(streams, waves(2), strict=True):
            output.mux(stream.encode(from_grey(picture)))
            output.mux(stream.encode(None))
    with pytest.raises(SourceUnreadable, match="holds 2 stills"):
        VideoSource(path, clock=CLOCK)


@pytest.mark.parametrize(
    ("size", "aspect", "expected"),
    [
        ((96, 64), Fraction(16, 15), 16 / 15),
        ((96, 64), Fraction(6, 1), None),  # a shape that pixels cannot have
        ((96, 64), None, 1.0),
        ((720, 576), None, None),  # PAL, of which nobody says whether it is 4:3 or 16:9
        ((720, 576), Fraction(16, 15), 16 / 15),
    ],
)
def test_pixels_of_unknown_shape(
    tmp_path: Path, size: tuple[int, int], aspect: Fraction | None, expected: float | None
) -> None:
    pictures = waves(2, width=size[0], height=size[1])
    path = write_video(tmp_path / "a.mkv", map(from_grey, pictures), aspect=aspect)
    frames = frames_of(VideoSource(path, clock=CLOCK))
    assert [frame.pixel_aspect for frame in frames] == [pytest.approx(expected) if expected else None] * 2


@pytest.mark.parametrize("default", [0, 1])
def test_of_several_films_the_one_that_the_file_prefers_is_played(tmp_path: Path, default: int) -> None:
    path = tmp_path / "a.mkv"
    sizes = [(96, 64), (128, 80)]
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("ffv1", rate=25) for _ in sizes]
        for index, (stream, (width, height)) in enumerate(zip(streams, sizes, strict=True)):
            stream.width, stream.height, stream.pix_fmt = width, height, "gray"
            stream.disposition = Disposition.default if index == default else Disposition(0)
        for stream, (width, height) in zip(streams, sizes, strict=True):
            for index, picture in enumerate(waves(5, width=width, height=height)):
                frame = av.VideoFrame.from_ndarray(picture, format="gray")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    with VideoSource(path, clock=CLOCK) as source:
        assert (source.info.width, source.info.height) == sizes[default]
        assert source.info.note == f"stream {default + 1} of 2 is played"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count", "shape", "rate_hz"),
    [
        ("clarius-ocular-short.mp4", 50, (960, 1280), 25.0),
        ("butterfly-ocular-phantom.mp4", 369, (1080, 776), 12.69),
    ],
)
def test_real_clips_decode_as_the_reference_does(
    shared_data: Path, name: str, count: int, shape: tuple[int, int], rate_hz: float
) -> None:
    path = shared_data / "clips" / name
    with VideoSource(path, clock=CLOCK) as source, av.open(str(path)) as container:
        info, frames = source.info, 0
        for frame, picture in zip(source, container.decode(video=0), strict=True):
            frames += 1
            if frames % 10 == 1:
                assert np.abs(frame.image.astype(int) - picture.to_ndarray(format="gray")).max() <= 1
                assert frame.pts_s == pytest.approx(picture.time)
    assert frames == info.frame_count == count
    assert (info.height, info.width) == shape
    assert info.frame_rate_hz is not None
    assert float(info.frame_rate_hz) == pytest.approx(rate_hz, abs=0.005)
