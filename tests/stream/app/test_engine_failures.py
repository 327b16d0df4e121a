"""A run whose engine fails half-way goes on with the next back-end; every output says so, and from which frame on."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from engines.backends.openvino import OpenVinoEngine
from engines.base import Engine
from engines.errors import InferenceError
from engines.onnx.model_file import read_model_file
from engines.registry import DEFAULT_MODEL
from engines.selection.failover import Candidate, FailoverEngine
from stream.app import session
from stream.app.options.session_options import SessionOptions
from stream.app.session import run_session

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from engines.base import EngineDescription, ModelSpec, Prediction

FAILS_AT = 10


class FallingOut(Engine):
    """A card that answers as another engine does, until it falls out."""

    def __init__(self) -> None:
        self._behind, self._calls = OpenVinoEngine(read_model_file(DEFAULT_MODEL), precision="fp32"), 0

    @property
    def description(self) -> EngineDescription:
        return replace(self._behind.description, backend="card", device="GPU")

    @property
    def spec(self) -> ModelSpec:
        return self._behind.spec

    def infer(self, images: NDArray[np.uint8]) -> Prediction:
        self._calls += 1
        if self._calls > FAILS_AT:
            raise InferenceError("CUDA says cudaErrorUnknown in cudaStreamSynchronize")
        return self._behind.infer(images)

    def close(self) -> None:
        self._behind.close()
        raise InferenceError("CUDA says cudaErrorUnknown in cudaFree")


def no_driver() -> Engine:
    raise OSError("libcuda.so.1: cannot open shared object file")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    def spare() -> Engine:
        return OpenVinoEngine(read_model_file(DEFAULT_MODEL), precision="fp32")

    def load(*_: object, **__: object) -> Engine:
        return FailoverEngine(
            [Candidate("tensorrt", no_driver), Candidate("card", FallingOut), Candidate("spare", spare)]
        )

    monkeypatch.setattr(session, "load_judged_engine", load)


@pytest.mark.usefixtures("failing")
def test_a_card_that_falls_out_costs_no_frame(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = SessionOptions(source="phantom:?seed=3&duration=1", out=tmp_path / "run", overlay=False)
    statistics = run_session(options)
    records = [json.loads(line) for line in (tmp_path / "run" / "measurements.jsonl").read_text().splitlines()]
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["status"] == "complete"
    assert len(records) == statistics.frames_in == 30
    assert sum(run["results"][state] for state in ("measured", "refused", "dropped")) == 30
    asked = [record for record in records if record["engine"]]
    assert [record["engine"] for record in asked] == ["card fp32 GPU"] * FAILS_AT + ["openvino fp32 CPU"] * (
        len(asked) - FAILS_AT
    )
    first = asked[FAILS_AT]["index"]
    why = "card fp32 GPU failed: CUDA says cudaErrorUnknown in cudaStreamSynchronize"
    assert run["engine"] == "card fp32 GPU"
    assert run["engine_notices"] == ["tensorrt: libcuda.so.1: cannot open shared object file"]
    assert run["results"]["engines"] == [
        {"name": "card fp32 GPU", "from_frame": asked[0]["index"], "replaced": ""},
        {"name": "openvino fp32 CPU", "from_frame": first, "replaced": why},
    ]
    said = capfd.readouterr()
    assert "engine: tensorrt: libcuda.so.1: cannot open shared object file" in said.err
    assert f"from frame {first} on openvino fp32 CPU runs: {why}" in said.err
    assert f"from frame {first} on" in said.out
