"""What pynetdicom is told once, and how its associations are ended."""

from __future__ import annotations

import logging
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from stream.common.errors import ExtraMissing
from stream.common.text import place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import ModuleType

LAST_WORDS_S = 1.0
"""Time for an abort to be sent, and then for the threads to see that the connection is gone."""


def import_pynetdicom() -> ModuleType:
    """The package, silent as those below it: their logs quote what is sent.

    Raises:
        ExtraMissing: it is not installed.
    """
    try:
        import pynetdicom
    except ImportError as error:
        raise ExtraMissing(
            "receiving needs pynetdicom, which is not installed; run: pip install 'partum[dicom]'"
        ) from error
    for name in ("pynetdicom", "pydicom", "highdicom"):
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
    from pynetdicom import _config

    _config.LOG_HANDLER_LEVEL = "none"  # else each message is put into words that nobody reads
    return pynetdicom


@contextmanager
def threads_told_without_words(told: Callable[[str], None]) -> Iterator[None]:
    """Of a thread that ends by an error the kind of it is told and not its words: they may quote what a peer sent."""

    def hook(ended: threading.ExceptHookArgs) -> None:
        if ended.exc_value is not None and ended.exc_type is not SystemExit:
            told(f"a thread ended by {ended.exc_type.__name__} at {place_of(ended.exc_value)}")

    before, threading.excepthook = threading.excepthook, hook
    try:
        yield
    finally:
        threading.excepthook = before


def end_associations(associations: Sequence[Any]) -> None:
    """Aborts associations, in words where their peers listen, and waits until their threads have ended, or nearly."""
    for association in associations:
        with suppress(Exception):
            association.abort(block=False)
    _wait(associations)
    for association in associations:
        with suppress(Exception):
            association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        with suppress(Exception):
            association.dul.to_user_queue.put(None)  # whatever its own thread waits for does not come
            association.dimse.msg_queue.put((None, None))
    _wait(associations)
    for association in associations:
        with suppress(Exception):
            association.dul.kill_dul()  # which its own thread sees, and ends too
    _wait(associations)


def _wait(associations: Sequence[Any]) -> None:
    until = time.monotonic() + LAST_WORDS_S
    for thread in _threads(associations):
        with suppress(RuntimeError):  # it has not begun
            thread.join(max(0.0, until - time.monotonic()))


def _threads(associations: Sequence[Any]) -> Iterator[threading.Thread]:
    for association in associations:
        yield association.dul
        yield association
