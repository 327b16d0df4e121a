"""An engine that runs in another process of this machine; an `engines.base.Engine`."""

from __future__ import annotations

import json
import socket
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.base import Engine, Prediction, check_images
from engines.errors import InferenceError, ModelMismatch, RemoteError
from engines.local.lane import GO, LONGEST_MESSAGE, LaneMemory, connect, prediction_of, unpack_engine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engines.base import AnsweringEngine, EngineDescription, ModelSpec

LOOK_S = 0.25
"""So often a call that waits looks whether it should give up."""
PAUSE_S = 0.05
MOST_TRIES = 3
"""Servers that a frame is given to: one on which each of them dies must not end the next."""


class LocalEngine(Engine):
    """A share of the engine that a server holds (`engines.local.server`).

    Where the server dies, the frames under way are asked again of the next one at the same place; until there is one
    they wait, and a live pipeline drops what comes meanwhile.

    Args:
        path: where the server listens.
        patience_s: how long a server may be away.

    Raises:
        RemoteError: no server came within that time.
    """

    def __init__(self, path: str, *, patience_s: float = 60.0) -> None:
        self._path, self._patience_s = path, patience_s
        self._gives_up = threading.Event()
        self._open = True
        try:
            lane = self._connect(None)
        except InferenceError as error:
            raise RemoteError(str(error)) from error
        self._engine, self._notices = lane.engine, lane.notices
        self._lanes: SimpleQueue[_ClientLane | None] = SimpleQueue()
        for free in (lane, *[None] * (self.description.parallel - 1)):
            self._lanes.put(free)
        self.reconnected = 0
        """How often a lane was lost and found again."""

    @property
    def description(self) -> EngineDescription:
        return self._engine.description

    @property
    def spec(self) -> ModelSpec:
        return self._engine.spec

    @property
    def notices(self) -> tuple[str, ...]:
        return self._notices

    def infer(self, images: NDArray[np.uint8]) -> Prediction:
        """Asks the server; see `engines.base.Engine`.

        Raises:
            ModelMismatch: dtype or shape differ from the spec.
            InferenceError: closed already, no server came in time, or this frame ended several of them.
        """
        check_images(images, self.spec)
        if not self._open:
            raise InferenceError(f"{self.name}: closed already; load the engine again")
        lane = self._lanes.get()
        try:
            answers = []
            for image in images:
                lane, answer = self._asked(lane, image)
                answers.append(answer)
        finally:
            self._lanes.put(lane)
        together = {name: np.concatenate([arrays[name] for arrays, _ in answers]) for name in answers[0][0]}
        return prediction_of(together, images, answers[-1][1])

    def give_up(self) -> None:
        """Calls that wait for a server that is away fail at once, and so do later ones; from any thread."""
        self._gives_up.set()

    def close(self) -> None:
        self._open = False
        self.give_up()
        while not self._lanes.empty():
            lane = self._lanes.get()
            if lane is not None:
                lane.close()

    def _asked(
        self, lane: _ClientLane | None, image: NDArray[np.uint8]
    ) -> tuple[_ClientLane, tuple[dict[str, NDArray[Any]], AnsweringEngine | None]]:
        """The answer to one image, and the lane that it came by; the lane given may be lost, or not there yet."""
        for _ in range(MOST_TRIES):
            lane = lane or self._connect(self.spec)
            try:
                return lane, lane.ask(image, self._gives_up)
            except OSError:
                lane.close()
                lane = None
                self.reconnected += 1
        raise InferenceError(f"{self.name}: {MOST_TRIES} processes of the engine ended at this frame")

    def _connect(self, known: ModelSpec | None) -> _ClientLane:
        """A lane, as soon as there is a server.

        Raises:
            InferenceError: none came in time, or one with another model.
        """
        give_up_s = time.monotonic() + self._patience_s
        while True:
            try:
                lane = _ClientLane(self._path, give_up_s, self._gives_up)
            except OSError as error:
                if self._gives_up.is_set() or time.monotonic() > give_up_s:
                    raise InferenceError(f"no engine answers on this machine ({error.strerror or error})") from error
                self._gives_up.wait(PAUSE_S)
                continue
            if known is not None and lane.engine.spec.sha256 != known.sha256:
                lane.close()
                raise InferenceError(f"the engine was started again with another model, {lane.engine.spec.name}")
            return lane


class _ClientLane:
    """A client's end of a lane.

    Raises:
        OSError: there is no server, or it went away.
    """

    def __init__(self, path: str, give_up_s: float, gives_up: threading.Event) -> None:
        self._connection = connect(path)
        descriptors: list[int] = []
        try:
            self._connection.settimeout(LOOK_S)
            message = b""
            while not message:
                try:
                    message, descriptors, _, _ = socket.recv_fds(self._connection, LONGEST_MESSAGE, 1)
                except TimeoutError:
                    if gives_up.is_set() or time.monotonic() > give_up_s:
                        raise
                else:
                    _check_end(message)
            hello = json.loads(message)
            self.engine = unpack_engine(hello["engine"])
            self.notices = tuple(hello["notices"])
            self._memory = LaneMemory(self.engine.spec, descriptors[0])
            self._memory.close_descriptor()
        except BaseException:
            self._connection.close()
            raise
        self._answering: AnsweringEngine | None = None

    def ask(
        self, image: NDArray[np.uint8], gives_up: threading.Event
    ) -> tuple[dict[str, NDArray[Any]], AnsweringEngine | None]:
        """The answer to one image (1, H, W), and who gave it.

        Raises:
            OSError: the server went away, or the caller gave up.
            ModelMismatch: the server's engine does not take the image.
        """
        self._memory.image[0] = image
        self._connection.send(GO)
        while True:
            try:
                message = self._connection.recv(LONGEST_MESSAGE)
                break
            except TimeoutError:
                if gives_up.is_set():
                    raise
        _check_end(message)
        said = json.loads(message)
        if "error" in said:
            raise ModelMismatch(said["error"])
        if "engine" in said:
            self._answering = unpack_engine(said["engine"])
        return self._memory.take(said["arrays"]), self._answering

    def close(self) -> None:
        self._connection.close()


def _check_end(message: bytes) -> None:
    if not message:
        raise ConnectionResetError("the engine's process ended")
