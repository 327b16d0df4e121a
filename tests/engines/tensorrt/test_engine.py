"""The TensorRT back-end: real builds by TensorRT-RTX on this CPU, and loading on a GPU made of numpy."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from calibration.deployment.quantization.qdq import Quantizer
from engines.errors import BuildError, DeviceBusy, EngineMissing, EngineUnavailable, InferenceError, OutOfDeviceMemory
from engines.onnx.folding import fold_graph
from engines.onnx.heads_only import heads_only
from engines.onnx.model_file import read_model_file
from engines.onnx.precision import to_precision
from engines.postprocess import class_labels
from engines.registry import DEFAULT_MODEL, load_engine
from engines.tensorrt.build import BuildOptions, build_engine, timing_cache_for
from engines.tensorrt.cache import EngineCache
from engines.tensorrt.cuda import CudaRuntime, cuda_error
from engines.tensorrt.device_run import LANES
from engines.tensorrt.engine import HEADS_ONLY, TensorRtEngine, engine_key
from engines.tensorrt.runtime import load_tensorrt
from tests.contracts.test_engine_contract import some_images
from tests.fakes.fake_gpu import GPU, FakeCuda, fake_plan, fake_tensorrt
from tests.fakes.tiny_model import CASCADE_SPEC, SIDE, SPEC, tiny_cascade_model, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from engines.onnx.model_file import ModelFile
    from engines.tensorrt.runtime import TensorRt

AFAR = "sm89"


@pytest.fixture(scope="module")
def tensorrt() -> TensorRt:
    """The builder that is installed here; it builds without a GPU."""
    try:
        return load_tensorrt()
    except EngineUnavailable as error:
        pytest.skip(str(error))


@cache
def default_in(precision: str) -> bytes:
    content = DEFAULT_MODEL.read_bytes()
    if precision == "fp32":
        return fold_graph(content)
    return to_precision(quantised_default() if precision in ("int8", "fp8") else content, precision)  # type: ignore[arg-type]


@cache
def quantised_default() -> bytes:
    images = np.random.default_rng(1).integers(0, 256, (8, 1, 256, 256), np.uint8)
    with Quantizer(DEFAULT_MODEL.read_bytes(), images, "minmax") as quantizer:
        return quantizer.quantized(activations="signed")


@pytest.mark.tensorrt
@pytest.mark.parametrize(
    ("precision", "capability"),
    [("fp32", "sm89"), ("fp16", "sm89"), ("int8", "sm89"), ("fp8", "sm89"), ("fp16", "sm75"), ("int8", "sm75")],
)
def test_a_cascade_builds_from_afar(precision: str, capability: str, tensorrt: TensorRt) -> None:
    """TensorRT takes no integers where most operators are: the picture is in float before it is cropped.

    TensorRT-RTX multiplies no float32 matrices on Turing, so heads and crops compute in half precision there.
    """
    graph, half_products = tiny_cascade_model(), capability == "sm75"
    if precision in ("int8", "fp8"):
        images = np.random.default_rng(0).integers(0, 256, (8, 1, SIDE, SIDE), np.uint8)
        with Quantizer(graph, images, "minmax") as quantizer:
            graph = quantizer.quantized(activations="signed")
    content = (
        fold_graph(graph) if precision == "fp32" else to_precision(graph, precision, half_products=half_products)  # type: ignore[arg-type]
    )
    options = BuildOptions(batch=(1, 2, 4), capability=capability)
    assert build_engine(content, CASCADE_SPEC, options, precision=precision, tensorrt=tensorrt).content
    assert build_engine(heads_only(content), CASCADE_SPEC, options, precision=precision, tensorrt=tensorrt).content


@pytest.mark.slow
@pytest.mark.tensorrt
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8", "fp8"])
def test_every_precision_of_the_model_that_ships_is_parsed_and_built(tensorrt: TensorRt, precision: str) -> None:
    content, spec = default_in(precision), read_model_file(DEFAULT_MODEL).spec
    sizes = []
    for graph in (content, heads_only(content)):
        for batch in ((1, 1, 1), (1, 4, 16)):
            options = BuildOptions(batch=batch, capability=AFAR)
            built = build_engine(graph, spec, options, precision=precision, tensorrt=tensorrt)
            assert len(built.content) > 500_000
            sizes.append(len(built.content))
    assert all(heads < whole for whole, heads in zip(sizes[:2], sizes[2:], strict=True))  # without its decoder


@pytest.mark.tensorrt
def test_a_build_reports_its_progress_and_can_be_ended(tensorrt: TensorRt) -> None:
    seen: list[tuple[str, int, int]] = []
    options = BuildOptions(capability=AFAR)

    def note(phase: str, step: int, steps: int) -> None:
        seen.append((phase, step, steps))

    build_engine(fold_graph(tiny_model()), SPEC, options, precision="fp32", tensorrt=tensorrt, report=note)
    assert len({phase for phase, _, _ in seen}) > 1
    assert all(0 <= step <= steps for _, step, steps in seen)

    def interrupt(phase: str, step: int, steps: int) -> None:
        if step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engine(fold_graph(tiny_model()), SPEC, options, precision="fp32", tensorrt=tensorrt, report=interrupt)


@pytest.mark.tensorrt
@pytest.mark.parametrize("content", [b"xxxx", b"", None], ids=["junk", "empty", "cut"])
def test_what_is_no_model_is_refused_though_the_parser_says_yes(tensorrt: TensorRt, content: bytes | None) -> None:
    content = fold_graph(tiny_model())[:-2000] if content is None else content
    with pytest.raises(BuildError, match="does not take tiny"):
        build_engine(content, SPEC, BuildOptions(capability=AFAR), precision="fp32", tensorrt=tensorrt)


@pytest.mark.tensorrt
def test_a_capability_it_does_not_know_is_named_with_those_it_does(tensorrt: TensorRt) -> None:
    with pytest.raises(BuildError, match="sm61"):
        build_engine(
            fold_graph(tiny_model()), SPEC, BuildOptions(capability="sm61"), precision="fp32", tensorrt=tensorrt
        )


def test_a_gpu_that_this_tensorrt_has_no_engines_for_is_named(model: ModelFile, tmp_path: Path) -> None:
    bench = Bench(model, tmp_path / "engines", runtime="tensorrt_rtx")
    bench.tensorrt.module.ComputeCapability = SimpleNamespace(SM80=1, SM89=2)
    with pytest.raises(
        EngineUnavailable, match=r"has no engines for NVIDIA Fake sm90, it knows sm80, sm89; install the"
    ):
        bench.load()


@pytest.mark.slow
@pytest.mark.tensorrt
def test_a_file_in_another_precision_than_asked_for_is_refused(tensorrt: TensorRt) -> None:
    for precision, asked in (("fp32", "fp16"), ("bf16", "fp16"), ("int8", "fp8"), ("fp8", "int8")):
        content, spec = default_in(precision), read_model_file(DEFAULT_MODEL).spec
        with pytest.raises(BuildError, match=f"reads psfh_lite0 as {precision}, where {asked} was asked"):
            build_engine(content, spec, BuildOptions(capability=AFAR), precision=asked, tensorrt=tensorrt)


class Timings:
    """A builder configuration of full TensorRT that takes timing caches of this machine only."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def create_timing_cache(self, content: bytes) -> bytes | None:
        return None if content == b"damaged" else content

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        if cache == b"foreign":
            return False
        self.taken.append(cache)
        return True


@pytest.mark.parametrize(("given", "taken"), [(b"mine", b"mine"), (b"foreign", b""), (b"damaged", b""), (b"", b"")])
def test_a_foreign_or_damaged_timing_cache_is_not_used(given: bytes, taken: bytes) -> None:
    config = Timings()
    assert timing_cache_for(config, given) == taken
    assert config.taken == [taken]


@pytest.mark.parametrize(("batch", "capability"), [((0, 1, 1), ""), ((2, 1, 4), ""), ((1, 1, 1), "89")])
def test_options_that_cannot_be_meant_are_refused(batch: tuple[int, int, int], capability: str) -> None:
    with pytest.raises(ValueError, match=r"batch sizes|compute capability"):
        BuildOptions(batch=batch, capability=capability)


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    return read_model_file(path)


class Bench:
    """A cache with an accepted engine of the tiny model, and a fake GPU to run it on."""

    def __init__(self, model: ModelFile, folder: Path, *, gpus: int = 1, runtime: str = "tensorrt", **key: Any) -> None:
        self.model, self.cuda = model, FakeCuda(gpus=gpus)
        self.tensorrt = fake_tensorrt(self.cuda, runtime)
        self.cache = EngineCache(folder)
        self.key = replace(engine_key(model, self.tensorrt, GPU, batch=(1, 2, 4)), **key)
        content = model.content if self.key.flags != HEADS_ONLY else heads_only(model.content)
        self.path = self.cache.store(self.key, "tiny", fake_plan(content, self.key.batch))
        self.accept()

    def accept(self, *, forced: bool = False) -> None:
        report = {"accepted": not forced, "refusals": ["AoP moves by 9 degrees"] if forced else []}
        self.cache.set_report(self.cache.find(self.key, "tiny"), report, forced=forced)

    def load(self, **options: Any) -> TensorRtEngine:
        return TensorRtEngine(self.model, cache=self.cache, tensorrt=self.tensorrt, cuda=self.cuda, **options)


def test_large_batches_run_in_parts_and_in_order(model: ModelFile, tmp_path: Path) -> None:
    bench = Bench(model, tmp_path / "engines")
    with bench.load() as engine:
        images = some_images(11)
        found = engine.infer(images)
        for index in (0, 3, 4, 7, 8, 10):
            alone = engine.infer(images[index : index + 1])
            np.testing.assert_allclose(found.class_logits[index], alone.class_logits[0], atol=1e-5)
        assert engine.name == "tensorrt fp32 NVIDIA Fake"
        assert engine.max_batch == 4
    assert bench.cuda.leaks == {}


def test_one_engine_answers_logits_or_labels(model: ModelFile, tmp_path: Path) -> None:
    images = some_images(3)
    bench = Bench(model, tmp_path / "engines")
    answers = {}
    for labels in (False, True):
        with bench.load(labels=labels) as engine:
            answers[labels] = engine.infer(images)
            assert engine.spec.answers_labels == labels
    assert answers[False].labels is None
    assert answers[True].class_logits.size == 0
    drawn = answers[True].labels
    assert drawn is not None
    assert drawn.dtype == np.uint8
    for label, logits in zip(drawn, answers[False].class_logits, strict=True):
        np.testing.assert_array_equal(label, class_labels(logits, *label.shape))
    np.testing.assert_array_equal(answers[True].plane_logit, answers[False].plane_logit)
    assert bench.cuda.leaks == {}


def test_engines_of_two_gpus_run_in_one_process_and_in_any_thread(model: ModelFile, tmp_path: Path) -> None:
    """The GPU made of numpy refuses what belongs to another GPU than the thread has chosen, as CUDA does."""
    bench = Bench(model, tmp_path / "engines", gpus=2)
    images = some_images(3)
    with bench.load(device=0) as first, bench.load(device=1) as second:
        expected = first.infer(images).class_logits
        answers = [second.infer(images)]
        threads = [
            threading.Thread(target=lambda engine=engine: answers.append(engine.infer(images)))
            for engine in (first, second, first)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        answers += [first.infer(images), second.infer(images)]
        assert len(answers) == 6
        for answer in answers:
            np.testing.assert_allclose(answer.class_logits, expected, atol=1e-5)
        assert (first.description.device, second.description.device) == ("NVIDIA Fake", "NVIDIA Fake cuda:1")
    assert bench.cuda.leaks == {}
    with pytest.raises(EngineUnavailable, match="no GPU 2: this machine has 2"):
        bench.load(device=2)


def test_warming_up_records_every_batch_size_and_lane(model: ModelFile, tmp_path: Path) -> None:
    bench = Bench(model, tmp_path / "engines")
    with bench.load() as engine:
        assert bench.cuda.alive["graphs"] == 3 * LANES  # 1, 2 and 4 frames
        assert bench.cuda.alive["contexts"] == 3 * LANES
        for count in (1, 3, 2, 4, 11):
            engine.infer(some_images(count))
        assert bench.cuda.alive["graphs"] == 3 * LANES


def test_tensorrt_rtx_records_for_itself_and_compiles_for_the_next_start(model: ModelFile, tmp_path: Path) -> None:
    bench = Bench(model, tmp_path / "engines", runtime="tensorrt_rtx")
    with bench.load() as engine:
        found = engine.infer(some_images(2))
        assert bench.cuda.alive["graphs"] == bench.cuda.launches == 0
    with Bench(model, tmp_path / "full").load() as full:
        np.testing.assert_allclose(found.class_logits, full.infer(some_images(2)).class_logits, atol=1e-5)
    for config in bench.cuda.configs:
        assert config.strategy == "USER_MANAGED"
        assert config.cuda_graph_strategy == "WHOLE_GRAPH_CAPTURE"
        assert config.dynamic_shapes_kernel_specialization_strategy == "EAGER"
    assert bench.path.with_suffix(".kernels").read_bytes() == b"kernels+++"
    with bench.load(use_graph=False):
        assert bench.cuda.configs[-1].kernels.kept == b"kernels+++"
        assert bench.cuda.configs[-1].cuda_graph_strategy == "DISABLED"
    assert bench.cuda.leaks == {}


def test_kernels_that_cannot_be_kept_cost_the_next_start_alone(
    model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(model, tmp_path / "engines", runtime="tensorrt_rtx")

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with bench.load() as engine:
        assert engine.infer(some_images(1)).plane_logit.shape == (1,)


def test_a_static_engine_and_one_without_graphs_say_the_same(model: ModelFile, tmp_path: Path) -> None:
    images = some_images(3)
    with (
        Bench(model, tmp_path / "1").load() as one,
        Bench(model, tmp_path / "2", batch=(4, 4, 4)).load() as static,
        Bench(model, tmp_path / "3").load(use_graph=False) as plain,
    ):
        for engine in (static, plain):
            found, expected = engine.infer(images), one.infer(images)
            np.testing.assert_allclose(found.class_logits, expected.class_logits, atol=1e-5)


def test_an_engine_without_a_decoder_decides_planes(model: ModelFile, tmp_path: Path) -> None:
    bench = Bench(model, tmp_path / "engines", flags=HEADS_ONLY)
    with bench.load(heads_only=True) as heads:
        assert not heads.spec.decodes
        assert heads.infer(some_images(2)).class_logits.shape == (2, 3, 0, 0)
    with pytest.raises(EngineMissing, match="flags"):
        bench.load()


def test_a_forced_engine_carries_its_mark(model: ModelFile, tmp_path: Path) -> None:
    bench = Bench(model, tmp_path / "engines")
    bench.accept(forced=True)
    with bench.load() as engine:
        assert engine.spec.warning == "engine not accepted: AoP moves by 9 degrees"


def test_an_engine_of_another_gpu_or_version_is_said_to_be_so(model: ModelFile, tmp_path: Path) -> None:
    bench = Bench(model, tmp_path / "engines")
    bench.cache.store(bench.key, "tiny", b"an engine of another version")
    bench.accept()
    with pytest.raises(EngineUnavailable, match=r"magic tag does not match.*partum build --rebuild"):
        bench.load()
    assert bench.cuda.leaks == {}


def test_a_full_device_is_said_to_be_full(model: ModelFile, tmp_path: Path) -> None:
    bench = Bench(model, tmp_path / "engines")
    bench.cuda._room = 1000
    with pytest.raises(OutOfDeviceMemory):
        bench.load()
    assert bench.cuda.leaks == {}


@pytest.mark.parametrize("call", ["deserialize_cuda_engine", "create_execution_context"])
def test_one_that_does_not_fit_now_may_fit_later(
    call: str, model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(model, tmp_path / "engines")
    monkeypatch.setattr("engines.tensorrt.engine.last_complaint", lambda log: "[defaultAllocator.cpp] out of memory")
    monkeypatch.setattr(bench.cuda, "fails", lambda name: name == call)
    with pytest.raises(OutOfDeviceMemory):
        bench.load()
    assert bench.cuda.leaks == {}


def test_a_device_that_fails_in_mid_stream_is_an_inference_error(model: ModelFile, tmp_path: Path) -> None:
    bench = Bench(model, tmp_path / "engines")
    engine = bench.load()
    contexts = [context for lane in engine._run_on._lanes for context in lane.contexts.values()]
    for context in contexts:
        context.fails = True
    with pytest.raises(InferenceError, match="IllegalAddress"):
        engine.infer(some_images(1))
    for context in contexts:
        context.fails = False
    del context, contexts
    with pytest.raises(InferenceError, match="IllegalAddress"):
        engine.infer(some_images(1))  # CUDA does not get over it, and what it left in its memory is no answer
    with pytest.raises(InferenceError, match="IllegalAddress"):
        engine.close()
    assert bench.cuda.leaks == {}


@pytest.mark.parametrize(
    ("status", "kind", "mend"),
    [
        ("cudaErrorMemoryAllocation", OutOfDeviceMemory, "smaller batch"),
        ("cudaErrorDevicesUnavailable", DeviceBusy, "another process"),
        ("cudaErrorInsufficientDriver", EngineUnavailable, "driver"),
        ("cudaErrorNoKernelImageForDevice", EngineUnavailable, "does not know this GPU"),
        ("cudaErrorIllegalAddress", InferenceError, "build the engine again"),
    ],
)
def test_errors_of_cuda_become_ours_with_a_mend(status: str, kind: type[Exception], mend: str) -> None:
    error = cuda_error(status, "cudaMalloc")
    assert type(error) is kind
    assert status in str(error)
    assert mend in str(error)


class CudaWithoutGpu:
    """NVIDIA's binding where there is no driver."""

    class _Status:
        name = "cudaErrorNoDevice"

        def __int__(self) -> int:
            return 100

    def __getattr__(self, function: str) -> Any:
        return lambda *arguments: (self._Status(), None)


def test_without_a_gpu_the_backend_is_unavailable_and_auto_goes_on(
    model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.import_module", lambda name: CudaWithoutGpu())
    with pytest.raises(EngineUnavailable, match="no usable NVIDIA GPU"):
        CudaRuntime().device(0)
    with pytest.raises(EngineUnavailable, match="no usable NVIDIA GPU"):
        TensorRtEngine(model, tensorrt=fake_tensorrt(FakeCuda()))


def test_bindings_without_their_libraries_are_a_reason_and_not_a_crash(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('libnvonnxparser.so.11: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EngineUnavailable, match=r"libnvonnxparser\.so\.11.*pip install 'partum\[tensorrt\]'"):
        load_tensorrt()


@pytest.mark.gpu
def test_on_a_real_gpu_every_precision_runs(gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from calibration.deployment.build import BuildRequest, run_build

    monkeypatch.setenv("PARTUM_CACHE", str(tmp_path))
    for precision in ("fp32", "fp16", "bf16"):
        report = run_build(BuildRequest(backend="tensorrt", precision=precision, batch=(1, 4, 16)))
        assert report is not None
        assert report.accepted
    with load_engine(backend="tensorrt") as engine:
        assert engine.infer(np.zeros((5, 1, 256, 256), np.uint8)).plane_logit.shape == (5,)
