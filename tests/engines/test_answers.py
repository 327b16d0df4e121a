"""An answer never belongs to another request: with every back-end, after every fault, to every stream."""

from __future__ import annotations

import importlib
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engines.backends.triton import TritonEngine
from engines.base import Prediction, check_answer
from engines.closing import close_after, close_all
from engines.early_exit import EarlyExitEngine
from engines.errors import EngineUnavailable, InferenceError, ModelMismatch, OutOfDeviceMemory, RemoteError
from engines.onnx.model_file import read_model_file
from engines.registry import load_engine
from engines.sharing import SharedEngine
from engines.tensorrt.cache import EngineCache
from engines.tensorrt.engine import TensorRtEngine, engine_key
from stream.pipeline.pipeline import Pipeline
from tests.contracts.test_engine_contract import some_images, unlike_images
from tests.fakes.doubles import DrawnSource, GreyLevelEngine
from tests.fakes.fake_gpu import GPU, FakeCuda, fake_plan, fake_tensorrt
from tests.fakes.kserve_server import KServeServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from engines.base import Engine
    from engines.runtime import RuntimeEngine
    from stream.pipeline.record import Measurement


@pytest.fixture(scope="module")
def truth(model: Path) -> Iterator[Engine]:
    with load_engine(model, "onnxruntime") as engine:
        yield engine


def assert_right(engine: Engine, truth: Engine, *, seeds: range, count: int = 3, atol: float = 0.01) -> None:
    """Every answer is the one to its own images; another's is off by far more than any rounding."""
    for seed in seeds:
        images = unlike_images(count, seed=seed)
        found, expected = engine.infer(images), truth.infer(images)
        assert found.images is images
        np.testing.assert_allclose(found.class_logits, expected.class_logits, atol=atol)
        np.testing.assert_allclose(found.plane_logit, expected.plane_logit, atol=atol)
    other = truth.infer(unlike_images(count, seed=seeds.stop)).class_logits
    assert np.abs(other - expected.class_logits).max() > 5 * atol


class FailsAt:
    """Calls through, and raises at call number `at` of its life."""

    def __init__(self, real: Callable[..., Any], at: int) -> None:
        self._real, self._at, self.calls = real, at, 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls == self._at:
            raise RuntimeError("it failed here, once")
        return self._real(*args, **kwargs)


class Proxy:
    """A runtime's object with one of its methods replaced."""

    def __init__(self, real: Any, **methods: Any) -> None:
        self._real = real
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def break_request(engine: Any, at: int) -> None:
    request, frame = engine._free.get_nowait()
    engine._free.put((Proxy(request, infer=FailsAt(request.infer, at)), frame))


BROKEN: dict[str, Callable[[Any, int], None]] = {
    "openvino": break_request,
    "onnxruntime": lambda engine, at: setattr(
        engine, "_session", Proxy(engine._session, run=FailsAt(engine._session.run, at))
    ),
    "torch": lambda engine, at: setattr(engine, "_network", FailsAt(engine._network, at)),
}
"""How to make each runtime fail at one of its calls."""


@pytest.mark.parametrize("backend", BROKEN)
@pytest.mark.parametrize("at", [1, 2, 3])
def test_after_a_failed_call_every_answer_is_its_own(model: Path, truth: Engine, backend: str, at: int) -> None:
    with load_engine(model, backend) as engine:
        BROKEN[backend](engine, at)
        failed = 0
        for seed in range(4):
            try:
                assert_right(engine, truth, seeds=range(seed, seed + 1))
            except InferenceError:
                failed += 1
        assert failed == 1


def on_a_gpu(model: Path, cuda: FakeCuda, *, use_graph: bool = True) -> TensorRtEngine:
    file, tensorrt = read_model_file(model), fake_tensorrt(cuda)
    cache = EngineCache(model.parent / "engines")
    key = engine_key(file, tensorrt, GPU, batch=(2, 2, 2))
    cache.store(key, "tiny", fake_plan(file.content, key.batch))
    cache.set_report(cache.find(key, "tiny"), {"accepted": True, "refusals": []}, forced=False)
    return TensorRtEngine(file, cache=cache, tensorrt=tensorrt, cuda=cuda, use_graph=use_graph)


def use_on_a_gpu(model: Path, cuda: FakeCuda, truth: Engine, *, use_graph: bool) -> int:
    """Starts an engine, asks it for some batches in several parts, and closes it; returns how many calls failed."""
    failed = 0
    try:
        engine = on_a_gpu(model, cuda, use_graph=use_graph)
    except (EngineUnavailable, InferenceError, ModelMismatch):
        return 1
    for seed in range(3):
        try:
            assert_right(engine, truth, seeds=range(seed, seed + 1), count=5)
        except InferenceError:
            failed += 1
    try:
        engine.close()
    except InferenceError:
        failed += 1
    return failed


@pytest.mark.slow
@pytest.mark.parametrize("use_graph", [True, False])
def test_a_fault_at_any_call_of_the_device_gives_an_error_or_the_right_answer(
    model: Path, truth: Engine, *, use_graph: bool
) -> None:
    sound = FakeCuda()
    assert use_on_a_gpu(model, sound, truth, use_graph=use_graph) == 0
    assert sound.leaks == {}
    harmless = set()
    for number, name in enumerate(sound.calls, 1):
        cuda = FakeCuda(fail_at=number)
        failed = use_on_a_gpu(model, cuda, truth, use_graph=use_graph)
        assert cuda.leaks == {}, f"a fault of {name}, call {number}"
        assert failed <= 1, f"a fault of {name}, call {number}"
        if not failed:
            harmless.add(name)
    assert harmless <= {"begin_capture", "to_device", "to_host", "execute_async_v3", "end_capture"}  # of a recording


def test_ctrl_c_between_two_parts_leaves_nothing_under_way(model: Path, truth: Engine) -> None:
    cuda = FakeCuda()
    with on_a_gpu(model, cuda) as engine:
        run = engine._run_on
        collect = run.collect

        def interrupted(number: int, into: object = None) -> Any:
            raise KeyboardInterrupt

        run.collect = interrupted  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            engine.infer(some_images(5))
        run.collect = collect  # type: ignore[method-assign]
        assert_right(engine, truth, seeds=range(3), count=5)
    assert cuda.leaks == {}


@pytest.fixture(scope="module")
def server(truth: Engine) -> Iterator[KServeServer]:
    with KServeServer(truth) as running:
        yield running


def wrong_number(number: int, answer: Any, context: Any) -> None:
    answer.id = str(int(answer.id) - 1)


def no_number(number: int, answer: Any, context: Any) -> None:
    answer.id = ""


def too_few(number: int, answer: Any, context: Any) -> None:
    for output, raw in zip(answer.outputs, range(3), strict=True):
        output.shape[0] -= 1
        answer.raw_output_contents[raw] = answer.raw_output_contents[raw][: -(4 * int(np.prod(output.shape[1:])))]


def cut_short(number: int, answer: Any, context: Any) -> None:
    answer.raw_output_contents[0] = answer.raw_output_contents[0][:-4]


def without_planes(number: int, answer: Any, context: Any) -> None:
    del answer.outputs[1], answer.raw_output_contents[1]


def as_doubles(number: int, answer: Any, context: Any) -> None:
    answer.outputs[0].datatype = "FP64"
    answer.outputs[0].shape[1] //= 3


def not_finite(number: int, answer: Any, context: Any) -> None:
    answer.raw_output_contents[1] = np.full(answer.outputs[1].shape[0], np.nan, np.float32).tobytes()


def refused(number: int, answer: Any, context: Any) -> None:
    grpc: Any = importlib.import_module("grpc")
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such tensor")


@pytest.mark.parametrize(
    "fault", [wrong_number, no_number, too_few, cut_short, without_planes, as_doubles, not_finite, refused]
)
def test_what_a_server_answers_wrongly_is_an_error_and_the_next_answer_is_right(
    server: KServeServer, truth: Engine, fault: Callable[[int, Any, Any], None]
) -> None:
    with TritonEngine(f"{server.uri}?timeout=10&patience=10") as engine:
        assert_right(engine, truth, seeds=range(1), count=6)  # in two requests
        server.fault = fault
        try:
            with pytest.raises(InferenceError):
                engine.infer(some_images(3))
        finally:
            server.fault = lambda number, answer, context: None
        assert_right(engine, truth, seeds=range(3), count=6)


def test_a_late_answer_is_not_taken_for_the_next_ones(server: KServeServer, truth: Engine) -> None:
    let_go = threading.Event()
    late = server.requests + 1  # the first request is the start's

    def be_late(number: int, answer: Any, context: Any) -> None:
        if number == late:
            let_go.wait(20)

    server.fault = be_late
    try:
        with TritonEngine(f"{server.uri}?timeout=0.3&patience=20") as engine:
            assert_right(engine, truth, seeds=range(3))
            assert engine.repeated >= 1
            let_go.set()
            assert_right(engine, truth, seeds=range(3, 6))
    finally:
        let_go.set()
        server.fault = lambda number, answer, context: None


def test_a_request_that_stays_unanswered_is_a_remote_error_in_time(server: KServeServer) -> None:
    let_go = threading.Event()

    def be_late(number: int, answer: Any, context: Any) -> None:
        let_go.wait(20)

    with TritonEngine(f"{server.uri}?timeout=0.2&patience=0.2") as engine:
        server.fault = be_late
        try:
            with pytest.raises(RemoteError, match="gave up"):
                engine.infer(some_images(1))
        finally:
            let_go.set()
            server.fault = lambda number, answer, context: None


class Confused(GreyLevelEngine):
    """Answers the request before, or leaves an answer out."""

    def __init__(self, *, short: bool = False) -> None:
        super().__init__()
        self._short = short
        self._before: Prediction | None = None

    def infer(self, images: NDArray[np.uint8]) -> Prediction:
        found = super().infer(images)
        if self._short:
            return Prediction(found.class_logits[1:], found.plane_logit[1:], images=images)
        answer, self._before = self._before or found, found
        return answer


@pytest.mark.parametrize("short", [False, True])
def test_a_pipeline_ends_at_an_answer_that_is_not_its_frames(*, short: bool) -> None:
    with Pipeline(DrawnSource(5), Confused(short=short)) as pipeline:
        measured: list[Measurement] = []
        with pytest.raises(InferenceError, match="0 answers to 1 images" if short else "another request"):
            measured.extend(pipeline)
    assert len(measured) <= 1  # the first frame, where its answer was its own


class UnclosableSource(DrawnSource):
    """Fails whenever it is closed."""

    def close(self) -> None:
        super().close()
        raise OSError("the device does not let go")


@pytest.mark.parametrize("fails", [False, True])
def test_a_pipeline_closes_its_engine_whatever_its_source_does_and_says_the_first_error(*, fails: bool) -> None:
    engine = GreyLevelEngine(error=InferenceError("the card is gone") if fails else None, fail_at=1)
    with (
        pytest.raises(InferenceError if fails else OSError, match="card is gone" if fails else "let go"),
        Pipeline(UnclosableSource(3), engine) as pipeline,
    ):
        list(pipeline)
    assert engine.closed


@pytest.mark.parametrize("short", [False, True])
def test_no_stream_is_given_the_rows_of_another(*, short: bool) -> None:
    with SharedEngine(Confused(short=short)) as shared:
        images = np.zeros((2, 1, 128, 128), np.uint8)
        if not short:
            assert shared.share().infer(images).images is images
        with pytest.raises(InferenceError, match="1 answers to 2 images" if short else "another request"):
            shared.share().infer(images)


def test_an_early_exit_checks_both_its_engines(model: Path) -> None:
    with load_engine(model, "openvino", early_exit=True) as engine:
        assert isinstance(engine, EarlyExitEngine)
        kept = engine._whole.infer(some_images(2))
        for name, was_plane in (("_whole", True), ("_heads", False)):
            engine._was_plane = was_plane
            real = getattr(engine, name)
            setattr(engine, name, Proxy(real, infer=lambda images: kept))
            with pytest.raises(InferenceError, match="another request"):
                engine.infer(some_images(2, seed=9))
            setattr(engine, name, real)


def test_a_stream_that_gave_up_does_not_stop_the_others(model: Path, truth: Engine) -> None:
    with SharedEngine(load_engine(model, "openvino")) as shared:
        for _ in range(3):
            given_up = shared.submit(some_images(1))
            given_up.cancel()
            assert_right(shared.share(), truth, seeds=range(2))


def test_threads_that_use_one_engine_at_once_get_their_own_answers(model: Path, truth: Engine) -> None:
    wrong: list[BaseException] = []
    expected = {seed: truth.infer(some_images(1, seed=seed)).class_logits for seed in range(4)}

    def ask(engine: Engine, seed: int) -> None:
        try:
            for _ in range(20):
                found = engine.infer(some_images(1, seed=seed)).class_logits
                np.testing.assert_allclose(found, expected[seed], atol=0.01)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            wrong.append(error)

    with load_engine(model, "openvino") as engine:
        threads = [threading.Thread(target=ask, args=(engine, seed)) for seed in expected]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not wrong


def test_closing_waits_for_the_call_under_way(model: Path, truth: Engine) -> None:
    entered, go = threading.Event(), threading.Event()
    engine: Any = load_engine(model, "onnxruntime")
    run = engine._session.run

    def slow(*args: Any) -> Any:
        entered.set()
        assert go.wait(20)
        return run(*args)

    engine._session = Proxy(engine._session, run=slow)
    answers: list[Prediction] = []
    images = some_images(1)
    asking = threading.Thread(target=lambda: answers.append(engine.infer(images)))
    closing = threading.Thread(target=engine.close)
    asking.start()
    assert entered.wait(20)
    closing.start()
    go.set()
    asking.join(20)
    closing.join(20)
    np.testing.assert_array_equal(answers[0].class_logits, truth.infer(images).class_logits)
    with pytest.raises(InferenceError, match="closed"):
        engine.infer(images)


def test_an_answer_is_checked_by_its_images_and_their_number() -> None:
    images = np.zeros((2, 1, 128, 128), np.uint8)
    answer = GreyLevelEngine().infer(images)
    check_answer(answer, images, engine="one")
    with pytest.raises(InferenceError, match="one: the answer to another request"):
        check_answer(answer, images.copy(), engine="one")
    with pytest.raises(InferenceError, match="one: 1 and 2 answers to 2 images"):
        check_answer(Prediction(answer.class_logits, answer.plane_logit[:1], images=images), images, engine="one")


def test_all_is_closed_whatever_fails_and_the_first_error_is_said() -> None:
    done: list[int] = []

    def step(number: int, error: BaseException | None = None) -> Callable[[], None]:
        def run() -> None:
            done.append(number)
            if error:
                raise error

        return run

    with pytest.raises(OSError, match="first") as caught:
        close_all(
            step(1), step(2, OSError("first")), step(3, KeyboardInterrupt()), step(4, ValueError("last")), step(5)
        )
    assert done == [1, 2, 3, 4, 5]
    assert len(caught.value.__notes__) == 2
    error = InferenceError("before all")
    close_after(error, step(6, OSError("x")), step(7))
    assert done[-2:] == [6, 7]
    assert "OSError" in error.__notes__[0]


@pytest.mark.parametrize("error", [OutOfDeviceMemory("full"), RemoteError("gone")])
def test_an_engine_that_fails_to_start_says_why_and_is_closed(
    model: Path, monkeypatch: pytest.MonkeyPatch, error: InferenceError
) -> None:
    from engines.backends import onnxruntime as wrapped

    started: list[RuntimeEngine] = []

    def fail(self: Any, images: object) -> None:
        started.append(self)
        raise error

    monkeypatch.setattr(wrapped.OnnxRuntimeEngine, "_run", fail)
    with pytest.raises(type(error), match=str(error)):
        load_engine(model, "onnxruntime")
    assert not started[0]._open
