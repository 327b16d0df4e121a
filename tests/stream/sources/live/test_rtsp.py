"""RTSP with a server of our own: every picture where nothing is lost, and every loss counted and told apart."""

from __future__ import annotations

import base64
import socket
import threading
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.common.clock import ManualClock, MonotonicClock
from stream.common.errors import SourceDenied, SourceError, SourceUnreadable
from stream.frames.reason import Reason
from stream.sources.decoding.checked_decoder import CheckedDecoder
from stream.sources.decoding.h264 import nal_units
from stream.sources.live.network import open_network
from stream.sources.live.rtsp.client import RtspClient
from stream.sources.live.rtsp.rtp import H264, H265, Assembler, Packet
from stream.sources.live.rtsp.session_description import RtspAddress, VideoDescription
from stream.sources.live.rtsp.source import CodecNotCounted, RtspFeed
from stream.sources.live.video_pictures import VideoPictures
from tests.fakes.rtsp_server import RtspServer, packets_of
from tests.stream.sources.decoding.test_checked_decoder import COUNT, KEY_EVERY, decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from stream.sources.decoding.checked_decoder import Decoded
    from stream.sources.live.base import LivePicture

PICTURES = {"H264": encoded("h264"), "H265": encoded("hevc")}
CODECS = {"H264": "h264", "H265": "hevc"}


@pytest.fixture
def serving() -> Iterator[Callable[..., RtspServer]]:
    servers: list[RtspServer] = []

    def serve(packets: Sequence[bytes], **options: object) -> RtspServer:
        servers.append(RtspServer(packets, **options))  # type: ignore[arg-type]
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


def feed_of(port: int, *, login: str = "", path: str = "live") -> RtspFeed:
    return RtspFeed(f"rtsp://{login}127.0.0.1:{port}/{path}", MonotonicClock(), threading.Event())


def read(feed: RtspFeed) -> list[LivePicture]:
    """All pictures until the server closes."""
    found: list[LivePicture] = []
    with pytest.raises(SourceUnreadable, match=r"^rtsp://.*127\.0\.0\.1:.* the server ended the session$"):
        found.extend(feed)
    return found


def only(packets: Iterable[tuple[int, bytes]]) -> list[bytes]:
    return [packet for _, packet in packets]


@pytest.mark.parametrize("codec", PICTURES)
@pytest.mark.parametrize("early", [0, 3])
def test_every_picture_is_given_and_timed_by_its_stamp(
    serving: Callable[..., RtspServer], codec: str, early: int
) -> None:
    server = serving(only(packets_of(PICTURES[codec], codec, first=65_530)), codec=codec, early=early)
    feed = feed_of(server.port)
    found = read(feed)
    whole, _ = decoded(CODECS[codec], PICTURES[codec])
    assert len(found) == COUNT
    assert all(picture.refusal is None and picture.lost_before == 0 for picture in found)
    for number, picture in enumerate(found):
        levels = whole[number][1].astype(float)
        assert np.abs(picture.image.astype(float) - levels).mean() < 3
    assert server.asked[:3] == ["DESCRIBE", "SETUP", "PLAY"]
    assert feed.skipped == 0


@pytest.mark.parametrize("codec", PICTURES)
def test_lost_packets_are_counted_and_what_they_spoil_is_refused(
    serving: Callable[..., RtspServer], codec: str
) -> None:
    packets = packets_of(PICTURES[codec], codec)
    key = [index for index, (number, _) in enumerate(packets) if number == 24]
    first_of_15 = next(index for index, (number, _) in enumerate(packets) if number == 15)
    losses = {
        "the middle of a key picture": (key[-2:-1], range(24, COUNT)),
        "the end of a key picture": (key[-1:], range(24, COUNT)),
        "all but the end of a key picture": (key[:-1], range(24, COUNT)),
        "one picture between two keys": ([first_of_15], range(15, 24)),
    }
    for what, (lost, spoilt) in losses.items():
        server = serving(only(each for index, each in enumerate(packets) if index not in lost), codec=codec)
        found = read(feed_of(server.port))
        clean = sum(picture.refusal is None for picture in found)
        assert clean == COUNT - len(spoilt), what
        assert sum(picture.lost_before for picture in found) == len(lost), what
        refused = [picture.refusal for picture in found if picture.refusal]
        assert set(refused) == {Reason.DAMAGED}, what


def test_a_picture_that_is_lost_whole_before_a_key_does_not_spoil_the_key(serving: Callable[..., RtspServer]) -> None:
    packets = packets_of(PICTURES["H264"], "H264")
    server = serving(only(each for each in packets if each[0] != 23))
    found = read(feed_of(server.port))
    assert [picture.refusal for picture in found] == [None] * (COUNT - 1)
    assert sum(picture.lost_before for picture in found) == sum(number == 23 for number, _ in packets)


def test_packets_that_come_late_or_twice_are_lost_or_passed_over(serving: Callable[..., RtspServer]) -> None:
    packets = packets_of(PICTURES["H264"], "H264")
    at = next(index for index, (number, _) in enumerate(packets) if number == 15)
    swapped = [*packets[:at], packets[at + 1], packets[at], *packets[at + 2 :]]
    found = read(feed_of(serving(only(swapped)).port))
    assert {number for number, picture in enumerate(found) if picture.refusal} >= set(range(16, 23))
    doubled = [each for each in packets for _ in range(2)]
    found = read(feed_of(serving(only(doubled)).port))
    assert [picture.refusal for picture in found] == [None] * COUNT


def test_parameter_sets_may_stand_in_the_description(serving: Callable[..., RtspServer]) -> None:
    units = list(nal_units(PICTURES["H264"][0], 0))
    sets = ",".join(base64.b64encode(u.rstrip(b"\0")).decode() for u in units if u[0] & 31 in (7, 8))
    bare = [b"".join(b"\0\0\1" + u for u in nal_units(p, 0) if u[0] & 31 not in (7, 8)) for p in PICTURES["H264"]]
    sdp = (
        "v=0\r\ns=x\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
        f"a=fmtp:96 profile-level-id=42e01f; sprop-parameter-sets={sets},!!!\r\na=control:track2\r\n"
    )
    found = read(feed_of(serving(only(packets_of(bare, "H264")), sdp=sdp).port))
    assert [picture.refusal for picture in found] == [None] * COUNT


@pytest.mark.parametrize("scheme", ["Basic", "Digest", "Digest SHA-256"])
def test_who_may_see_it_does_and_who_may_not_is_told_so(serving: Callable[..., RtspServer], scheme: str) -> None:
    packets = only(packets_of(PICTURES["H264"], "H264"))
    server = serving(packets, login=("nurse", "a/b@c#1", scheme))
    assert len(read(feed_of(server.port, login="nurse:a/b@c#1@"))) == COUNT
    for login in ("", "nurse:wrong@"):
        with pytest.raises(SourceDenied, match=r"refused \(401 Unauthorized\)$") as raised:
            feed_of(server.port, login=login)
        assert "wrong" not in str(raised.value)
    assert server.asked.count("DESCRIBE") == 2 + 1 + 2


def test_a_password_is_told_to_no_other_host(serving: Callable[..., RtspServer]) -> None:
    other = serving([], login=("nurse", "SECRET", "Basic"))
    moved = f"RTSP/1.0 302 Moved\r\nCSEQLocation: rtsp://localhost:{other.port}/live\r\n\r\n"
    server = serving([], answer=lambda method: moved)
    with pytest.raises(SourceDenied, match="redirects to localhost"):
        feed_of(server.port, login="nurse:SECRET@")
    assert other.asked == ["DESCRIBE"]
    assert other.authorizations == []


def test_a_server_on_another_port_of_the_host_is_told_the_password(serving: Callable[..., RtspServer]) -> None:
    other = serving(only(packets_of(PICTURES["H264"], "H264")), login=("nurse", "SECRET", "Basic"))
    moved = f"RTSP/1.0 302 Moved\r\nCSEQLocation: rtsp://127.0.0.1:{other.port}/live\r\n\r\n"
    server = serving([], answer=lambda method: moved)
    assert len(read(feed_of(server.port, login="nurse:SECRET@"))) == COUNT


def test_what_a_server_repeats_of_the_password_is_not_shown(serving: Callable[..., RtspServer]) -> None:
    server = serving([], answer=lambda method: "RTSP/1.0 400 bad user joe:SEKRET\r\nCSEQ\r\n")
    source = open_network(f"rtsp://joe:SEKRET@127.0.0.1:{server.port}/live", clock=MonotonicClock())
    thread = threading.Thread(target=lambda: list(source))
    thread.start()
    while not source.status.reason:
        thread.join(0.01)
    source.close()
    thread.join()
    assert "400 bad user" in source.status.reason
    assert "SEKRET" not in repr(source.status)


@pytest.mark.parametrize(
    ("method", "answer", "said"),
    [
        ("DESCRIBE", "RTSP/1.0 404 Not Found\r\nCSEQ\r\n", r"DESCRIBE is refused \(404 Not Found\)"),
        ("DESCRIBE", "HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak RTSP"),
        ("DESCRIBE", "RTSP/1.0 200 OK\r\nCSEQContent-Length: 99999999\r\n\r\n", "99999999 bytes long"),
        ("DESCRIBE", "RTSP/1.0 200 OK\r\nCSEQ\r\n", "no video in it"),
        ("DESCRIBE", "RTSP/1.0 302 Moved\r\nCSEQLocation: nowhere\r\n\r\n", "no host"),
        ("SETUP", "RTSP/1.0 461 Unsupported Transport\r\nCSEQ\r\n", "SETUP is refused"),
        ("PLAY", "RTSP/1.0 453 Not Enough Bandwidth\r\nCSEQ\r\n", "PLAY is refused"),
        ("PLAY", "RTSP/1.0 200 OK\r\nCSEQ\r\n\x01nonsense", "neither a packet nor an answer"),
    ],
)
def test_a_server_that_refuses_or_is_none_is_said_in_one_line(
    serving: Callable[..., RtspServer], method: str, answer: str, said: str
) -> None:
    server = serving([], answer=lambda asked: answer if asked == method else None)
    with pytest.raises(SourceUnreadable, match=said) as raised:
        list(feed_of(server.port))
    assert str(raised.value).startswith("rtsp://127.0.0.1:")
    assert "\n" not in str(raised.value)


def test_other_codecs_are_left_to_ffmpeg(serving: Callable[..., RtspServer]) -> None:
    for sdp in ("v=0\r\nm=video 0 RTP/AVP 26\r\n", "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n"):
        with pytest.raises(CodecNotCounted):
            feed_of(serving([], sdp=sdp).port)


def test_a_session_that_sends_no_picture_is_left(serving: Callable[..., RtspServer]) -> None:
    class Hurried(ManualClock):
        def now_ns(self) -> int:
            self.advance(300_000_000)
            return super().now_ns()

    server = serving([b"rtcp"] * 1000, channel=1)
    feed = RtspFeed(f"rtsp://127.0.0.1:{server.port}/live", Hurried(), threading.Event())
    with pytest.raises(SourceUnreadable, match=r"it sends, but no picture came for 5 s$"):
        list(feed)
    assert feed.note == "waiting for a whole key picture"


def test_closing_ends_a_waiting_read_at_once(serving: Callable[..., RtspServer]) -> None:
    server = serving(only(packets_of(PICTURES["H264"], "H264")), stays=True)
    source = open_network(f"rtsp://127.0.0.1:{server.port}/live", clock=MonotonicClock())
    closing = threading.Timer(0.05, source.close)
    for number, frame in enumerate(source):
        if number == COUNT - 1:  # the server sends nothing more: the read waits
            closing.start()
        assert frame.refusal is None
    closing.join()
    assert source.status.frames == COUNT
    assert source.status.format == "H264"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("rtsp://host/live", RtspAddress("host", 554, "/live")),
        ("rtsp://u:p%40ss@host:8554/a?b=c", RtspAddress("host", 8554, "/a?b=c", "u", "p@ss")),
        ("rtsp://u:a/b#c?d@[::1]:554/x", RtspAddress("::1", 554, "/x", "u", "a/b#c?d")),
        ("rtsp://host", RtspAddress("host", 554, "/")),
    ],
)
def test_addresses(uri: str, expected: RtspAddress) -> None:
    assert RtspAddress.parse(uri) == expected


@pytest.mark.parametrize("uri", ["rtsp://", "rtsp://host:99999/x", "rtsp://:554/x", "rtsp://[::1/x", "rtsp://u:p@/x"])
def test_addresses_that_cannot_be(uri: str) -> None:
    with pytest.raises(SourceUnreadable, match="write rtsp://host"):
        RtspAddress.parse(uri)


@pytest.mark.parametrize(
    ("session", "control", "expected"),
    [
        ("", "track1", "rtsp://h/live/track1"),
        ("*", "track1", "rtsp://h/live/track1"),
        ("rtsp://h/other/", "trackID=0", "rtsp://h/other/trackID=0"),
        ("", "rtsp://h/live/video", "rtsp://h/live/video"),
        ("", "/streams/1", "rtsp://h/streams/1"),
        ("", "*", "rtsp://h/live/"),
        ("", "", "rtsp://h/live/"),
    ],
)
def test_control_addresses_are_joined_as_servers_mean_them(session: str, control: str, expected: str) -> None:
    above = f"a=control:{session}\r\n" if session else ""
    own = f"a=control:{control}\r\n" if control else ""
    video = "m=video 0 RTP/AVP 97\r\na=rtpmap:97 H265/90000\r\na=framerate:25\r\n"
    sdp = f"v=0\r\n{above}{video}{own}m=audio 0 RTP/AVP 0\r\n"
    media = VideoDescription.parse(sdp, "rtsp://h/live/")
    assert (media.control, media.codec, media.clock_hz) == (expected, "H265", 90_000)


@given(st.lists(st.binary(max_size=40), max_size=30), st.booleans())
def test_any_packets_are_pictures_or_passed_over(datas: list[bytes], is_265: bool) -> None:
    assembler = Assembler(H265() if is_265 else H264())
    for number, data in enumerate(datas):
        for each in (data, bytes([0x80, 96, 0, number, 0, 0, 0, number // 3, 0, 0, 0, 1]) + data):
            packet = Packet.parse(each)
            for unit in assembler.add(packet) if packet else ():
                assert unit.lost >= 0


def answer_all(client: RtspClient) -> None:
    while True:
        client._answer()


@given(st.binary(max_size=300))
def test_any_answer_is_one_or_an_error_of_ours(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client = RtspClient.__new__(RtspClient)
        client._socket, client._clock, client._channel = ours, ManualClock(), 0
        client._early, client._alive_ns, client._every_ns = [], 0, 1 << 62  # type: ignore[assignment]
        theirs.sendall(data)
        theirs.close()
        with pytest.raises(SourceError):
            answer_all(client)


@pytest.mark.parametrize(("decode_ms", "is_slow"), [(100, True), (10, False)])
def test_a_machine_that_decodes_too_slowly_gives_key_pictures_and_says_that_it_left_out_the_others(
    decode_ms: int, is_slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    coded = encoded("h264", 240)
    clock = ManualClock()
    context = av.CodecContext.create("h264", "r")
    assert isinstance(context, av.VideoCodecContext)
    pictures = VideoPictures(context, clock)
    decode = CheckedDecoder.decode

    def slowly(self: CheckedDecoder, packet: av.Packet[Any], **facts: Any) -> Iterator[Decoded]:
        clock.advance(decode_ms * 1_000_000)
        yield from decode(self, packet, **facts)

    monkeypatch.setattr(CheckedDecoder, "decode", slowly)
    found: list[LivePicture] = []
    late_ms = []
    for number, data in enumerate(coded):
        packet: av.Packet[Any] = av.Packet(data)
        packet.pts, packet.time_base, packet.is_keyframe = number, Fraction(1, 25), number % KEY_EVERY == 0
        clock.wait_until(number * 40_000_000, threading.Event())
        for picture in pictures.of(packet):
            found.append(picture)
            late_ms.append((clock.now_ns() - picture.captured_ns) / 1e6)
    refusals = [picture.refusal for picture in found]
    assert len(found) == 240
    assert set(refusals) == ({None, Reason.OVERLOAD} if is_slow else {None})
    assert late_ms[-1] < 1000
    if is_slow:
        assert 60 < refusals.count(Reason.OVERLOAD) < 200
        assert max(late_ms) < 3000
        assert not any(picture.refusal is Reason.DAMAGED for picture in found)


def test_a_change_of_size_in_mid_session_is_seen_and_its_pixels_are_of_unknown_shape(
    serving: Callable[..., RtspServer],
) -> None:
    small = encoded("h264", 12, side=96)
    server = serving(only(packets_of([*PICTURES["H264"], *small, *PICTURES["H264"][:12]], "H264")))
    found = read(feed_of(server.port))
    facts = [(picture.image.shape[0], picture.pixel_aspect, picture.refusal) for picture in found]
    assert facts == [(128, 1.0, None)] * COUNT + [(96, None, None)] * 12 + [(128, 1.0, None)] * 12
