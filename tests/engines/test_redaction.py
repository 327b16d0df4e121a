"""No password of an address is shown, logged or written: schemes times places where one can stand, over all outputs."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import traceback
import urllib.request
from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.sync.client import connect

import partum
from engines.redaction import HIDDEN, looks_like_address, redact, redact_text
from engines.registry import load_engine
from stream.app.command import RedactingFormatter
from stream.app.options.session_options import SessionOptions
from stream.common.clock import ManualClock
from stream.common.errors import OptionError
from stream.outputs.web.board import Board
from stream.outputs.web.server import parse_address
from stream.sources import LIVE_SCHEMES, open_live, open_source
from tests.conftest import REPOSITORY
from tests.fakes.triton_server import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECRET = "SEKRET"
PLACES = {
    "password": "//admin:SEKRET@127.0.0.1:1/live",
    "user": "//SEKRET@127.0.0.1:1/live",
    "slash": "//admin:SEKRET/SEKRET@127.0.0.1:1/live",
    "slash after digits": "//admin:12/SEKRET@127.0.0.1:1/live",
    "hash": "//admin:SEKRET#SEKRET@127.0.0.1:1/live",
    "question mark": "//admin:SEKRET?SEKRET@127.0.0.1:1/live",
    "at": "//admin:SEKRET@SEKRET@127.0.0.1:1/live",
    "bracket": "//admin:SEKRET[SEKRET@127.0.0.1:1/live",
    "colon": "//admin:SEKRET:SEKRET@127.0.0.1:1/live",
    "blank": "//admin:SEKRET SEKRET@127.0.0.1:1/live",
    "backslash": "//admin:SEKRET\\SEKRET@127.0.0.1:1/live",
    "percent": "//admin:%53EKRETSEKRET%2F@127.0.0.1:1/live",
    "path": "//127.0.0.1:1/user=admin_password=SEKRET_channel=0_stream=1.sdp",
    "end of a path": "//127.0.0.1:1/live/SEKRET",
    "word of a path": "//127.0.0.1:1/live-SEKRET.sdp",
    "parameter": "//127.0.0.1:1/live;password=SEKRET",
    "query": "//127.0.0.1:1/live?user=a&pwd=SEKRET",
    "query with an at": "//127.0.0.1:1/live?user=a&pwd=x@SEKRET",
    "path with an at": "//127.0.0.1:1/pwd=x@SEKRET/live",
    "address in a query": "//127.0.0.1:1/live?from=rtsp://a:SEKRET@b",
    "fragment": "//127.0.0.1:1/live#token=SEKRET",
    "port": "//127.0.0.1:SEKRET/live",
    "port too high": "//admin:SEKRET@127.0.0.1:99999/live",
    "no host": "//admin:SEKRET",
    "empty host": "//admin:SEKRET@",
    "no path": "//admin:SEKRET@127.0.0.1",
    "IPv6": "//admin:SEKRET@[::1]:1/live",
    "bad IPv6": "//admin:x@[SEKRET]:1/live",
    "no slashes": "admin:SEKRET@127.0.0.1:1/live",
    "one slash": "/admin:SEKRET@127.0.0.1:1/live",
    "three slashes": "///admin:SEKRET@127.0.0.1:1/live",
    "of a file": "///SEKRET/SEKRET.mp4",
    "of a device": "/dev/video0?password=SEKRET",
    "for a device": "/dev/SEKRET",
    "line feed": "//127.0.0.1:1/live\nSEKRET",
}
SCHEMES = [*sorted(f"{scheme}:" for scheme in LIVE_SCHEMES), "triton:", "rtps:", "RTSP:", " rtsp:", "admin:"]
CROSSED = [f"{scheme}{place}" for scheme, place in product(SCHEMES, PLACES.values())]
WITHOUT_SCHEME = [
    *("//admin:SEKRET@127.0.0.1/live", "admin:SEKRET@127.0.0.1/live"),
    *("rtsp//admin:SEKRET@127.0.0.1/live", "RTSP;//admin:SEKRET@127.0.0.1/live", "http/admin:SEKRET@127.0.0.1/live"),
]


@pytest.mark.parametrize("uri", ["s3://scans/2026/SMITH loop.mp4", "gs://bucket", "abfs://exams/day"])
def test_objects_of_a_store_are_shown_as_credentials_do_not_belong_there(uri: str) -> None:
    assert redact(uri) == uri
    assert redact_text(f"{uri}: holds an archive", uri) == f"{uri}: holds an archive"


@pytest.mark.parametrize(
    "uri", ["s3://key:SEKRET@bucket/x", "s3://bucket/x?key=SEKRET", "s3://b/SEKRET@x", "s3://a:SEKRET/b"]
)
def test_credentials_in_the_address_of_an_object_are_hidden(uri: str) -> None:
    assert SECRET not in redact(uri)


def said_by(function: Callable[[], object]) -> str:
    """What an error of it says, and its traceback as the terminal shows it."""
    try:
        return str(function())
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not say the secret
        return f"{type(error).__name__}: {error}"


def outputs_of(address: str) -> Iterator[str]:
    yield redact(address)
    options = SessionOptions(source=address, live=True, model=address)
    yield json.dumps([options.as_json(), options.name, options.shown_source])
    yield SessionOptions(source=address).name
    yield said_by(lambda: open_live(address, clock=ManualClock()).info)
    yield said_by(lambda: open_source(address))
    if looks_like_address(address) and not address.startswith("triton://127"):
        yield said_by(lambda: load_engine(address))
    yield said_by(lambda: parse_address(address))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_place_of_any_address_shows_a_password(scheme: str) -> None:
    for place, rest in PLACES.items():
        for output in outputs_of(f"{scheme}{rest}"):
            assert SECRET not in output.replace(" ", ""), (place, output)
            assert SECRET.lower() not in output, (place, output)


@pytest.mark.parametrize("address", WITHOUT_SCHEME)
def test_an_address_without_its_scheme_shows_no_password(address: str) -> None:
    for output in outputs_of(address):
        assert SECRET not in output


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://host/live", "rtsp://host/live"),
        ("RTSP://10.0.0.7:554/Streaming/Channels/101", "rtsp://10.0.0.7:554/Streaming/Channels/101"),
        ("http://cam.ward-3.local/axis-cgi/mjpg/video.cgi", "http://cam.ward-3.local/axis-cgi/mjpg/video.cgi"),
        ("rtsp://user:secret@host:554/live?key=secret", "rtsp://***@host:554/live?***"),
        ("rtsp://user:sec/ret@10.0.0.7/h264", "rtsp://***@10.0.0.7/h264"),
        ("udp://@239.0.0.1:5000", "udp://@239.0.0.1:5000"),  # nobody's name: a multicast group
        ("udp://@:5000", "udp://@:5000"),
        ("rtsp://[fe80::1%25eth0]:554/live", "rtsp://[fe80::1]:554/live"),
        ("igtl://host:18944/Probe", "igtl://host:18944/Probe"),
        *[(f"v4l2:/dev/video0{options}",) * 2 for options in ("", "?size=1920x1080&rate=59.94&format=mjpeg")],
        ("v4l2:/dev/v4l/by-id/usb-7-index0", "v4l2:/dev/v4l/by-id/***"),
        ("screen::1/1280x960+100+50", "screen::1/1280x960+100+50"),
        ("screen:", "screen:"),
        ("phantom:?seed=3&duration=30", "phantom:?seed=3&duration=30"),
        ("phantom:?aop=95&offplane=true", "phantom:?aop=95&offplane=true"),
        ("triton://gpu:8001/psfh_lite0", "triton://gpu:8001/psfh_lite0"),
    ],
)  # fmt: skip
def test_what_is_harmless_is_shown(address: str, shown: str) -> None:
    assert redact(address) == shown


@given(st.lists(st.sampled_from([*":/?#@[]=&;,%. \n", "SEKRET", "1", "live"]), max_size=12), st.sampled_from(SCHEMES))
def test_only_a_host_or_scheme_can_be_a_word_of_the_user(words: list[str], scheme: str) -> None:
    shown = redact(scheme + "".join(words))
    assert "\n" not in shown
    host = shown.partition("//")[2].rpartition("@")[2].split("/")[0]
    assert shown.replace(host, "", 1).count(SECRET) == 0


def test_texts_of_others_are_scrubbed() -> None:
    address = "rtsp://admin:pass%2Fword@host/user=me_pw=letmein.sdp?key=abc123"
    said = (
        "[Errno 5] 'rtsp://admin:pass%2Fword@host/user=me_pw=letmein.sdp?key=abc123'; auth pass/word; key abc123, admin"
    )
    found = redact_text(said, address, "/some/file")
    for secret in ("pass%2Fword", "pass/word", "letmein", "abc123", "admin"):
        assert secret not in found
    assert "Errno 5" in found
    assert "host" in found


def test_tracebacks_and_log_lines_are_scrubbed() -> None:
    address = "rtsp://admin:SEKRET@host/live"
    formatter = RedactingFormatter("%(message)s", given=["attach", address])
    try:
        try:
            raise OSError(5, "no route", address)
        except OSError as error:
            raise ValueError(f"port could not be read as {SECRET!r}") from error
    except ValueError:
        record = logging.LogRecord("x", logging.DEBUG, "", 0, "for %s", (address,), sys.exc_info())
        assert SECRET in traceback.format_exc()
    text = formatter.format(record)
    assert SECRET not in text
    assert "rtsp://***@host/live" in text
    assert "ValueError" in text


@pytest.mark.parametrize(
    "words", [["replay", "{}"], ["replay", "a", "{}"], ["replay", "--model", "{}"], ["attach", "-v", "{}"]]
)
def test_the_command_line_says_no_password(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    for address in ("rtps://admin:SEKRET@127.0.0.1/live", "igtl://admin:SEKRET@h/Probe", "screen:admin:SEKRET@"):
        with pytest.raises(SystemExit) as ended:
            partum.main([word.format(address) for word in words])
        assert ended.value.code in (1, 2)
        said = "".join(capfd.readouterr())
        assert said.startswith("partum: ") or "-v" in words
        assert SECRET not in said


def test_a_screen_s_address_is_no_place_for_a_password_either() -> None:
    with pytest.raises(OptionError, match="give HOST:PORT") as caught:
        parse_address("http://admin:SEKRET@127.0.0.1:https")
    assert SECRET not in str(caught.value)


@pytest.mark.slow
def test_a_run_of_many_feeds_writes_and_serves_no_password(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    schemes = ("rtsp:", "http:", "tcp:", "rtmp:")
    places = ("password", "slash after digits", "path", "query", "query with an at", "fragment", "parameter")
    sources = [f"{scheme}{PLACES[place]}" for place, scheme in zip(places, schemes * 2, strict=False)]
    command = [sys.executable, "-m", "partum", "attach", *sources, "-v", "--out", str(tmp_path), "--duration", "3"]
    process = subprocess.Popen(
        [*command, "--serve", f"127.0.0.1:{port}"], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    served = b""
    line = b""
    assert process.stdout is not None
    while b"web page: " not in line:
        line = process.stdout.readline()
        assert line, served
        served += line
    for path in ("", "metrics", "healthz", "readyz"):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
                served += answer.read()
        except urllib.error.HTTPError as error:
            served += error.read()
    for number in range(1, len(sources) + 1):
        with connect(f"ws://127.0.0.1:{port}/stream?feed={number}") as viewer:
            for _ in range(3):
                message = viewer.recv()
                assert isinstance(message, bytes)
                served += message
    served += process.communicate(timeout=60)[0]
    assert b"127.0.0.1" in served
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"127.0.0.1" in written
    for everything in (served, written):
        assert SECRET.encode() not in everything
        assert b"admin" not in everything


def test_a_board_is_named_by_what_may_be_shown() -> None:
    options = SessionOptions(source="rtsp://admin:SEKRET@host/live", live=True)
    assert Board(clock=ManualClock(), name=options.name).name == f"rtsp://{HIDDEN}@host/live"


def test_a_gpu_is_no_address() -> None:
    assert redact_text("on cuda:1 run tensorrt, torch-cuda", "cuda:1") == "on cuda:1 run tensorrt, torch-cuda"
    assert redact("cuda:SEKRET") == HIDDEN


def test_words_of_a_message_are_left_alone() -> None:
    said = "v4l2:/dev/null: the driver refuses (Inappropriate ioctl for device)"
    assert redact_text(said, "v4l2:/dev/null").endswith("(Inappropriate ioctl for device)")
