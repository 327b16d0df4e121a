"""An engine in another process: the right answer to each frame, and nobody held up by a peer that dies."""

from __future__ import annotations

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engines.base import AnsweringEngine
from engines.errors import InferenceError, ModelMismatch, RemoteError
from engines.local.client import LocalEngine
from engines.local.lane import GO, LaneMemory, connect, listen
from engines.local.server import EngineServer
from tests.fakes.doubles import GreyLevelEngine, ParallelEngine, picture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from engines.base import Engine, Prediction


def frame(place: float) -> NDArray[np.uint8]:
    return picture(place)[None, None]


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    path = f"/tmp/partum-test-{tmp_path.name[-20:]}-{threading.get_native_id()}"
    with listen(path) as found:
        yield found, path
    os.unlink(path)


@contextmanager
def served(engine: Engine, listening: socket.socket) -> Iterator[EngineServer]:
    """A server in a thread; what ends it is raised at the end, where it was not looked at."""
    server = EngineServer(engine, listening)
    done, errors = threading.Event(), []

    def run() -> None:
        try:
            server.serve(lambda: not done.is_set())
        except InferenceError as error:
            errors.append(error)
        server.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield server
    finally:
        done.set()
        thread.join()


def test_every_frame_gets_its_own_answer(listening: tuple[socket.socket, str]) -> None:
    with served(ParallelEngine(), listening[0]) as server:
        engines = [LocalEngine(listening[1]) for _ in range(3)]
        places = [60.0 + number for number in range(24)]

        def ask(number: int) -> Prediction:
            return engines[number % 3].infer(frame(places[number]))

        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(ask, range(len(places))))
        for place, answer in zip(places, answers, strict=True):
            right = GreyLevelEngine().infer(frame(place))
            assert answer.arrays.keys() == right.arrays.keys()
            for name, array in right.arrays.items():
                np.testing.assert_array_equal(answer.arrays[name], array)
        assert engines[0].description.shared
        assert engines[0].description.parallel == 2
        assert server.clients <= 6
        batch = np.concatenate([frame(60), frame(61)])
        np.testing.assert_array_equal(engines[0].infer(batch).class_logits, GreyLevelEngine().infer(batch).class_logits)
        with pytest.raises(ModelMismatch):
            engines[0].infer(np.zeros((1, 1, 3, 3), np.uint8))
        for engine in engines:
            engine.close()
        with pytest.raises(InferenceError, match="closed already"):
            engines[0].infer(frame(60))


class Held(GreyLevelEngine):
    """Answers when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go = threading.Event(), threading.Event()

    def infer(self, images: NDArray[np.uint8]) -> Prediction:
        self.entered.set()
        assert self.go.wait(20)
        return super().infer(images)


def test_a_client_that_dies_with_a_frame_under_way_holds_up_nobody(listening: tuple[socket.socket, str]) -> None:
    engine = Held()
    with served(engine, listening[0]) as server:
        dying = connect(listening[1])
        _, descriptors, _, _ = socket.recv_fds(dying, 1 << 17, 1)
        memory = LaneMemory(engine.spec, descriptors[0])
        memory.close_descriptor()
        dying.send(GO)
        assert engine.entered.wait(20)
        busy_s = server.busy_s
        assert server.busy_s > busy_s  # it goes on while a frame is under way
        dying.close()
        engine.go.set()
        with LocalEngine(listening[1]) as alive:
            np.testing.assert_array_equal(
                alive.infer(frame(60)).class_logits, GreyLevelEngine().infer(frame(60)).class_logits
            )
        assert server.waiting_s == 0
        assert server.busy_s == server.busy_s > busy_s


@pytest.mark.parametrize("message", [b"", b"nonsense", GO])
def test_a_client_that_breaks_the_rules_is_let_go(listening: tuple[socket.socket, str], message: bytes) -> None:
    """Nothing at all is the end of it; a second frame before the first is answered is one too many."""
    engine = Held()
    with served(engine, listening[0]):
        with connect(listening[1]) as rude:
            _, descriptors, _, _ = socket.recv_fds(rude, 1 << 17, 1)
            memory = LaneMemory(engine.spec, descriptors[0])
            with pytest.raises(OSError, match="permitted"):  # a memory that shrinks would crash the server
                os.ftruncate(memory.descriptor, 10)
            memory.close_descriptor()
            rude.settimeout(20)
            rude.send(GO)
            assert engine.entered.wait(20)
            if message:
                rude.send(message)
                assert rude.recv(10) == b""
        engine.go.set()
        with LocalEngine(listening[1]) as alive:
            assert alive.infer(frame(60)).plane_logit.shape == (1,)


def test_a_server_that_dies_is_waited_for_and_asked_again(listening: tuple[socket.socket, str]) -> None:
    failing = GreyLevelEngine(error=InferenceError("the device is lost"), fail_at=2)
    found: list[Prediction] = []
    with served(failing, listening[0]):
        engine = LocalEngine(listening[1])
        engine.infer(frame(60))
        engine.infer(frame(61))
        asking = threading.Thread(target=lambda: found.append(engine.infer(frame(62))))
        asking.start()
    with served(GreyLevelEngine(), listening[0]):
        asking.join(20)
        np.testing.assert_array_equal(found[0].class_logits, GreyLevelEngine().infer(frame(62)).class_logits)
        assert engine.reconnected == 1
        engine.close()


def test_a_frame_that_ends_every_server_ends_its_feed_and_not_the_next_server(
    listening: tuple[socket.socket, str],
) -> None:
    errors: list[InferenceError] = []
    poison = InferenceError("the device is lost")
    engine: LocalEngine | None = None

    def ask() -> None:
        assert engine is not None
        try:
            engine.infer(frame(60))
        except InferenceError as error:
            errors.append(error)

    asking = threading.Thread(target=ask)
    for turn in range(3):
        with served(GreyLevelEngine(error=poison, fail_at=0), listening[0]) as server:
            if turn == 0:
                engine = LocalEngine(listening[1])
                asking.start()
            while server.frames < 1:
                threading.Event().wait(0.005)
    asking.join(20)
    assert "3 processes of the engine ended at this frame" in str(errors[0])
    assert engine is not None
    engine.close()


def test_a_client_says_who_answers_and_refuses_another_model(listening: tuple[socket.socket, str]) -> None:
    class Replaced(GreyLevelEngine):
        def infer(self, images: NDArray[np.uint8]) -> Prediction:
            other = AnsweringEngine(replace(self.description, backend="other"), self.spec, "the first failed")
            return replace(super().infer(images), engine=other)

    class Other(GreyLevelEngine):
        spec = replace(GreyLevelEngine.spec, sha256="1" * 64)

    with served(Replaced(), listening[0]):
        engine = LocalEngine(listening[1])
        answering = engine.infer(frame(60)).engine
        assert answering is not None
        assert (answering.description.backend, answering.replaced) == ("other", "the first failed")
        assert engine.infer(frame(61)).engine == answering
    with served(Other(), listening[0]), pytest.raises(InferenceError, match="another model"):
        engine.infer(frame(62))
    engine.close()


def test_nobody_waits_for_ever_for_an_engine(listening: tuple[socket.socket, str]) -> None:
    with pytest.raises(RemoteError, match="no engine answers"):
        LocalEngine(listening[1], patience_s=0.01)
    with served(GreyLevelEngine(), listening[0]):
        engine = LocalEngine(listening[1])
        engine.infer(frame(60))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(engine.infer, frame(61))
        engine.give_up()
        with pytest.raises(InferenceError):
            answer.result(20)
    engine.close()
