"""Who may look at the screen, by which name, with which token, over TLS; and that a bad peer costs nothing."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import json
import socket
import ssl
import struct
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from stream.biometry import Reason
from stream.clock import ManualClock, MonotonicClock
from stream.errors import OptionError, OutputError
from stream.measurement import State
from stream.pipeline import Pipeline
from stream.screen import broadcast, transport
from stream.screen.access import Access
from stream.screen.board import Board
from stream.screen.server import ScreenServer
from stream.screen.settings import ScreenSettings
from stream.session import run_session
from stream.session_options import SessionOptions
from tests.fakes import DrawnSource, GreyLevelEngine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stream.measurement import Measurement

PATHS = ("/", "/metrics", "/healthz", "/readyz", "/stream", "/static/main.js", "/static/", "/nothing")


@pytest.fixture(scope="module")
def measurements() -> list[Measurement]:
    with Pipeline(DrawnSource(30, off_plane=range(20, 25)), GreyLevelEngine()) as pipeline:
        return list(pipeline)


@contextmanager
def serving(*boards: Board, **options: Any) -> Iterator[ScreenServer]:
    settings: dict[str, Any] = {"host": "127.0.0.1", "port": 0, **options}
    with ScreenServer(boards or [Board(clock=MonotonicClock())], **settings) as server:
        yield server


def port_of(server: ScreenServer) -> int:
    return server._port


def asked(server: ScreenServer, *lines: str, body: bytes = b"", host: str = "127.0.0.1") -> bytes:
    """The beginning of the answer to a request, byte by byte as it was sent."""
    with socket.create_connection((host, port_of(server)), timeout=5) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        answer = b""
        while len(answer) < 4000:
            try:
                part = connection.recv(4096)
            except (TimeoutError, ConnectionResetError):
                break
            answer += part
            if not part:
                break
    return answer


def status_of(server: ScreenServer, path: str, host: str, *more: str) -> int:
    upgrade: tuple[str, ...] = ()
    if path.startswith("/stream"):
        upgrade = (
            *("Upgrade: websocket", "Connection: Upgrade"),
            *("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"),
        )
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=5) as connection:
        connection.sendall(
            "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *upgrade, *more, "", ""]).encode("latin-1")
        )
        return int(connection.recv(200).split()[1])


def test_only_names_of_this_server_are_answered_to() -> None:
    with serving(allow_hosts=["ward-pc", "Screen.Local."]) as server:
        port = port_of(server)
        ours = [
            f"127.0.0.1:{port}",
            f"localhost:{port}",
            "LOCALHOST",
            "[::1]:80",
            "127.8.9.1",
            "ward-pc:1",
            "screen.local",
        ]
        others = [
            "evil.example",
            f"evil.example:{port}",
            "10.0.0.1",
            "localhost.evil.example",
            "evil@127.0.0.1",
            "",
            "[::2]",
        ]
        others += ["127.0.0.1.evil.example", "127.0.0.1:80:80", "ward-pc.evil", "0x7f.1", "127.1"]
        for path in PATHS:
            expected = {"/stream": 101, "/readyz": 503, "/static/": 404, "/nothing": 404}.get(path, 200)
            assert status_of(server, path, ours[0]) == expected
            assert status_of(server, path, "evil.example") == 403
            # DNS rebinding: the page is of the same origin as the name it was called by.
            assert status_of(server, path, f"evil.example:{port}", f"Origin: http://evil.example:{port}") == 403
        assert {host: status_of(server, "/healthz", host) for host in ours} == dict.fromkeys(ours, 200)
        assert {host: status_of(server, "/healthz", host) for host in others} == dict.fromkeys(others, 403)
        assert b" 400 " in asked(server, "GET / HTTP/1.1", "Host: 127.0.0.1", "Host: evil.example").split(b"\r\n")[0]
        assert b" 403 " in asked(server, "GET / HTTP/1.0").split(b"\r\n")[0]


@pytest.mark.parametrize("path", PATHS)
def test_pages_of_other_sites_reach_nothing(path: str) -> None:
    with serving() as server:
        host = f"127.0.0.1:{port_of(server)}"
        own = status_of(server, path, host, f"Origin: http://{host}")
        assert own != 403
        for origin in (
            "http://evil.example",
            "null",
            "http://127.0.0.1:9",
            f"http://localhost:{port_of(server)}",
            "file://",
        ):
            assert status_of(server, path, host, f"Origin: {origin}") == 403
        assert status_of(server, path, host, f"Origin: http://{host}", "Origin: http://evil.example") in (400, 403)


def test_a_page_behind_a_proxy_on_the_usual_port_is_the_same_origin() -> None:
    with serving(allow_hosts=["ward.example"]) as server:
        assert status_of(server, "/stream", "ward.example", "Origin: https://ward.example") == 101
        assert status_of(server, "/stream", "ward.example:443", "Origin: https://ward.example") == 101
        assert status_of(server, "/stream", "ward.example:8443", "Origin: https://ward.example") == 403


def test_where_every_address_is_listened_on_that_of_the_connection_is_ours() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    access = Access(app, names=["0.0.0.0"], token=None)

    def refusal(host: bytes, server: str) -> str:
        return access.refusal({"type": "http", "path": "/", "headers": [(b"host", host)], "server": (server, 8400)})

    assert refusal(b"10.0.0.7:8400", "10.0.0.7") == ""
    assert refusal(b"10.0.0.7", "::ffff:10.0.0.7") == ""
    assert refusal(b"[fe80::1]:8400", "fe80::1%eth0") == ""
    assert "--allow-host" in refusal(b"10.0.0.8:8400", "10.0.0.7")
    assert "--allow-host" in refusal(b"evil.example", "10.0.0.7")


def test_a_token_is_taken_from_the_address_or_the_header() -> None:
    with serving(token="r/ght+&") as server:
        host = f"127.0.0.1:{port_of(server)}"
        assert server.address.endswith("/?token=r%2Fght%2B%26")
        for path in ("/", "/metrics", "/stream"):
            right = 101 if path == "/stream" else 200
            assert status_of(server, f"{path}?token=r%2Fght%2B%26", host) == right
            assert status_of(server, path, host, "Authorization: Bearer r/ght+&") == right
            assert status_of(server, path, host, "authorization: bearer  r/ght+&") == right
            for wrong in ("", "Authorization: Bearer wrong", "Authorization: Basic r/ght+&", "Authorization: r/ght+&"):
                assert status_of(server, path, host, *([wrong] if wrong else [])) == 403
            for wrong in ("?token=", "?token=%FF", "?token=r/ght", "?Token=r%2Fght%2B%26", f"?token={'x' * 5000}"):
                assert status_of(server, f"{path}{wrong}", host) == 403
        assert status_of(server, "/healthz", host) == 200
        assert status_of(server, "/static/main.js", host) == 200
        assert status_of(server, "/staticmain.js", host) == 403


def test_a_token_that_cannot_stand_in_a_header_is_refused() -> None:
    with pytest.raises(OptionError, match="--token"):
        ScreenSettings.checked("127.0.0.1", 0, token="a\r\nb")


def test_every_answer_carries_the_security_headers() -> None:
    with serving(token="t") as server:
        host = f"127.0.0.1:{port_of(server)}"
        for path in ("/?token=t", "/", "/nothing?token=t", "/static/style.css", "/metrics?token=t", "/healthz"):
            head = (
                asked(server, f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close")
                .split(b"\r\n\r\n")[0]
                .decode()
            )
            headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:])
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cache-control"] == "no-store"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert "server" not in headers


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ward-pc")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    locked = serialization.BestAvailableEncryption(b"secret")
    (folder / "locked.pem").write_bytes(key.private_bytes(pem, form, locked))
    other = ec.generate_private_key(ec.SECP256R1())
    (folder / "other.pem").write_bytes(other.private_bytes(pem, form, serialization.NoEncryption()))
    (folder / "both.pem").write_bytes((folder / "cert.pem").read_bytes() + (folder / "key.pem").read_bytes())
    (folder / "text.pem").write_text("no certificate\n")
    (folder / "empty.pem").touch()
    return folder / "cert.pem", folder / "key.pem"


def test_with_a_certificate_it_serves_https_and_nothing_else(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    trusting = ssl.create_default_context(cafile=str(cert))
    for files in ({"tls_cert": cert, "tls_key": key}, {"tls_cert": cert.parent / "both.pem"}):
        with serving(token="t", **files) as server:
            assert server.address.startswith("https://127.0.0.1:")
            with urllib.request.urlopen(server.address, timeout=5, context=trusting) as answer:
                assert b"Partum" in answer.read()
            address = f"wss://127.0.0.1:{port_of(server)}/stream?token=t"
            origin = Origin(f"https://127.0.0.1:{port_of(server)}")
            with connect(address, ssl=trusting, origin=origin) as viewer:
                assert viewer.recv()
            with (
                socket.create_connection(("127.0.0.1", port_of(server))) as plain,
                trusting.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
            ):
                assert (secure.version() or "") >= "TLSv1.2"
            assert not asked(server, "GET / HTTP/1.1", "Host: 127.0.0.1").startswith(b"HTTP")


@pytest.mark.parametrize(
    ("cert", "key", "said"),
    [
        ("none.pem", "key.pem", "--tls-cert .*none.pem: cannot be read"),
        ("cert.pem", "none.pem", "--tls-key .*none.pem: cannot be read"),
        ("cert.pem", "other.pem", "other.pem: is not the key of"),
        ("cert.pem", "locked.pem", "locked.pem: is encrypted"),
        ("cert.pem", "text.pem", "text.pem: holds no key"),
        ("cert.pem", "cert.pem", "cert.pem: holds no key"),
        ("cert.pem", None, "holds no key; give it by --tls-key"),
        ("key.pem", "key.pem", "key.pem: holds no certificate"),
        ("text.pem", None, "text.pem: holds no certificate"),
        ("empty.pem", "key.pem", "empty.pem: holds no certificate"),
        (".", "key.pem", "cannot be read"),
        (None, "key.pem", "--tls-key: give the certificate too"),
    ],
)
def test_bad_certificate_files_are_one_clear_error(
    certificate: tuple[Path, Path], cert: str | None, key: str | None, said: str
) -> None:
    folder = certificate[0].parent
    tls_cert, tls_key = folder / cert if cert else None, folder / key if key else None
    with pytest.raises(OptionError, match=said):
        ScreenSettings.checked("127.0.0.1", 0, tls_cert=tls_cert, tls_key=tls_key)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"serve": "nonsense"}, "give HOST:PORT"),
        ({"serve": "127.0.0.1:0", "allow_hosts": ("http://ward-pc:8400/",)}, "--allow-host"),
        ({"serve": "127.0.0.1:0", "tls_cert": Path("no.pem")}, "no.pem"),
        ({"token": "x"}, "give --serve"),
        ({"allow_hosts": ("ward-pc",)}, "give --serve"),
        ({"serve": "no-such-host.invalid:8400"}, "cannot listen there"),
    ],
)
def test_what_is_wrong_with_the_screen_is_said_before_an_engine_is_loaded(
    options: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("stream.session.load_engine", lambda *_, **__: pytest.fail("an engine was loaded"))
    with pytest.raises((OptionError, OutputError), match=said):
        run_session(SessionOptions(out=tmp_path / "out", **options))


def test_a_port_in_use_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("stream.session.load_engine", lambda *_, **__: pytest.fail("an engine was loaded"))
    with serving() as server, pytest.raises(OutputError, match="cannot listen there") as caught:
        run_session(SessionOptions(out=tmp_path / "out", serve=f"127.0.0.1:{port_of(server)}"))
    assert "\n" not in str(caught.value)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on loopback")
@pytest.mark.parametrize("host", ["::1", "::"])
def test_it_serves_over_ipv6(host: str) -> None:
    with serving(host=host) as server:
        assert "//[" in server.address
        path = f"/?token={server.token}" if server.token else "/"
        answer = asked(server, f"GET {path} HTTP/1.1", "Host: [::1]", "Connection: close", host="::1")
        assert answer.startswith(b"HTTP/1.1 200 ")


def test_paths_and_requests_that_nobody_means_are_refused_and_the_server_stays() -> None:
    with serving() as server:
        host = f"Host: 127.0.0.1:{port_of(server)}"
        for path in (
            "/../../etc/passwd",
            "/static/../server.py",
            "/static/%2e%2e/server.py",
            "/static/..%2fserver.py",
            "//etc/passwd",
            "/static//etc/passwd",
            "/%00",
            "/static/%00",
            "/" + "a" * 9000,
        ):
            answer = asked(server, f"GET {path} HTTP/1.1", host, "Connection: close")
            assert answer.split()[1] in (b"404", b"400"), path
            assert b"import" not in answer
        assert (
            asked(server, "POST / HTTP/1.1", host, "Content-Length: 5", "Connection: close", body=b"hello").split()[1]
            == b"405"
        )
        assert asked(server, "GET / HTTP/1.1", host, "X: " + "b" * 200_000).split(b"\r\n")[0].split()[1:2] in (
            [b"400"],
            [b"431"],
            [],
        )
        assert asked(server, "\x00\xff\xfe").startswith((b"HTTP/1.1 400", b""))
        assert status_of(server, "/healthz", "127.0.0.1") == 200


def test_metrics_are_valid_in_both_forms(measurements: Sequence[Measurement]) -> None:
    board = Board(clock=MonotonicClock())
    for measurement in measurements:
        board.write(measurement)
    board.write(replace(measurements[0], state=State.DROPPED, reason=Reason.OVERLOAD))
    with serving(board, Board(clock=MonotonicClock())) as server:
        for accept, parse, kind in (
            ("text/plain", parse_text, "text/plain"),
            ("application/openmetrics-text; version=1.0.0", parse_openmetrics, "application/openmetrics-text"),
        ):
            request = urllib.request.Request(f"{server.address}metrics", headers={"Accept": accept})
            with urllib.request.urlopen(request, timeout=5) as answer:
                assert answer.headers["Content-Type"].startswith(kind)
                families = {family.name: family for family in parse(answer.read().decode())}
            counts = {
                tuple(sample.labels.values()): sample.value
                for sample in families["partum_frames"].samples
                if sample.name == "partum_frames_total"
            }
            assert counts["1", "measured"] == 25
            assert counts["1", "refused"] == 5
            assert counts["1", "dropped"] == 1
            assert counts["2", "measured"] == 0
            assert families["partum_latency_seconds"].type == "histogram"
            buckets = [
                s.value
                for s in families["partum_latency_seconds"].samples
                if s.name.endswith("_bucket") and s.labels["feed"] == "1"
            ]
            assert buckets == sorted(buckets)
            assert buckets[-1] == 30
            states = [s for s in families["partum_state"].samples if s.labels["feed"] == "2"]
            assert [s.labels["state"] for s in states if s.value == 1] == ["connecting"]


def content_of(message: bytes | str) -> dict[str, Any]:
    assert isinstance(message, bytes)
    (length,) = struct.unpack(">I", message[:4])
    content: dict[str, Any] = json.loads(message[4 : 4 + length])
    return content


def say_all(viewer: Any, words: Sequence[str | bytes]) -> None:
    for word in words:
        viewer.send(word)
    for _ in range(1000):
        viewer.recv(timeout=10)


def test_a_viewer_that_talks_too_much_or_too_long_is_let_go(measurements: Sequence[Measurement]) -> None:
    board = Board(clock=MonotonicClock())
    board.write(measurements[0])
    with serving(board) as server:
        address = f"ws://127.0.0.1:{port_of(server)}/stream"
        for words in (["x"] * 50, ["x" * (broadcast.LONGEST_MESSAGE + 1)], [b"\0" * 100_000], ["mark"] * 1000):
            with connect(address, max_size=None) as viewer, pytest.raises(ConnectionClosed):
                say_all(viewer, words)
        with connect(address) as viewer:
            viewer.send(b"mark")  # no text: not looked at
            viewer.send("mark")
            for _ in range(20):
                message = content_of(viewer.recv())
                if message.get("mark_tries", 0) > broadcast.MOST_MESSAGES_HZ:
                    break
            assert 0 < message["mark_count"] <= broadcast.MOST_MESSAGES_HZ + 1


def test_there_are_so_many_viewers_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.screen.server.MOST_VIEWERS", 3)
    with serving() as server:
        address = f"ws://127.0.0.1:{port_of(server)}/stream"
        with contextlib.ExitStack() as stack:
            viewers = [stack.enter_context(connect(address)) for _ in range(3)]
            for viewer in viewers:
                viewer.recv()
            with connect(address) as late, pytest.raises(ConnectionClosed) as closed:
                late.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, "too many viewers")
            viewers[0].close()
            assert any(is_let_in(address) for _ in range(100))


def is_let_in(address: str) -> bool:
    with connect(address) as viewer:
        try:
            return bool(viewer.recv())
        except ConnectionClosed:
            return False


def stuck_viewer(server: ScreenServer) -> socket.socket:
    """One that asks for the stream and never reads."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port_of(server)))
    connection.sendall(
        f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1:{port_of(server)}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    return connection


def test_a_viewer_that_does_not_read_is_let_go_and_costs_nobody_anything(
    measurements: Sequence[Measurement], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "SLOW_VIEWER_S", 0.4)
    from dataclasses import replace

    noise = np.random.default_rng(0).integers(0, 255, (600, 600), np.uint8)
    board = Board(clock=MonotonicClock())
    with serving(board) as server:
        stuck = [stuck_viewer(server) for _ in range(3)]
        pinging = stuck_viewer(server)
        with connect(f"ws://127.0.0.1:{port_of(server)}/stream", max_size=None) as viewer:
            pictures, index = 0, 0
            give_up = time.monotonic() + 20
            while time.monotonic() < give_up and (server._broadcasts[0].viewers - {None}):
                index += 1
                board.write(replace(measurements[0], frame=replace(measurements[0].frame, image=noise, index=index)))
                with contextlib.suppress(OSError):
                    pinging.sendall(b"\x89\x80\0\0\0\0" * 2000)  # each wants an answer, and none is read
                message = viewer.recv(timeout=10)
                pictures += len(message) > 100_000
                if len(server._broadcasts[0].viewers) == 1 and pictures > 3:
                    break
            assert len(server._broadcasts[0].viewers) == 1  # the one that reads
            assert pictures > 3
        for connection in (*stuck, pinging):
            connection.close()


def test_connections_that_ask_nothing_are_bounded_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MOST_CONNECTIONS", 8)
    monkeypatch.setattr(transport, "REQUEST_TIMEOUT_S", 0.5)
    with serving() as server:
        idle = [socket.create_connection(("127.0.0.1", port_of(server)), timeout=10) for _ in range(20)]
        idle[0].sendall(b"GET / HTTP/1.1\r\nHost: 127.0")  # and never ends it
        closed = 0
        for connection in idle:
            try:
                closed += connection.recv(1) == b""
            except ConnectionResetError:
                closed += 1
            connection.close()
        assert closed == 20
        assert status_of(server, "/healthz", "127.0.0.1") == 200


def test_the_server_ends_soon_with_stuck_and_idle_peers() -> None:
    with serving() as server:
        peers = [stuck_viewer(server) for _ in range(3)]
        peers += [socket.create_connection(("127.0.0.1", port_of(server))) for _ in range(3)]
        assert status_of(server, "/healthz", "127.0.0.1") == 200
        began = time.monotonic()
    assert time.monotonic() - began < 10
    for peer in peers:
        peer.close()


def test_probes_tell_the_truth(measurements: Sequence[Measurement]) -> None:
    clock = ManualClock(start_ns=measurements[0].frame.captured_ns)
    board, other = Board(clock=clock), Board(clock=clock)
    with serving(board, other) as server:

        def ready() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(f"{server.address}readyz", timeout=5) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

        assert ready() == (503, "connecting, connecting")
        board.write(measurements[0])
        assert ready() == (503, "replay, connecting")  # all of them, or it is not ready
        other.write(measurements[0])
        assert ready() == (200, "replay, replay")
        clock.advance(5_000_000_000)
        assert ready() == (503, "no signal, no signal")
        board.close()
        assert ready()[0] == 503


def test_a_client_that_never_ends_its_tls_handshake_is_let_go(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.screen.server.REQUEST_TIMEOUT_S", 0.3)
    with serving(tls_cert=certificate[0], tls_key=certificate[1]) as server:
        for words in (b"", b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100):
            with socket.create_connection(("127.0.0.1", port_of(server)), timeout=10) as connection:
                connection.sendall(words)
                with contextlib.suppress(ConnectionResetError):
                    while connection.recv(100):
                        pass


def test_health_is_not_well_where_viewers_are_not_fed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(self: object) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(broadcast.Broadcast, "run", fails)
    with serving() as server:
        assert status_of(server, "/healthz", "127.0.0.1") == 500
        for task in server._feeding:
            task.exception()
