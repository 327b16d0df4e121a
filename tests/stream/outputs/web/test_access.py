"""Who may look at the screen, by which name and with which token."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stream.app.options.session_options import SessionOptions
from stream.app.session import run_session
from stream.common.errors import OptionError, OutputError
from stream.outputs.web.access import Access
from stream.outputs.web.settings import WebSettings

if TYPE_CHECKING:
    pass

from tests.fakes.screen_server import asked, port_of, serving, status_of

PATHS = ("/", "/metrics", "/healthz", "/readyz", "/stream", "/static/main.js", "/static/", "/nothing")


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
        WebSettings.checked("127.0.0.1", 0, token="a\r\nb")


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
    monkeypatch.setattr("stream.app.session.load_judged_engine", lambda *_, **__: pytest.fail("an engine was loaded"))
    with pytest.raises((OptionError, OutputError), match=said):
        run_session(SessionOptions(out=tmp_path / "out", **options))


def test_a_port_in_use_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("stream.app.session.load_judged_engine", lambda *_, **__: pytest.fail("an engine was loaded"))
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
