"""A reload that gives the wall another address, name or TLS: the new one is there before the old one is gone."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from stream.common.errors import OptionError, OutputError
from stream.ward.config import read_ward_config
from stream.ward.wall import server
from stream.ward.wall.roles import MOST_WRONG
from stream.ward.wall.served_wall import ServedWall
from stream.ward.wall.settings import WallSettings
from tests.fakes.certificates import make_certificate
from tests.fakes.triton_server import free_ports
from tests.fakes.ward.shown import TOKENS, WATCH, FakeWard, ward_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stream.ward.config import WardConfig


class Served:
    """A wall without feeds, and the file that it is of."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lines = folder, list[str]()
        self.port, self.other = free_ports(2)
        self.stack = ExitStack()
        config = self.config(port=self.port)
        settings = WallSettings.checked(config)
        listening = self.stack.enter_context(settings.web.listen())
        ward = FakeWard(config, [])
        wall = ServedWall(ward, settings, listening=listening, told=self.lines.append)
        self.wall = self.stack.enter_context(wall)

    def config(self, **web: object) -> WardConfig:
        path = ward_file(self.folder, ["room-1"], more=TOKENS)
        lines = "\n".join(f"{key} = {value!r}" for key, value in web.items())
        path.write_text(path.read_text().replace("port = 0", lines))
        return read_ward_config(path)

    def status(self, port: int, *, tls: ssl.SSLContext | None = None, **headers: str) -> int:
        connection = (
            http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=tls)
            if tls
            else http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        )
        try:
            connection.request("GET", "/", headers={"Authorization": f"Bearer {WATCH}"} | headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def until(self, holds: Callable[[], bool]) -> None:
        """Waits; a connection that the old wall has taken, and lets go, may be reset."""
        give_up = time.monotonic() + 20
        while True:
            with suppress(OSError):
                if holds():
                    return
            assert time.monotonic() < give_up
            time.sleep(0.01)

    def is_gone(self, port: int) -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            return True
        return False


@contextmanager
def served_in(folder: Path) -> Iterator[Served]:
    served = Served(folder)
    with served.stack:
        yield served


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with served_in(tmp_path) as found:
        yield found


def test_another_port_is_taken_and_the_one_before_let_go(served: Served) -> None:
    served.until(lambda: served.wall.is_well)
    assert served.status(served.port) == 200
    served.wall.take(served.config(port=served.other))
    assert served.status(served.other) == 200
    assert served.lines == [f"wall: http://127.0.0.1:{served.other}/"]
    served.until(lambda: served.is_gone(served.port))
    assert served.wall.is_well


def test_a_wall_whose_loop_is_stuck_is_not_well(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.until(lambda: served.wall.is_well)
    monkeypatch.setattr(server, "STUCK_S", -1.0)
    assert not served.wall.is_well


def test_all_addresses_of_the_same_port_and_a_name_are_taken(served: Served) -> None:
    served.wall.take(served.config(port=served.port, host="0.0.0.0", allow_host=["ward-pc"]))
    served.until(lambda: served.status(served.port, Host="ward-pc") == 200)
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("127.0.0.1", served.port))


def test_tls_is_taken_at_the_same_address(served: Served) -> None:
    make_certificate(served.folder)
    certificate, key = (str(served.folder / name) for name in ("cert.pem", "key.pem"))
    trusting = ssl.create_default_context(cafile=certificate)
    served.wall.take(served.config(port=served.port, tls_cert=certificate, tls_key=key))
    served.until(lambda: served.status(served.port, tls=trusting) == 200)
    assert served.wall.address.startswith("https://")


def test_what_cannot_be_served_changes_nothing(served: Served) -> None:
    with socket.create_server(("127.0.0.1", served.other)), pytest.raises(OutputError, match="cannot listen there"):
        served.wall.take(served.config(port=served.other))
    with pytest.raises(OptionError):
        served.wall.take(served.config(port=served.other, allow_host=["http://x"]))
    assert served.status(served.port) == 200
    assert not served.lines


def test_wrong_tokens_are_counted_across_a_change(served: Served) -> None:
    for _ in range(MOST_WRONG):
        assert served.status(served.port, Authorization="Bearer wrong") == 401
    served.wall.take(served.config(port=served.other))
    assert served.status(served.other, Authorization="Bearer wrong") == 429
