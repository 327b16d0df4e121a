"""Serves an engine to other processes of this machine, from a process of its own.

Frames of all clients wait in the one queue of a `SharedEngine`, in the order in which they came: a batch where the
device gains by it. A lane has one frame under way, and a client few lanes, so none can crowd out the others; one that
goes away in the middle leaves nothing behind but an answer that nobody reads.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from engines.base import AnsweringEngine
from engines.errors import InferenceError, ModelMismatch
from engines.local.lane import GO, LONGEST_MESSAGE, LaneMemory, pack, pack_engine
from engines.runtime import error_summary
from engines.sharing import SharedEngine

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from engines.base import Engine, Prediction

TICK_S = 0.25
MOST_LANES = 512


class EngineServer:
    """An engine and its clients.

    Args:
        engine: closed with this object.
        listening: where clients connect, see `engines.local.lane.listen`; stays the caller's.
        max_batch: most frames of one run.
    """

    def __init__(self, engine: Engine, listening: socket.socket, *, max_batch: int = 16) -> None:
        self._shared = SharedEngine(engine, max_batch=max_batch)
        self._engine = AnsweringEngine(self._shared.description, engine.spec)
        self._listening = listening
        listening.setblocking(False)
        self._lanes: dict[socket.socket, _Lane] = {}
        self._busy = _BusyTime()
        self._error: BaseException | None = None
        self._wake_read, self._wake_write = os.pipe()
        self._selector = selectors.DefaultSelector()
        self._selector.register(listening, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)

    @property
    def frames(self) -> int:
        """Answered so far, by all clients."""
        return self._shared.frames

    @property
    def clients(self) -> int:
        """Lanes that are connected."""
        return len(self._lanes)

    @property
    def busy_s(self) -> float:
        """Time in which at least one frame was under way: `frames / busy_s` a second can be answered, or more."""
        return self._busy.seconds

    @property
    def waiting_s(self) -> float:
        """How long the frame that has waited longest has waited for its answer."""
        began = [lane.asked_s for lane in self._lanes.values() if lane.asked_s is not None]
        return time.monotonic() - min(began) if began else 0.0

    def serve(self, goes_on: Callable[[], bool]) -> None:
        """Answers clients until `goes_on`, which is asked every `TICK_S` or more often, says no.

        Raises:
            InferenceError: the engine failed; clients ask the next server again.
        """
        while goes_on():
            for key, _ in self._selector.select(TICK_S):
                if key.fileobj is self._listening:
                    self._accept()
                elif key.fileobj != self._wake_read:
                    self._read(self._lanes[key.fileobj])  # type: ignore[index]
            if self._error is not None:
                raise self._error

    def close(self) -> None:
        """Lets all clients go, and frees the engine."""
        for lane in list(self._lanes.values()):
            self._drop(lane)
        self._selector.close()
        os.close(self._wake_read)
        self._shared.close()
        os.close(self._wake_write)

    def _accept(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except OSError:
            return
        if len(self._lanes) >= MOST_LANES:
            connection.close()
            return
        connection.setblocking(False)
        lane = _Lane(connection, LaneMemory(self._engine.spec))
        try:
            hello = {"engine": pack_engine(self._engine), "notices": self._shared.notices}
            socket.send_fds(connection, [pack(hello)], [lane.memory.descriptor])
        except OSError:
            connection.close()  # it has gone already
            return
        finally:
            lane.memory.close_descriptor()
        self._lanes[connection] = lane
        self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, lane: _Lane) -> None:
        try:
            message = lane.connection.recv(LONGEST_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if message != GO or lane.asked_s is not None:
            self._drop(lane)
            return
        lane.asked_s = time.monotonic()
        self._busy.begin()
        try:
            answer = self._shared.submit(lane.memory.image)
        except InferenceError as error:
            self._busy.end()
            self._fail(error)
            return
        answer.add_done_callback(partial(self._answer, lane))

    def _answer(self, lane: _Lane, answer: Future[Prediction]) -> None:
        """Writes an answer into its lane; in the thread of the engine."""
        self._busy.end()
        error = answer.exception()
        if error is not None and not isinstance(error, ModelMismatch):
            self._fail(error)
            return
        try:
            said = {"error": error_summary(error)} if isinstance(error, ModelMismatch) else _put(lane, answer.result())
            message = pack(said)
        except ValueError as cause:  # another engine went on, whose answers are larger
            self._fail(InferenceError(f"{self._shared.name}: {cause}"))
            return
        lane.asked_s = None
        with suppress(OSError):  # the client has gone, or does not read
            lane.connection.send(message)

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        os.write(self._wake_write, b"!")

    def _drop(self, lane: _Lane) -> None:
        del self._lanes[lane.connection]
        self._selector.unregister(lane.connection)
        lane.connection.close()


class _BusyTime:
    """How long at least one of several works has been under way; for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open, self._since_s, self._total_s = 0, 0.0, 0.0

    def begin(self) -> None:
        with self._lock:
            if not self._open:
                self._since_s = time.monotonic()
            self._open += 1

    def end(self) -> None:
        with self._lock:
            self._open -= 1
            if not self._open:
                self._total_s += time.monotonic() - self._since_s

    @property
    def seconds(self) -> float:
        with self._lock:
            return self._total_s + (time.monotonic() - self._since_s if self._open else 0.0)


class _Lane:
    """A client's lane as the server sees it."""

    def __init__(self, connection: socket.socket, memory: LaneMemory) -> None:
        self.connection, self.memory = connection, memory
        self.asked_s: float | None = None
        self.told: AnsweringEngine | None = None


def _put(lane: _Lane, found: Prediction) -> dict[str, object]:
    """An answer's message. Who gave it is told where that is another than before."""
    message: dict[str, object] = {"arrays": lane.memory.put(found.arrays)}
    if found.engine is not None and found.engine != lane.told:
        message["engine"] = pack_engine(found.engine)
        lane.told = found.engine
    return message
