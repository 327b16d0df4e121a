"""The screen over TLS: a real handshake, and certificate files that are not right."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from websockets.sync.client import connect
from websockets.typing import Origin

from stream.common.errors import OptionError
from stream.outputs.web.certificate import expiry_of, load_certificate
from stream.outputs.web.settings import WebSettings
from tests.fakes.certificates import make_certificate
from tests.fakes.screen_server import asked, port_of, serving


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    make_certificate(folder)
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
        WebSettings.checked("127.0.0.1", 0, tls_cert=tls_cert, tls_key=tls_key)


@pytest.mark.parametrize(("days", "said"), [((-9, -1), "has expired"), ((1, 9), "is not valid yet")])
def test_a_certificate_that_is_not_valid_today_is_refused_with_how_to_make_one(
    tmp_path: Path, days: tuple[int, int], said: str
) -> None:
    make_certificate(tmp_path, days=days)
    with pytest.raises(OptionError, match=said) as caught:
        WebSettings.checked("127.0.0.1", 0, tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")
    assert "openssl req" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_is_known_when_a_certificate_ends(certificate: tuple[Path, Path]) -> None:
    context = load_certificate(*certificate)
    assert context is not None
    until = expiry_of(context, certificate[0])
    assert until is not None
    assert dt.timedelta(hours=23) < until - dt.datetime.now(dt.UTC) < dt.timedelta(hours=25)


def test_a_client_that_never_ends_its_tls_handshake_is_let_go(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.outputs.web.service.REQUEST_TIMEOUT_S", 0.3)
    with serving(tls_cert=certificate[0], tls_key=certificate[1]) as server:
        for words in (b"", b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100):
            with socket.create_connection(("127.0.0.1", port_of(server)), timeout=10) as connection:
                connection.sendall(words)
                with contextlib.suppress(ConnectionResetError):
                    while connection.recv(100):
                        pass
