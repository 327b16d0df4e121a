"""What runs on a CPU is compared with its float32 model there, in degrees, on frames that ship."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engines.backends.openvino import OpenVinoEngine
from engines.base import Engine
from engines.errors import EngineUnavailable
from engines.onnx.model_file import read_model_file
from engines.registry import DEFAULT_MODEL, load_engine
from engines.selection.measuring import Reference
from stream.inference.engine_trial import EngineTrial, answers_of, load_judged_engine, stored_answers, stored_frames
from tests.conftest import REPOSITORY
from tests.fakes.doubles import GreyLevelEngine, picture
from tests.fakes.tiny_model import tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from engines.base import EngineDescription, ModelSpec, Prediction

DRAWN = np.stack([picture(58.0 + place) for place in range(30)])


class Saturating(Engine):
    """An INT8 engine on a CPU that sums wrongly: masks of every `every`-th frame are moved by some pixels."""

    def __init__(self, *, shift: int, every: int = 2, precision: str = "int8", parallel: int = 1) -> None:
        self._exact, self._shift, self._every, self._count = GreyLevelEngine(), shift, every, 0
        self._precision, self._parallel = precision, parallel

    @property
    def description(self) -> EngineDescription:
        return replace(self._exact.description, precision=self._precision, parallel=self._parallel)

    @property
    def spec(self) -> ModelSpec:
        return self._exact.spec

    def infer(self, images: NDArray[np.uint8]) -> Prediction:
        answer = self._exact.infer(images)
        self._count += 1
        if self._count % self._every == 0:  # the head alone
            answer.class_logits[:, 2] = np.roll(answer.class_logits[:, 2], self._shift, axis=-2)
        return answer

    def close(self) -> None:
        self._exact.close()


def exact() -> Reference:
    return Reference("float", GreyLevelEngine)


def test_an_engine_that_says_what_float32_says_may_run() -> None:
    verdict = EngineTrial(DRAWN).judge(Saturating(shift=0), exact(), most_ms=np.inf)
    assert (verdict.refusal, verdict.aop_p95_deg, verdict.is_complete) == ("", 0.0, True)
    assert verdict.ms > 0


def test_an_engine_that_is_degrees_off_may_not() -> None:
    verdict = EngineTrial(DRAWN).judge(Saturating(shift=4), exact(), most_ms=np.inf)
    assert verdict.aop_p95_deg is not None
    assert verdict.aop_p95_deg > 3
    assert verdict.refusal.startswith(f"AoP moves by {verdict.aop_p95_deg:.1f} degrees (95th percentile; 3 at most)")


def test_the_limit_is_that_of_the_precision() -> None:
    moved = [
        EngineTrial(DRAWN).judge(Saturating(shift=1, precision=name), exact(), most_ms=np.inf)
        for name in ("int8", "fp32")
    ]
    assert moved[0].aop_p95_deg == moved[1].aop_p95_deg
    assert [bool(verdict.refusal) for verdict in moved] == [False, True]


def test_a_slow_engine_is_given_up_early() -> None:
    engine = Saturating(shift=0)
    verdict = EngineTrial(DRAWN).judge(engine, exact(), most_ms=0.0)
    assert (verdict.is_complete, engine._count) == (False, 6)


def test_an_engine_for_throughput_is_judged_on_frames_side_by_side() -> None:
    engine = Saturating(shift=4, parallel=2)
    verdict = EngineTrial(DRAWN).judge(engine, exact(), most_ms=np.inf)
    assert verdict.refusal.startswith("AoP moves by")
    assert 0 < verdict.ms < 1000


def test_the_stored_frames_are_real_pictures() -> None:
    frames = stored_frames()
    assert frames.shape == (32, 256, 256)
    assert frames.std(axis=(1, 2)).min() > 20
    assert len({frame.tobytes() for frame in frames}) == 32


def test_the_stored_answers_are_those_of_the_model_that_ships() -> None:
    model, stored = read_model_file(DEFAULT_MODEL), stored_answers()
    if model.spec.sha256 not in stored:
        pytest.skip("the stored answers are of another model; python -m calibration.studies.trial_frames makes them")
    with OpenVinoEngine(model, precision="fp32") as engine:
        found = answers_of(engine, stored_frames()[:6])
    for one, other in zip(found, stored[model.spec.sha256], strict=False):
        assert one.is_standard == other.is_standard
        assert one.aop_deg == pytest.approx(other.aop_deg, abs=0.3)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARTUM_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    return path


def test_a_named_backend_and_precision_measure_nothing(tiny: Path, tmp_path: Path) -> None:
    with load_judged_engine(tiny, "openvino", precision="fp32") as engine:
        assert (engine.name, engine.notices) == ("openvino fp32 CPU", ())
    assert not (tmp_path / "cache").exists()
    with pytest.raises(EngineUnavailable, match="no such model in int8"):
        load_judged_engine(tiny, "openvino", precision="int8")


def test_the_first_start_measures_and_the_next_does_not(tiny: Path, tmp_path: Path) -> None:
    with load_judged_engine(tiny) as engine:
        taken = engine.name
        assert [line for line in engine.notices if line.startswith("measured once on this machine")]
    assert len(list((tmp_path / "cache").glob("choice-*.json"))) == 1
    with load_judged_engine(tiny) as engine:
        assert engine.name == taken
        assert not [line for line in engine.notices if line.startswith("measured once")]


def test_the_model_that_ships_is_judged_on_this_very_machine() -> None:
    with load_judged_engine() as engine:
        assert engine.description.backend in ("openvino", "onnxruntime")
        assert engine.spec.warning == ""


@pytest.mark.slow
@pytest.mark.parametrize("caps", [("ONEDNN_MAX_CPU_ISA", "OV_CPU_MAX_ISA"), ("ONEDNN_MAX_CPU_ISA",)])
def test_on_a_cpu_without_vnni_what_runs_is_right_there(caps: tuple[str, ...], tmp_path: Path) -> None:
    """OpenVINO heeds both caps; with oneDNN's alone it still takes bfloat16 for possible, and cannot compile."""
    code = (
        "from stream.inference.engine_trial import EngineTrial, load_judged_engine\n"
        "with load_judged_engine() as engine:\n"
        "    print(*engine.notices, sep='\\n')\n"
        "    print(engine.name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={**os.environ, **dict.fromkeys(caps, "AVX2"), "PARTUM_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "without VNNI" in done.stdout
    assert "AoP within" in done.stdout


@pytest.mark.slow
def test_int8_is_not_taken_unjudged_on_a_cpu_without_vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OV_CPU_MAX_ISA", "AVX2")
    with load_engine() as engine:
        assert engine.description.precision in ("fp32", "bf16")
        assert any("may sum INT8 wrongly" in line for line in engine.notices)
