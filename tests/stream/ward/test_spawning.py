"""A process of a ward that a driver holds in the kernel does not end when it is killed, and holds up nobody."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from stream.ward import spawning
from stream.ward.spawning import SpawnedChild

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a ward runs on Linux")


def sleep(connection: Connection[Any, Any], task: object) -> None:
    connection.send_bytes(b'{"kind": "ready"}')
    threading.Event().wait(60)


def test_a_process_that_no_signal_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawning, "KILL_S", 0.05)
    child = SpawnedChild(sleep, None, name="partum-test")
    while not child.messages()[0]:
        child.connection.poll(30)
    with monkeypatch.context() as patched:
        patched.setattr(type(child._process), "kill", lambda process: None)
        began_s = time.monotonic()
        child.kill()
        assert time.monotonic() - began_s < 5
        assert child.exit_code() is None
    os.kill(child.pid, signal.SIGKILL)
    child._process.join(30)
    assert child.exit_code() == -signal.SIGKILL
