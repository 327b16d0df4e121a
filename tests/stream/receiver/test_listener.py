"""Who is let in, by which address, and that strangers keep nobody out."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from stream.common.errors import OptionError, OutputError
from stream.receiver import listener
from stream.receiver.associations import import_pynetdicom
from stream.receiver.peers import Peer, plain_address
from stream.receiver.queue import ReceivedQueue
from stream.receiver.server import StorageServer
from tests.fakes.dicom.dcmtk import SCANNER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOCAL = Peer(SCANNER, "127.0.0.1")
FLOOD = 200


@pytest.fixture
def serve(tmp_path: Path, told: list[str]) -> Iterator[Callable[..., StorageServer]]:
    queue = ReceivedQueue(tmp_path)
    with ExitStack() as running:

        def start(*peers: Peer, host: str = "127.0.0.1", port: int = 0) -> StorageServer:
            server = StorageServer(
                title="PARTUM", host=host, port=port, peers=peers or [LOCAL], queue=queue, told=told.append
            )
            return running.enter_context(server)

        yield start


def is_heard(port: int, title: str = SCANNER, host: str = "127.0.0.1") -> bool:
    """Whether a C-ECHO succeeds."""
    entity = import_pynetdicom().AE(ae_title=title)
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate(host, port, ae_title="PARTUM")
    if not association.is_established:
        association.dul.join(20)  # it may be at its last step
        return False
    status = association.send_c_echo().Status
    association.release()
    return bool(status == 0)


def request(title: str, *, length: int = 68) -> bytes:
    """The beginning of a request for an association, PS3.8 9.3.2."""
    head = struct.pack(">BxIHxx16s16s32x", 1, length, 1, b"PARTUM".ljust(16), title.encode().ljust(16))
    assert len(head) == 74
    return head


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(20)
    try:
        while connection.recv(100):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def test_connections_that_say_nothing_keep_nobody_out_and_cost_no_thread(serve: Callable[..., StorageServer]) -> None:
    server = serve()
    before = threading.active_count()
    with ExitStack() as open_ones:
        strangers = [
            open_ones.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(FLOOD)
        ]
        for stranger in strangers[::2]:
            stranger.sendall(b"\1\0\0")  # and no more of it
        assert is_heard(server.port)
        assert threading.active_count() < before + 10  # those of the known peer
        assert is_closed(strangers[0]), "the oldest goes where there are too many"
    assert is_heard(server.port)


def test_a_connection_that_asks_for_nothing_is_closed(
    serve: Callable[..., StorageServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "ASK_S", 0.05)
    server = serve()
    for said in (b"", b"\1\0", b"GET / HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(said)
            assert is_closed(connection), said


def test_a_flood_of_strangers_is_rejected_in_the_words_of_dicom_and_told_once(
    serve: Callable[..., StorageServer], told: list[str]
) -> None:
    server = serve()
    before = threading.active_count()
    with ExitStack() as open_ones:
        strangers = [
            open_ones.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(FLOOD)
        ]
        for stranger in strangers:
            stranger.sendall(request("STRANGER"))
        assert is_heard(server.port)
        assert threading.active_count() < before + 10
        for stranger in strangers[-5:]:
            stranger.settimeout(20)
            assert stranger.recv(100) == b"\x03\0\0\0\0\4\0\1\1\3"
    assert told == ["a peer at 127.0.0.1 was rejected: no --peer has its title"]


def test_a_message_that_never_ends_or_never_stops_is_cut_off(
    serve: Callable[..., StorageServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "ASK_S", 0.05)
    monkeypatch.setattr(listener, "PDU_S", 0.05)
    server = serve()
    long = 1 << 17
    for length, said in ((1000, 0), ((1 << 32) - 1, 0), (long, long // 2)):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(request(SCANNER, length=length) + bytes(said))
            assert is_closed(connection), length
    monkeypatch.undo()
    assert is_heard(server.port)


def test_a_message_has_its_time_from_its_first_byte_however_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now_s[0])
    waits: list[float | None] = []
    monkeypatch.setattr(listener.Connection, "settimeout", lambda self, wait_s: waits.append(wait_s))
    near, far = socket.socketpair()
    with near, listener.Connection(far.detach()) as connection:
        near.sendall(b"\4\0\0\0\0\2ab" + b"\4")
        for late, size in ((0.0, 4), (0.5, 2), (0.75, 1), (0.9, 1)):
            now_s[0] = late * listener.PDU_S
            assert len(connection.recv(size)) == size
        assert waits[::2] == [pytest.approx(listener.PDU_S * left) for left in (1, 0.5, 0.25, 0.1)]
        assert connection.recv(1) == b"\4", "the next message has its own time"
        assert waits[-2:] == [listener.PDU_S] * 2
        now_s[0] += listener.PDU_S
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_a_thread_that_cannot_be_started_costs_one_connection(
    serve: Callable[..., StorageServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    server = serve()
    with monkeypatch.context() as patched:
        patched.setattr(listener.Listener, "process_request", refuse)
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(request(SCANNER))
            assert is_closed(connection)
    assert is_heard(server.port)


def test_no_more_associations_than_allowed_and_the_next_when_one_has_ended(
    serve: Callable[..., StorageServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "MOST_ASSOCIATIONS", 2)
    server = serve()
    entity = import_pynetdicom().AE(ae_title=SCANNER)
    entity.add_requested_context("1.2.840.10008.1.1")
    held = [entity.associate("127.0.0.1", server.port, ae_title="PARTUM") for _ in range(3)]
    assert [each.is_established for each in held] == [True, True, False]
    rejected = held[2].acceptor.primitive
    assert (rejected.result, rejected.result_source, rejected.diagnostic) == listener.LOCAL_LIMIT
    held[0].release()
    held[1].abort()
    until = threading.Event()
    for _ in range(500):
        if is_heard(server.port):
            break
        until.wait(0.01)
    else:
        pytest.fail("nobody is let in any longer")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_peer_is_known_by_its_address_or_its_name(host: str, serve: Callable[..., StorageServer]) -> None:
    server = serve(Peer(SCANNER, host))
    assert is_heard(server.port)
    assert not is_heard(server.port, title="STRANGER")


def test_a_name_that_nobody_knows_lets_nobody_in(serve: Callable[..., StorageServer], told: list[str]) -> None:
    server = serve(Peer(SCANNER, "nowhere.invalid"))
    assert not is_heard(server.port)
    assert told == ["a peer at 127.0.0.1 was rejected: no --peer of its title is at this address"]


def test_both_families_of_addresses_reach_a_server_of_ipv6(serve: Callable[..., StorageServer]) -> None:
    try:
        server = serve(LOCAL, Peer("SIX", "::1"), host="::")
    except OutputError:
        pytest.skip("needs IPv6, which this machine has not")
    assert is_heard(server.port), "it is ::ffff:127.0.0.1 to a socket of IPv6"
    assert is_heard(server.port, title="SIX", host="::1")
    assert not is_heard(server.port, host="::1")
    assert not is_heard(server.port, title="SIX")


def test_a_port_that_is_taken_or_a_place_that_is_none_is_an_error(serve: Callable[..., StorageServer]) -> None:
    taken = serve().port
    for host in ("127.0.0.1", "192.0.2.1", "nowhere.invalid"):
        with pytest.raises(OutputError, match=f"{host}:{taken}: cannot listen there"):
            serve(host=host, port=taken)


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("MY PACS@[::1]:104", Peer("MY PACS", "::1", 104)),
        ("A@B@host:104", Peer("A@B", "host", 104)),
        ("A@10.0.0.2:104", Peer("A", "10.0.0.2", 104)),
    ],
)
def test_an_archive_has_a_title_and_a_place(text: str, peer: Peer) -> None:
    assert Peer.parse(text, option="--send-to", has_port=True) == peer


@pytest.mark.parametrize(("text", "host"), [("A@fd00::7", "fd00::7"), ("A@[fd00::7]", "fd00::7"), ("A@h.org", "h.org")])
def test_a_scanner_has_a_title_and_an_address(text: str, host: str) -> None:
    assert Peer.parse(text, option="--peer", has_port=False) == Peer("A", host)


@pytest.mark.parametrize(
    "text", ["SCANNER", "@host", "A@", "A@host:port", "TOO LONG FOR A TITLE@host", "A\\B@host", "A@host:104", "A@1:2:3"]
)
def test_a_peer_that_is_none_is_refused_with_the_right_form(text: str) -> None:
    with pytest.raises(OptionError, match="--peer"):
        Peer.parse(text, option="--peer", has_port=False)


@pytest.mark.parametrize(
    ("text", "plain"),
    [("::ffff:10.0.0.7", "10.0.0.7"), ("::FFFF:a00:7", "10.0.0.7"), ("fe80::1%eth0", "fe80::1"), ("scanner", None)],
)
def test_an_address_has_one_form(text: str, plain: str | None) -> None:
    assert plain_address(text) == plain
