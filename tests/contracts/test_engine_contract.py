"""What every engine promises, checked on every runtime that needs no device, and on what engines are wrapped in.

TensorRT runs here on a GPU made of numpy (`tests.fakes.fake_gpu`): its buffers, streams and graphs are real, the card
is not.
"""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from engines.errors import InferenceError, ModelMismatch, ModelNotFound
from engines.onnx.model_file import read_model_file
from engines.registry import load_engine
from engines.runtime import RuntimeEngine
from engines.sharing import EngineShare, SharedEngine
from engines.tensorrt.cache import EngineCache
from engines.tensorrt.engine import TensorRtEngine, engine_key
from tests.fakes.fake_gpu import GPU, FakeCuda, fake_plan, fake_tensorrt
from tests.fakes.tiny_model import HEIGHT, SPEC, WIDTH, tiny_model, tiny_network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from engines.base import Engine, Prediction


class OnlyShare(EngineShare):
    """A share that closes the engine behind it, as if it were alone."""

    def close(self) -> None:
        super().close()
        self._shared.close()


def only_share(engine: Engine) -> Engine:
    return OnlyShare(SharedEngine(engine))


def on_a_fake_gpu(path: Path, threads: int | None) -> Engine:
    model = read_model_file(path)
    cuda = FakeCuda()
    tensorrt = fake_tensorrt(cuda)
    cache = EngineCache(path.parent / "engines")
    key = engine_key(model, tensorrt, GPU, batch=(1, 2, 4))
    cache.store(key, "tiny", fake_plan(model.content))
    cache.set_report(cache.find(key, "tiny"), {"accepted": True, "refusals": []}, forced=False)
    return TensorRtEngine(model, threads=threads, cache=cache, tensorrt=tensorrt, cuda=cuda)


LOADERS: Mapping[str, Callable[[Path, int | None], Engine]] = {
    "openvino": lambda path, threads: load_engine(path, "openvino", threads=threads),
    "onnxruntime": lambda path, threads: load_engine(path, "onnxruntime", threads=threads),
    "torch": lambda path, threads: load_engine(path, "torch", threads=threads),
    "tensorrt": on_a_fake_gpu,
    "openvino early exit": lambda path, threads: load_engine(path, "openvino", threads=threads, early_exit=True),
    "openvino shared": lambda path, threads: only_share(load_engine(path, "openvino", threads=threads)),
}
RUNTIMES = [name for name in LOADERS if " " not in name]

pytestmark = pytest.mark.parametrize("backend", LOADERS, scope="module")


def load(path: Path, backend: str, *, threads: int | None = None) -> Engine:
    return LOADERS[backend](path, threads)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    path.write_bytes(tiny_model())
    return path


@pytest.fixture(scope="module")
def engine(model: Path, backend: str) -> Iterator[Engine]:
    """One for all tests that leave it open."""
    with load(model, backend) as loaded:
        yield loaded


def some_images(count: int, seed: int = 5) -> NDArray[np.uint8]:
    """Returns noise as frames are: read-only."""
    images = np.random.default_rng(seed).integers(0, 256, (count, 1, HEIGHT, WIDTH), dtype=np.uint8)
    images.flags.writeable = False
    return images


def unlike_images(count: int, *, seed: int) -> NDArray[np.uint8]:
    """Images that differ from each other and from those of other seeds by much more than noise does."""
    steps = np.arange(count * HEIGHT * WIDTH, dtype=np.uint32).reshape(count, 1, HEIGHT, WIDTH)
    return (some_images(count, seed=seed) // 4 + (steps // (7 + 5 * (seed % 6)) + 90 * seed) % 190).astype(np.uint8)


def assert_same(first: Prediction, second: Prediction) -> None:
    np.testing.assert_array_equal(first.class_logits, second.class_logits)
    np.testing.assert_array_equal(first.plane_logit, second.plane_logit)


def test_the_spec_is_the_files(engine: Engine, backend: str) -> None:
    assert engine.description.backend == backend.split(maxsplit=1)[0]
    assert engine.spec.to_metadata() == SPEC.to_metadata()
    assert engine.spec.sha256 == hashlib.sha256(tiny_model()).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_prediction_has_the_shapes_of_the_spec(engine: Engine, count: int) -> None:
    prediction = engine.infer(some_images(count))
    assert prediction.class_logits.shape == (count, 3, SPEC.output_height, SPEC.output_width)
    assert prediction.plane_logit.shape == (count,)
    assert prediction.class_logits.dtype == prediction.plane_logit.dtype == np.float32


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1, 1, HEIGHT, WIDTH), "float32"),
        ((1, 1, WIDTH, HEIGHT), "uint8"),
        ((1, 3, HEIGHT, WIDTH), "uint8"),
        ((1, HEIGHT, WIDTH), "uint8"),
        ((0, 1, HEIGHT, WIDTH), "uint8"),
    ],
)
def test_another_shape_or_dtype_is_refused_with_both_named(engine: Engine, shape: tuple[int, ...], dtype: str) -> None:
    with pytest.raises(ModelMismatch) as error:
        engine.infer(np.zeros(shape, dtype))
    assert f"(B, 1, {HEIGHT}, {WIDTH})" in str(error.value)
    assert f"{dtype} of shape {shape}" in str(error.value)
    engine.infer(some_images(1))  # and the engine still works


def test_it_agrees_with_the_network_that_was_exported(engine: Engine) -> None:
    images = some_images(3)
    with torch.inference_mode():
        class_logits, plane_logit, normal_logit = tiny_network()(torch.tensor(images))
    prediction = engine.infer(images)
    # Runtimes fold BatchNorm and sum in another order: some roundings of logits of about 1; bfloat16 has 8 bits.
    tolerance = 0.02 if engine.description.precision == "bf16" else 2e-5
    np.testing.assert_allclose(prediction.class_logits, class_logits.numpy(), atol=tolerance)
    np.testing.assert_allclose(prediction.plane_logit, plane_logit.numpy(), atol=tolerance)
    assert prediction.normal_logit is not None
    np.testing.assert_allclose(prediction.normal_logit, normal_logit.numpy(), atol=tolerance)
    assert np.ptp(prediction.class_logits) > 0.5  # agreement on a constant would prove nothing
    assert np.ptp(prediction.plane_logit) > 1e-3


@pytest.mark.slow
def test_the_same_frame_gives_the_same_bits(engine: Engine, model: Path, backend: str) -> None:
    images = some_images(1)
    first = engine.infer(images)
    engine.infer(some_images(1, seed=6))
    assert_same(engine.infer(images), first)
    with load(model, backend) as again:
        assert_same(again.infer(images), first)


@pytest.mark.slow
def test_a_batch_gives_what_its_frames_give_alone(engine: Engine) -> None:
    images = some_images(3)
    batch = engine.infer(images)
    for index in range(3):
        alone = engine.infer(images[index : index + 1])
        np.testing.assert_allclose(batch.class_logits[index], alone.class_logits[0], atol=1e-5)
        np.testing.assert_allclose(batch.plane_logit[index], alone.plane_logit[0], atol=1e-5)


@pytest.mark.slow
def test_frames_may_be_strided_and_read_only(engine: Engine) -> None:
    images = some_images(1)
    strided = np.repeat(images, 2, axis=3)[..., ::2]
    assert not strided.flags.c_contiguous
    assert_same(engine.infer(strided), engine.infer(images))


@pytest.mark.slow
def test_the_result_belongs_to_the_caller(engine: Engine) -> None:
    images = some_images(1).copy()
    kept = engine.infer(images)
    class_logits, plane_logit = kept.class_logits.copy(), kept.plane_logit.copy()
    images[:] = 0
    other = engine.infer(some_images(1, seed=6))
    np.testing.assert_array_equal(kept.class_logits, class_logits)
    np.testing.assert_array_equal(kept.plane_logit, plane_logit)
    assert not np.shares_memory(kept.class_logits, other.class_logits)
    kept.class_logits[:] = 0  # writing to it harms nobody
    kept.plane_logit[:] = 0
    assert_same(engine.infer(some_images(1, seed=6)), other)


def test_closing_twice_is_harmless_and_ends_inference(model: Path, backend: str) -> None:
    engine = load(model, backend)
    engine.close()
    engine.close()
    with pytest.raises(InferenceError, match="closed"):
        engine.infer(some_images(1))


def test_it_closes_at_the_end_of_its_with_block(model: Path, backend: str) -> None:
    with load(model, backend) as engine:
        assert engine.infer(some_images(1)).plane_logit.shape == (1,)
    with pytest.raises(InferenceError, match="closed"):
        engine.infer(some_images(1))


@pytest.mark.slow
def test_it_may_be_made_used_and_closed_in_different_threads(model: Path, backend: str) -> None:
    made: list[Engine] = []
    answers: list[Prediction] = []
    images = some_images(1)
    for step in (
        lambda: made.append(load(model, backend)),
        lambda: answers.append(made[0].infer(images)),
        lambda: answers.append(made[0].infer(images)),
    ):
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
    answers.append(made[0].infer(images))
    made[0].close()
    assert len(answers) == 3
    assert_same(answers[0], answers[1])
    assert_same(answers[0], answers[2])


@pytest.mark.slow
def test_the_number_of_threads_does_not_change_the_result(model: Path, backend: str) -> None:
    images = some_images(1)
    before = torch.get_num_threads()
    try:
        with load(model, backend, threads=1) as one, load(model, backend, threads=2) as two:
            np.testing.assert_allclose(one.infer(images).class_logits, two.infer(images).class_logits, atol=1e-5)
    finally:
        torch.set_num_threads(before)


def test_a_failure_of_the_runtime_is_an_inference_error(
    engine: Engine, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend not in RUNTIMES:
        return  # what it wraps says it
    assert isinstance(engine, RuntimeEngine)
    for failure in engine.failures:

        def fail(images: NDArray[np.uint8], failure: type[Exception] = failure) -> None:
            raise failure("somewhere.cpp:12:\nout of memory\n\n")

        monkeypatch.setattr(engine, "_run", fail)
        with pytest.raises(InferenceError) as error:
            engine.infer(some_images(1))
        assert str(error.value) == f"{engine.name}: out of memory"
        assert isinstance(error.value.__cause__, failure)


def test_a_model_with_a_broken_weight_is_refused_when_loaded(tmp_path: Path, backend: str) -> None:
    model = onnx.load_from_string(tiny_model())
    for weight in model.graph.initializer:
        if weight.name == "segmentation_head.bias":
            weight.CopyFrom(numpy_helper.from_array(np.full(3, np.nan, np.float32), weight.name))
    path = tmp_path / "nan.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelMismatch, match="answers NaN or infinity here; take another back-end, or"):
        load(path, backend)


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "cut short", "no facts", "broken graph"])
def test_a_file_of_the_wrong_kind_is_refused_in_one_line(
    tmp_path: Path, backend: str, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if (kind, backend) == ("broken graph", "tensorrt"):
        return  # its build refuses it (tests/engines/tensorrt/test_engine.py); what loads is an engine already
    path = tmp_path / "wrong.onnx"
    if kind != "missing":
        path.write_bytes(wrong_file(kind))
    with pytest.raises(ModelNotFound if kind == "missing" else ModelMismatch) as error:
        load(path, backend)
    assert "\n" not in str(error.value)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def wrong_file(kind: str) -> bytes:
    if kind in {"empty", "text"}:
        return b"" if kind == "empty" else b"no model at all\n" * 50
    content = tiny_model()
    if kind == "cut short":
        return content[: len(content) // 2]
    model = onnx.load_from_string(content)
    if kind == "no facts":
        del model.metadata_props[:]
    else:  # facts and signature are ours, but no runtime can make the network of it
        model.graph.initializer.pop()
        for node in model.graph.node:
            if node.op_type == "Relu":
                node.op_type = "NoSuchOperator"
    broken: bytes = model.SerializeToString()
    return broken
