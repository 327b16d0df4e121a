"""DCMTK's tools as scanner and archive."""

from __future__ import annotations

import functools
import os
import shutil
import socket
import subprocess
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCANNER = "SCANNER"


@functools.cache
def tool(name: str) -> str:
    """The path of a tool of DCMTK; pynetdicom installs others by the same names. Skips the test without it."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = shutil.which(name, path=folder)
        if path and b"dcmtk" in subprocess.run([path, "--version"], capture_output=True, check=False).stdout:
            return path
    pytest.skip("needs DCMTK (Debian's dcmtk), which is not installed")


def call(name: str, port: int, *files: Path, title: str = SCANNER, called: str = "PARTUM") -> tuple[int, str]:
    """Runs `storescu` or `echoscu`; returns its exit code and what it says."""
    command = [tool(name), "-v", "-aet", title, "-aec", called, "127.0.0.1", str(port), *map(str, files)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return found.returncode, found.stdout + found.stderr


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


@contextmanager
def cut_after(count: int, port: int) -> Iterator[int]:
    """A port whose connection goes to another one and is cut after so many bytes."""
    with _relayed(count, port, lambda: None) as near:
        yield near


@contextmanager
def held_after(count: int, port: int) -> Iterator[tuple[int, threading.Event]]:
    """A port whose one connection goes to another one, and stays open without a byte more after so many, until the end.

    Yields it with an event that says that so many have passed.
    """
    reached, ended = threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        ended.wait()

    with _relayed(count, port, hold) as near:
        try:
            yield near, reached
        finally:
            ended.set()


@contextmanager
def _relayed(count: int, port: int, then: Callable[[], None]) -> Iterator[int]:
    """A port whose one connection goes to another one; after so many bytes `then` is called, and it is cut."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def relay() -> None:
            near, _ = listening.accept()
            with near, socket.create_connection(("127.0.0.1", port)) as far:
                back = threading.Thread(target=_copy, args=(far, near, 1 << 30))
                back.start()
                _copy(near, far, count)
                then()
                for each in (near, far):
                    with suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)
                back.join()

        thread = threading.Thread(target=relay)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            thread.join()


def _copy(one: socket.socket, other: socket.socket, count: int) -> None:
    try:
        while count > 0 and (data := one.recv(min(count, 4096))):
            other.sendall(data)
            count -= len(data)
    except OSError:
        pass
