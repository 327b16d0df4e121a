"""`partum build`, `engines`, `info` and `export`, as a user meets them."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

import partum
from calibration.data.base import LabelledFrame
from calibration.deployment import acceptance
from calibration.deployment import build as building
from calibration.deployment import tensorrt_build as tensorrt_builds
from calibration.deployment.build import BuildRequest, run_build
from calibration.deployment.trial_frames import demonstration_frames
from calibration.errors import AcceptanceError
from engines.errors import EngineMissing, EngineUnavailable
from engines.onnx.folding import fold_graph
from engines.onnx.model_file import read_model_file
from engines.registry import DEFAULT_INT8_MODEL, DEFAULT_MODEL, load_engine
from engines.tensorrt import build as tensorrt_build
from engines.tensorrt import engine as tensorrt_engine
from engines.tensorrt import runtime as tensorrt_module
from engines.tensorrt.build import BuiltEngine
from engines.tensorrt.cache import EngineCache, live_stream
from engines.tensorrt.graph import graph_for
from stream.inference.engine_trial import LIMITS
from tests.fakes.fake_gpu import GPU, FakeCuda, fake_plan, fake_tensorrt
from tests.fakes.tiny_model import SPEC, tiny_model, tiny_network

if TYPE_CHECKING:
    from pathlib import Path

    from engines.onnx.model_file import ModelFile
    from engines.tensorrt.cache import EngineKey


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineCache:
    monkeypatch.setattr(building, "TRIAL_FRAMES", 30)
    monkeypatch.setattr(building, "demonstration_frames", small_frames)
    monkeypatch.setattr(tensorrt_builds, "CALLS", 3)
    monkeypatch.setattr(tensorrt_builds, "WARM_UP_CALLS", 1)
    monkeypatch.setenv("PARTUM_CACHE", str(tmp_path / "engines"))
    return EngineCache()


def graph_made_once(model: ModelFile, key: EngineKey, capability: tuple[int, int]) -> bytes:
    """`graph_for`: tests of the road there and back want the same few graphs again and again."""
    made = (model.spec.sha256, key.runtime, key.precision, key.flags, capability)
    if made not in GRAPHS:
        GRAPHS[made] = graph_for(model, key, capability)
    return GRAPHS[made]


GRAPHS: dict[tuple[Any, ...], bytes] = {}


@functools.cache
def small_frames() -> list[LabelledFrame]:
    """Thirty frames of the demonstration clip at half its size."""
    return [replace(frame, image=frame.image[::2, ::2].copy()) for frame in demonstration_frames()[::11]][:30]


def run(*words: str) -> int:
    try:
        partum.main(words)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """A machine with a GPU made of numpy, whose builder keeps the graph as it is."""
    cuda = FakeCuda()
    builds: list[bytes] = []

    def build(content: bytes, *arguments: Any, **options: Any) -> BuiltEngine:
        options["report"]("Building engine", 1, 2)
        builds.append(content)
        return BuiltEngine(fake_plan(content, arguments[1].batch), b"timings")

    monkeypatch.setattr(tensorrt_module, "load_tensorrt", lambda: fake_tensorrt(cuda))
    monkeypatch.setattr(tensorrt_engine, "load_tensorrt", lambda: fake_tensorrt(cuda))
    monkeypatch.setattr(tensorrt_engine, "CudaRuntime", lambda: cuda)
    monkeypatch.setattr("engines.tensorrt.cuda.CudaRuntime", lambda: cuda)
    monkeypatch.setattr(tensorrt_build, "build_engine", build)
    monkeypatch.setattr(tensorrt_builds, "graph_for", graph_made_once)
    cuda.builds = builds  # type: ignore[attr-defined]
    return cuda


@pytest.mark.slow
def test_an_engine_is_built_tried_kept_and_then_loaded(fake: FakeCuda, cache: EngineCache) -> None:
    request = BuildRequest(backend="tensorrt", precision="fp16")
    report = run_build(request)
    assert report is not None
    assert report.accepted
    assert report.engine == "tensorrt fp16 NVIDIA Fake"
    run_build(request)  # it is there already
    assert len(fake.builds) == 1  # type: ignore[attr-defined]
    run_build(replace(request, rebuild=True))
    assert len(fake.builds) == 2  # type: ignore[attr-defined]
    ((path, facts),) = cache.entries()
    assert facts["acceptance"]["accepted"]
    assert facts["acceptance"]["latency_ms"] > 0
    assert (facts["acceptance"]["device"], facts["acceptance"]["driver"]) == (str(GPU), GPU.driver)
    assert facts["key"]["batch"] == [1, 1, 1]
    assert (cache.folder / "timing-tensorrt-99.1-NVIDIA_Fake_sm90.cache").read_bytes() == b"timings"
    with load_engine() as engine:  # auto takes it now
        assert engine.name == "tensorrt fp16 NVIDIA Fake"
    path.write_bytes(b"")
    with pytest.raises(EngineMissing, match="damaged"):
        load_engine(backend="tensorrt")
    assert fake.leaks == {}


@pytest.mark.slow
def test_all_that_could_be_worth_it_is_built_and_the_fastest_runs(
    fake: FakeCuda, cache: EngineCache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = {"fp16": 0.5, "int8": 0.3, "fp8": 0.4}
    monkeypatch.setattr(tensorrt_builds, "graph_for", lambda model, *_: fold_graph(model.content))  # a CPU's are slow
    monkeypatch.setattr(tensorrt_builds, "time_engine", lambda engine, _: times[engine.description.precision])
    report = run_build(BuildRequest(backend="tensorrt"))
    assert report is not None
    assert report.precision == "int8"
    assert "the fastest of 3, which auto takes: int8, 0.30 ms" in capsys.readouterr().err
    built = {facts["key"]["precision"]: facts["acceptance"]["latency_ms"] for _, facts in cache.entries()}
    assert built == times
    with load_engine() as engine:  # of the float32 model's name, with the quantised one's own plane threshold
        assert engine.name == "tensorrt int8 NVIDIA Fake"
        assert engine.spec.plane_threshold == read_model_file(DEFAULT_INT8_MODEL).spec.plane_threshold


@pytest.mark.slow
def test_an_engine_built_from_afar_is_tried_on_its_machine_and_not_built_again(
    fake: FakeCuda, cache: EngineCache, capsys: pytest.CaptureFixture[str]
) -> None:
    run_build(BuildRequest(backend="tensorrt", precision="fp16", device="sm90"))
    with pytest.raises(EngineMissing, match="not been compared"):
        load_engine(backend="tensorrt")
    report = run_build(BuildRequest(backend="tensorrt", precision="fp16"))
    assert report is not None
    assert len(fake.builds) == 1  # type: ignore[attr-defined]
    ((_, facts),) = cache.entries()
    assert "built already:" in capsys.readouterr().err
    assert facts["key"]["device"] == "sm90"
    with load_engine(backend="tensorrt") as engine:
        assert engine.name == "tensorrt fp16 NVIDIA Fake"
    assert fake.leaks == {}


@pytest.mark.slow
def test_an_engine_of_the_second_gpu_is_built_and_loaded_there(fake: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake, "_gpus", 2)
    run_build(BuildRequest(backend="tensorrt", precision="fp32", device="cuda:1"))
    with load_engine(backend="tensorrt", device="cuda:1", precision="fp32") as engine:
        assert engine.description.device == "NVIDIA Fake cuda:1"
    with load_engine(device="cuda:1") as engine:  # auto
        assert engine.name == "tensorrt fp32 NVIDIA Fake cuda:1"
    with pytest.raises(EngineMissing, match="precision fp32, here fp16"):
        load_engine(backend="tensorrt", precision="fp16")
    assert fake.leaks == {}


@pytest.mark.slow
def test_early_exit_builds_both_engines(fake: FakeCuda, cache: EngineCache) -> None:
    run_build(BuildRequest(backend="tensorrt", precision="fp32", early_exit=True))
    assert sorted(facts["key"]["flags"] for _, facts in cache.entries()) == [["heads_only"], ["labels"]]
    with load_engine(backend="tensorrt", early_exit=True) as engine:
        assert engine.name == "tensorrt fp32 NVIDIA Fake early exit"
    assert fake.leaks == {}


@pytest.mark.slow
def test_a_refused_engine_is_kept_out_unless_forced_and_then_marked(
    fake: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = {**LIMITS, "fp16": replace(LIMITS["fp16"], dice=1.1)}
    monkeypatch.setattr(acceptance, "LIMITS", strict)
    request = BuildRequest(backend="tensorrt", precision="fp16")
    with pytest.raises(AcceptanceError, match="--force runs it all the same, marked"):
        run_build(request)
    with pytest.raises(EngineMissing, match="refused"):
        load_engine(backend="tensorrt")
    run_build(replace(request, force=True))
    with load_engine(backend="tensorrt") as engine:
        assert engine.spec.warning.startswith("engine not accepted: Dice of PS is")
    assert fake.leaks == {}


def test_nothing_is_built_while_a_stream_runs(fake: FakeCuda, capsys: pytest.CaptureFixture[str]) -> None:
    with live_stream():
        assert run("build", "--backend", "tensorrt") == 1
    assert "a live stream or another build is running" in capsys.readouterr().err
    assert not fake.builds  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.tensorrt
def test_built_from_afar_it_waits_for_its_machine(cache: EngineCache, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        tensorrt_module.load_tensorrt()
    except EngineUnavailable as error:
        pytest.skip(str(error))
    for precision in ("fp32", "fp16", "bf16", "int8", "fp8"):
        words = ("--precision", precision, "--batch", "1-4-16", "--early-exit")
        assert run("build", "--backend", "tensorrt", "--device", "sm89", *words) == 0
    assert "not tried" in capsys.readouterr().err
    assert len(cache.entries()) == 5 * 2  # whole networks, and encoders for an early exit
    assert all(facts["acceptance"] is None for _, facts in cache.entries())
    assert run("build", "--backend", "tensorrt", "--device", "sm75") == 0  # Turing: heads in half precision
    for device, precision in (("sm75", "bf16"), ("sm75", "fp32"), ("sm75", "fp8"), ("sm86", "fp8")):
        assert run("build", "--backend", "tensorrt", "--device", device, "--precision", precision) == 2
        assert f"--precision {precision}: this GPU runs" in capsys.readouterr().err
    for unknown in ("sm61", "sm90"):
        assert run("build", "--backend", "tensorrt", "--device", unknown) == 1
        assert "it knows sm120, sm121, sm75, sm80, sm86, sm89" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime", "torch"])
def test_backends_that_compile_on_loading_are_tried_too(backend: str) -> None:
    report = run_build(BuildRequest(backend=backend))
    assert report is not None
    assert report.accepted
    assert report.precision == ("fp32" if backend == "torch" else "int8")


def test_contradictions_are_refused_with_a_mend(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words, said in (
        ((str(DEFAULT_MODEL), "--backend", "tensorrt", "--precision", "int8", "--device", "sm89"), "partum quantize"),
        (("--backend", "tensorrt", "--device", "gpu"), "give a GPU, such as cuda:1"),
        (("--backend", "openvino", "--precision", "fp16"), "precision of its file"),
        (("--backend", "openvino", "--batch", "8"), "--batch is for --backend tensorrt"),
        (("--backend", "onnxruntime", "--device", "1"), "--device is for --backend tensorrt"),
        (("--backend", "torch", "--early-exit"), "--early-exit is for --backend tensorrt"),
        ((str(DEFAULT_INT8_MODEL), "--backend", "tensorrt", "--precision", "fp16", "--device", "sm89"), "is int8"),
        (("--backend", "tensorrt", "--precision", "fp8", "--device", "sm86"), "this GPU runs fp32, fp16, bf16, int8"),
        (("--batch", "4-2-1"), "sizes must rise"),
        (("--batch", "x"), "is no batch"),
        (("--backend", "openvino", "--data", str(tmp_path / "nowhere")), "no such folder"),
    ):
        assert run("build", *words) in (1, 2)
        assert said in capsys.readouterr().err


@pytest.mark.slow
def test_engines_lists_what_runs_and_why_the_rest_does_not(fake: FakeCuda, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("engines") == 0
    text = capsys.readouterr().out
    for backend in ("openvino", "onnxruntime", "torch"):
        assert any(line.startswith(backend) and " yes, on " in line for line in text.splitlines())
    assert "no accepted engine in the cache" in text
    assert str(GPU) in json.dumps(listed(capsys))
    run_build(BuildRequest(backend="tensorrt", precision="fp32"))
    capsys.readouterr()
    (entry,) = (entry for entry in listed(capsys)["backends"] if entry["backend"] == "tensorrt")
    assert entry["reason"] == ""
    assert len(listed(capsys)["engines"]) == 1


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run("engines", "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.slow
def test_info_of_models_and_engines(fake: FakeCuda, cache: EngineCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", str(DEFAULT_INT8_MODEL), "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["precision"], facts["acceptance"]["accepted"]) == ("int8", True)
    run_build(BuildRequest(backend="tensorrt", precision="fp32"))
    ((path, _),) = cache.entries()
    capsys.readouterr()
    assert run("info", str(path)) == 0
    assert "key.runtime_version" in capsys.readouterr().out
    path.write_bytes(path.read_bytes()[:-1])
    assert run("info", str(path), "--json") == 0
    assert json.loads(capsys.readouterr().out)["damage"].startswith("damaged (its bytes are not those")
    assert listed(capsys)["engines"][0]["refusal"].startswith("damaged (its bytes are not those")
    path.with_suffix(".json").unlink()
    assert run("info", str(path)) == 1
    assert run("info", "nowhere.engine") == run("info", "nowhere.onnx") == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all("partum" in line for line in lines)


@pytest.mark.slow
def test_export_makes_a_model_and_a_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = tmp_path / "net.pt"
    stored = {
        "schema": "partum.checkpoint/1",
        "spec": SPEC.to_metadata(),
        "weights": tiny_network().state_dict(),
    }
    torch.save(stored, checkpoint)
    assert run("export", str(checkpoint), "--triton", str(tmp_path / "repository")) == 0
    assert fold_graph((tmp_path / "net.onnx").read_bytes()) == fold_graph(tiny_model())
    assert (tmp_path / "repository" / "tiny" / "1" / "model.onnx").is_file()
    assert run("export", str(DEFAULT_MODEL)) == 2
    assert "give --triton FOLDER" in capsys.readouterr().err
    assert run("export", str(tmp_path / "nothing.pt")) == 1
