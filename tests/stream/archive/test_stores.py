"""An object store that stops answering, behind a proxy; a server that says yes to everything stands for the store."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from stream.archive import locations
from stream.archive.stores import StoreWatch
from stream.common.errors import SourceUnavailable
from tests.fakes.failing_store import FailingStore

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("pyarrow.fs", reason="needs the package pyarrow")
SECRET = "partum-test-secret"


class Yes(BaseHTTPRequestHandler):
    """Says that every bucket is there."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[FailingStore]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Yes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        proxy = FailingStore(server.server_address[1])
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "PARTUMTESTKEY")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setattr(locations, "_TRIES", 1)
        monkeypatch.setattr(locations, "_REQUEST_S", 1.0)
        locations._system.cache_clear()
        yield proxy
        proxy.close()
        server.shutdown()
    locations._system.cache_clear()


@pytest.mark.parametrize(
    ("mode", "said"),
    [("denies", "ACCESS_DENIED.*check credentials and permissions"), ("hangs", "check that the store can be reached")],
)
def test_a_store_that_stops_answering_is_told_by_its_name(store: FailingStore, mode: str, said: str) -> None:
    watch = StoreWatch(["s3://scans/day", "s3://scans/more", "/a/folder"])
    watch.check()
    store.fail(mode)
    with pytest.raises(SourceUnavailable, match=rf"^s3://scans/: .*{said}; then go on with --resume$") as caught:
        watch.check()
    assert SECRET not in str(caught.value)


def test_a_store_that_never_let_itself_be_asked_ends_nothing(store: FailingStore) -> None:
    store.fail("denies")
    watch = StoreWatch(["s3://scans/day"])
    watch.check()
