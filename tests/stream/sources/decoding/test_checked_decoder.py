"""Torn and missing pictures are told from whole ones, and what is built on them too, against an undamaged decode."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pytest

from stream.common.clock import ManualClock
from stream.sources.decoding.checked_decoder import CheckedDecoder, PixelAspects
from stream.sources.decoding.h264 import FrameNumbers, SequenceParameters, nal_units
from stream.sources.decoding.jpeg import is_whole
from stream.sources.live.video_pictures import VideoPictures

if TYPE_CHECKING:
    from collections.abc import Sequence as Several

    from numpy.typing import NDArray

SIDE, COUNT, KEY_EVERY = 128, 36, 12
CODECS = {
    "h264": ("libx264", "tune=zerolatency:preset=ultrafast:sc_threshold=0"),
    "h264 cabac": ("libx264", "tune=zerolatency:preset=medium:sc_threshold=0"),
    "h264 slices": ("libx264", "tune=zerolatency:preset=ultrafast:sc_threshold=0:x264-params=slices=4"),
    "hevc": ("libx265", "tune=zerolatency:preset=ultrafast:x265-params=keyint=12:log-level=none"),
}


def scene(number: int, side: int = SIDE) -> NDArray[np.uint8]:
    """A texture that moves, so that every picture differs from every other."""
    noise = np.random.default_rng(7).integers(0, 255, (side + 80, side + 80), np.uint8)
    smooth = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]
    return np.ascontiguousarray(smooth[number : number + side, 2 * number % 70 :][:, :side])


def encoded(
    codec: str, count: int = COUNT, *, options: str = "", key_every: int = KEY_EVERY, side: int = SIDE
) -> list[bytes]:
    """A packet for each picture."""
    name, plain = CODECS[codec]
    context = av.CodecContext.create(name, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width = context.height = side
    context.pix_fmt, context.time_base, context.framerate = "yuv420p", Fraction(1, 25), Fraction(25)
    context.gop_size = key_every
    said = dict(part.split("=", 1) for part in f"{plain}:{options}".strip(":").split(":"))
    context.options = {**said, "keyint_min": str(key_every)} if name == "libx264" else _joined(plain)
    packets = []
    for number in range(count):
        picture = av.VideoFrame.from_ndarray(scene(number % 70, side), format="gray").reformat(format="yuv420p")
        picture.pts, picture.time_base = number, Fraction(1, 25)
        packets += context.encode(picture)
    return [bytes(packet) for packet in [*packets, *context.encode(None)]]


def _joined(plain: str) -> dict[str, str]:
    """x265 takes its own parameters in one option, which holds colons itself."""
    head, _, own = plain.partition(":x265-params=")
    return dict(part.split("=", 1) for part in head.split(":")) | {"x265-params": own}


def decoded(codec: str, packets: Several[bytes]) -> tuple[dict[int, tuple[bool, NDArray[np.uint8]]], CheckedDecoder]:
    """Each picture by its number: whether it is clean, and its grey levels."""
    context = av.CodecContext.create({"libx264": "h264", "libx265": "hevc"}[CODECS[codec][0]], "r")
    assert isinstance(context, av.VideoCodecContext)
    decoder, found = CheckedDecoder(context), {}
    for number, data in enumerate(packets):
        if not data:
            continue
        packet = av.Packet(data)
        packet.pts = packet.dts = number
        packet.time_base = Fraction(1, 25)
        for each in decoder.decode(packet):
            if each.picture is not None and each.picture.pts is not None:
                grey = each.picture.to_ndarray(format="gray").astype(np.uint8)
                found[each.picture.pts] = not each.is_damaged, grey
    return found, decoder


def test_sound_video_is_clean_from_the_first_picture_to_the_last() -> None:
    for codec in CODECS:
        found, decoder = decoded(codec, encoded(codec))
        assert sorted(found) == list(range(COUNT)), codec
        assert all(is_clean for is_clean, _ in found.values()), codec
        assert decoder.lost == 0


@pytest.mark.parametrize("codec", CODECS)
def test_a_picture_left_out_spoils_all_until_the_next_key(codec: str) -> None:
    packets = encoded(codec)
    whole, _ = decoded(codec, packets)
    for missing in (14, 17, 22):
        found, decoder = decoded(codec, [b"" if number == missing else p for number, p in enumerate(packets)])
        spoilt = set(range(missing, 24))
        assert {number for number, (is_clean, _) in found.items() if is_clean} == set(range(COUNT)) - spoilt
        for number, (is_clean, grey) in found.items():
            assert not is_clean or np.array_equal(grey, whole[number][1])
        if codec.startswith("h264"):
            assert decoder.lost == 1


@pytest.mark.parametrize("codec", ["h264", "h264 cabac", "h264 slices"])
def test_a_picture_torn_in_the_middle_is_noticed_and_so_is_what_is_built_on_it(codec: str) -> None:
    packets = encoded(codec)
    whole, _ = decoded(codec, packets)
    for torn in (13, 18, 24):
        data = packets[torn]
        found, _ = decoded(codec, [*packets[:torn], data[: len(data) // 2], *packets[torn + 1 :]])
        end = 24 if torn < 24 else COUNT
        assert {number for number, (is_clean, _) in found.items() if not is_clean} <= set(range(torn, end))
        for number, (is_clean, grey) in found.items():
            assert not is_clean or np.array_equal(grey, whole[number][1]), number


def test_video_without_key_pictures_is_clean_again_when_it_is_refreshed() -> None:
    packets = encoded("h264", 60, options="x264-params=intra-refresh=1:keyint=20", key_every=20)
    whole, _ = decoded("h264", packets)
    found, _ = decoded("h264", [b"" if number == 24 else p for number, p in enumerate(packets)])
    clean = [number for number, (is_clean, _) in found.items() if is_clean]
    assert clean[:24] == list(range(24))
    assert 40 <= clean[24] < 60
    for number in clean:
        assert np.array_equal(found[number][1], whole[number][1])


def test_lost_packets_that_the_network_counted_spoil_even_what_decodes_well() -> None:
    packets = encoded("hevc")
    context = av.CodecContext.create("hevc", "r")
    assert isinstance(context, av.VideoCodecContext)
    decoder = CheckedDecoder(context)
    clean = []
    for number, data in enumerate(packets):
        packet = av.Packet(data)
        packet.pts = number
        is_torn = number == 15
        clean += [not each.is_damaged for each in decoder.decode(packet, lost=3 * is_torn, is_torn=is_torn)]
    assert decoder.lost == 3
    assert [number for number, is_clean in enumerate(clean) if not is_clean] == list(range(15, 24))


def test_who_joins_in_the_middle_waits_for_a_key_and_nothing_counts_as_lost() -> None:
    for codec in ("h264", "hevc"):
        found, decoder = decoded(codec, [b""] * 5 + encoded(codec)[5:])
        assert sorted(found) == list(range(12, COUNT)), codec
        assert all(is_clean for is_clean, _ in found.values())
        assert decoder.lost == 0


def test_numbers_are_read_with_lengths_as_with_start_codes() -> None:
    packets = encoded("h264")
    plain = FrameNumbers(None)
    assert [plain.missing_before(p) for p in packets] == [0] * COUNT
    units = list(nal_units(packets[0], 0))
    sequence = next(unit for unit in units if unit[0] & 31 == 7)
    assert SequenceParameters.parse(sequence)[1].modulus >= 16
    avcc = b"\x01" + sequence[1:4] + b"\xff\xe1" + len(sequence).to_bytes(2) + sequence + b"\x01"
    lengths = FrameNumbers(avcc)
    as_lengths = [b"".join(len(u).to_bytes(4) + u for u in nal_units(p, 0)) for p in packets]
    kept = [p for number, p in enumerate(as_lengths) if number not in (6, 7, 15)]
    assert [lengths.missing_before(p) for p in kept] == [2 if n == 6 else 1 if n == 13 else 0 for n in range(COUNT - 3)]
    for cut in range(len(sequence)):
        FrameNumbers(b"\0\0\1" + sequence[:cut]).missing_before(packets[1][:cut])


def jpeg(*, restart: int = 0) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_RST_INTERVAL, restart]
    return bytes(cv2.imencode(".jpg", scene(0), options)[1])


@pytest.mark.parametrize("restart", [0, 2])
def test_a_jpeg_is_whole_or_it_is_not(restart: int) -> None:
    data = jpeg(restart=restart)
    assert is_whole(data)
    assert is_whole(data + b"\0" * 100)  # padding of a driver
    for share in (0.05, 0.4, 0.9, 0.99):
        cut = data[: round(len(data) * share)]
        assert not is_whole(cut)
        assert not is_whole(cut + b"\xff\xd9")  # ends early, with an end marker
    assert not is_whole(data[:-2])
    middle = len(data) // 2
    assert not is_whole(data[:middle] + data[middle + 200 :])
    assert not is_whole(data[:middle] + bytes(200) + data[middle + 200 :])
    for nothing in (b"", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"no picture"):
        assert not is_whole(nothing)
    if restart:
        at = data.index(b"\xff\xd3")
        assert not is_whole(data[:at] + data[data.index(b"\xff\xd4") :])  # a stretch between two markers


def test_an_aspect_is_that_of_the_picture_and_unknown_after_a_change_until_it_is_said() -> None:
    aspects = PixelAspects(None)
    assert aspects.of(None, 640, 480) == 1.0
    assert aspects.of(None, 320, 240) is None
    assert aspects.of(16 / 9, 320, 240) == 16 / 9
    assert aspects.of(None, 320, 240) is None
    said = PixelAspects(Fraction(16, 15))
    assert [said.of(None, 720, 576), said.of(1.5, 720, 576), said.of(None, 720, 576)] == [16 / 15, 1.5, None]
    assert PixelAspects(Fraction(100)).of(None, 512, 512) == 1.0  # no picture's
    assert PixelAspects(None).of(None, 720, 576) is None


@pytest.mark.parametrize(("height", "width", "aspect"), [(576, 720, None), (512, 512, 1.0)])
def test_a_jpeg_s_one_to_one_says_nothing(height: int, width: int, aspect: float | None) -> None:
    data = bytes(cv2.imencode(".jpg", np.full((height, width), 90, np.uint8))[1])
    context = av.CodecContext.create("mjpeg", "r")
    assert isinstance(context, av.VideoCodecContext)
    (picture,) = VideoPictures(context, ManualClock(), has_stamps=False).of(av.Packet(data))
    assert context.sample_aspect_ratio == 1
    assert picture.pixel_aspect == aspect
