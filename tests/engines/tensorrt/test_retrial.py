"""After an update of the driver an accepted engine runs on if it answers as it did, and is tried anew if not."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engines.errors import EngineMissing
from engines.onnx.model_file import read_model_file
from engines.tensorrt.retrial import FRAMES, answers_path, keep_answers
from tests.contracts.test_engine_contract import some_images
from tests.engines.tensorrt.test_engine import Bench
from tests.fakes.fake_gpu import GPU
from tests.fakes.tiny_model import tiny_model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An engine that was accepted under driver 13.0."""
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    made = Bench(read_model_file(path), tmp_path / "engines")
    made.cache.note(made.cache.find(made.key, "tiny"), driver=GPU.driver)
    with made.load() as engine:
        keep_answers(engine, some_images(20), made.path)
    return made


def driver_of(bench: Bench) -> str:
    facts = json.loads(bench.path.with_suffix(".json").read_text())
    return str(facts["acceptance"]["driver"])


def test_under_another_driver_it_runs_if_it_answers_as_before(bench: Bench) -> None:
    bench.cuda.facts = replace(GPU, driver="13.1")
    with bench.load() as engine:
        assert engine.infer(some_images(1)).plane_logit.shape == (1,)
    assert driver_of(bench) == "13.1"  # and is not tried at the next start
    answers_path(bench.path).unlink()
    bench.load().close()
    assert bench.cuda.leaks == {}


def changed(bench: Bench, **answers: Any) -> None:
    path = answers_path(bench.path)
    with np.load(path) as kept:
        content = {**dict(kept), **answers}
    assert len(content["images"]) == FRAMES
    written = io.BytesIO()
    np.savez(written, **content)
    path.write_bytes(written.getvalue())


@pytest.mark.parametrize("what", ["masks", "planes", "nothing kept", "damaged"])
def test_one_that_answers_otherwise_is_not_run(bench: Bench, what: str) -> None:
    path = answers_path(bench.path)
    if what == "masks":
        changed(bench, classes=np.zeros((FRAMES, 32, 48), np.uint8))
    elif what == "planes":
        changed(bench, plane_logit=np.full(FRAMES, 9, np.float32))
    elif what == "damaged":
        path.write_bytes(path.read_bytes()[:100])
    else:
        path.unlink()
    bench.cuda.facts = replace(GPU, driver="13.1")
    with pytest.raises(EngineMissing, match=r"driver 13\.0, and under 13\.1 it .*run partum build on this machine"):
        bench.load()
    assert driver_of(bench) == "13.0"
    assert bench.cuda.leaks == {}
