"""A model on a server: a real Triton server answers as the model does, goes away, comes back, and is slow."""

from __future__ import annotations

import importlib
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engines.backends.triton import TritonAddress, TritonEngine, with_patience
from engines.errors import EngineUnavailable, InferenceError, ModelMismatch, ModelNotFound, RemoteError
from engines.onnx.model_file import read_model_file
from engines.registry import load_engine
from stream.common.channel import Overflow
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import FrameState
from tests.contracts.test_engine_contract import some_images
from tests.fakes.doubles import DrawnSource, GreyLevelEngine
from tests.fakes.kserve_server import KServeServer
from tests.fakes.tiny_model import tiny_model
from tests.fakes.triton_server import VARIABLE, TritonServer, free_ports, server_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from engines.onnx.model_file import ModelFile


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    path.write_bytes(tiny_model())
    return read_model_file(path)


@pytest.fixture(scope="module")
def server(model: ModelFile, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    packages = server_folder()
    if packages is None:
        pytest.skip(f"needs a Triton server; {VARIABLE} does not say where one is (see tests/fakes/triton_server.py)")
    with TritonServer(model, tmp_path_factory.mktemp("server"), packages) as running:
        yield running


def test_the_server_says_what_the_model_says(server: TritonServer, model: ModelFile, tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(model.content)
    images = some_images(20)  # more than one batch of the server
    with load_engine(server.uri) as engine, load_engine(path, "onnxruntime") as alone:
        assert engine.spec == model.spec
        assert engine.name.startswith("triton fp32 127.0.0.1")
        found, expected = engine.infer(images), alone.infer(images)
        np.testing.assert_allclose(found.class_logits, expected.class_logits, atol=1e-5)
        np.testing.assert_allclose(found.plane_logit, expected.plane_logit, atol=1e-5)
        assert found.normal_logit is not None
        with pytest.raises(ModelMismatch):
            engine.infer(images[:, :, :5])
    with pytest.raises(InferenceError, match="closed"):
        engine.infer(images)


def test_several_streams_share_the_server(server: TritonServer) -> None:
    failures: list[BaseException] = []

    def stream(seed: int) -> None:
        try:
            with load_engine(server.uri) as engine:
                images = some_images(1, seed=seed)
                first = engine.infer(images)
                for _ in range(10):
                    np.testing.assert_allclose(engine.infer(images).class_logits, first.class_logits, atol=1e-6)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failures.append(error)

    threads = [threading.Thread(target=stream, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


def test_a_server_that_goes_away_and_comes_back_is_asked_again(server: TritonServer) -> None:
    images = some_images(1)
    with TritonEngine(f"{server.uri}?timeout=5&patience=60") as engine:
        expected = engine.infer(images).class_logits
        server.stop()
        back = threading.Timer(1.0, server.start)
        back.start()
        np.testing.assert_allclose(engine.infer(images).class_logits, expected, atol=1e-6)
        back.join()
        assert engine.repeated > 0


def test_a_server_that_stays_away_ends_the_run_in_time(server: TritonServer) -> None:
    with TritonEngine(f"{server.uri}?timeout=1&patience=1") as engine:
        server.stop()
        began = time.monotonic()
        with pytest.raises(RemoteError, match="gave up after 1 s"):
            engine.infer(some_images(1))
        assert time.monotonic() - began < 10
        server.start()
        while True:  # the connection mends itself, with pauses of its own
            try:
                engine.infer(some_images(1))
                break
            except RemoteError:
                assert time.monotonic() - began < 60


def test_a_late_answer_is_not_waited_for(server: TritonServer) -> None:
    with TritonEngine(f"{server.uri}?timeout=0.2&patience=0.5") as engine:
        server.slow_down(2.0)
        try:
            with pytest.raises(RemoteError, match=r"(?i)deadline"):
                engine.infer(some_images(1))
        finally:
            server.slow_down(0)


def test_under_a_slow_server_a_live_stream_drops_frames_and_counts_them(server: TritonServer) -> None:
    count = 30
    source = DrawnSource(count, hold=lambda index, closed: time.sleep(0.02))
    server.slow_down(0.1)
    try:
        with Pipeline(source, load_engine(server.uri), overflow=Overflow.DROP_OLDEST) as pipeline:
            found = list(pipeline)
    finally:
        server.slow_down(0)
    states = [measurement.state for measurement in found]
    assert [measurement.frame.index for measurement in found] == list(range(count))
    assert 0 < states.count(FrameState.DROPPED) < count - 3


def test_what_is_not_served_is_named(server: TritonServer) -> None:
    with pytest.raises(ModelNotFound, match="no such model"):
        load_engine(server.uri.replace("/tiny", "/huge"))
    with pytest.raises(EngineUnavailable, match="leave it out"):
        load_engine(server.uri, "openvino")
    with pytest.raises(EngineUnavailable, match="early exit"):
        load_engine(server.uri, early_exit=True)


def test_where_no_server_is_the_error_says_so() -> None:
    with pytest.raises(RemoteError, match="is the server running"):
        load_engine(f"triton://127.0.0.1:{free_ports(1)[0]}/tiny?patience=1")


@pytest.mark.parametrize(
    "uri",
    [
        "triton://",
        "triton://host",
        "triton:///model",
        "triton://host/a/b",
        "triton://host:port/model",
        "triton://host/model?timeout=soon",
        "triton://host/model?timeout=-1",
        "triton://host/model?speed=2",
    ],
)
def test_an_address_that_cannot_be_meant_is_refused_with_an_example(uri: str) -> None:
    with pytest.raises(ModelNotFound, match=r"write triton://gpu-server:8001/psfh_lite0"):
        TritonAddress.parse(uri)


def test_an_address_is_read_to_its_last_option() -> None:
    found = TritonAddress.parse("triton://ward:9/net?timeout=0.5&patience=3")
    assert found == TritonAddress(host="ward", port=9, model="net", timeout_s=0.5, patience_s=3.0)
    assert TritonAddress.parse("triton://ward/net").port == 8001


def unavailable(number: int, answer: Any, context: Any) -> None:
    grpc: Any = importlib.import_module("grpc")
    context.abort(grpc.StatusCode.UNAVAILABLE, "away")


class OtherGreyLevelEngine(GreyLevelEngine):
    spec = replace(GreyLevelEngine.spec, sha256="f" * 64)


def test_a_server_that_comes_back_with_another_model_is_not_taken_for_the_one_before() -> None:
    pytest.importorskip("tritonclient.grpc")
    with KServeServer(GreyLevelEngine()) as server, TritonEngine(f"{server.uri}?patience=20") as engine:
        images = np.zeros((1, 1, engine.spec.height, engine.spec.width), np.uint8)
        first = server.requests

        def away_at_first(number: int, answer: Any, context: Any) -> None:
            if number == first:
                unavailable(number, answer, context)

        server.fault = away_at_first
        assert engine.infer(images).class_logits.shape[0] == 1  # the same came back
        assert (engine.repeated, engine.is_away) == (1, False)
        first = server.requests
        server._engine = OtherGreyLevelEngine()
        with pytest.raises(ModelMismatch, match="came back with another"):
            engine.infer(images)


def test_an_answer_of_another_version_of_the_model_is_refused() -> None:
    pytest.importorskip("tritonclient.grpc")
    with KServeServer(GreyLevelEngine()) as server, TritonEngine(server.uri) as engine:
        server.fault = lambda number, answer, context: setattr(answer, "model_version", "2")
        with pytest.raises(ModelMismatch, match="answers with version 2"):
            engine.infer(np.zeros((1, 1, engine.spec.height, engine.spec.width), np.uint8))


def test_a_call_that_waits_for_a_server_can_be_given_up() -> None:
    pytest.importorskip("tritonclient.grpc")
    with KServeServer(GreyLevelEngine()) as server, TritonEngine(with_patience(server.uri, 300)) as engine:
        server.fault = unavailable
        timer = threading.Timer(0.1, engine.give_up)
        timer.start()
        with pytest.raises(RemoteError):
            engine.infer(np.zeros((1, 1, engine.spec.height, engine.spec.width), np.uint8))
        timer.join()


@pytest.mark.parametrize(
    ("uri", "patience_s"),
    [("triton://h/m", 60), ("triton://h/m?timeout=3", 60), ("triton://h/m?patience=7", 7), ("triton://h/m?", 60)],
)
def test_patience_is_that_of_the_address_where_it_names_one(uri: str, patience_s: float) -> None:
    assert TritonAddress.parse(with_patience(uri, 60)).patience_s == patience_s
