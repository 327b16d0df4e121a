"""A Triton repository: what a server is told of a model, and which built engines it may serve."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import partum
from engines.errors import ModelMismatch
from engines.onnx.model_file import read_model_file
from engines.registry import DEFAULT_MODEL
from engines.serving.triton_repository import Serving, plan_of, write_repository
from engines.tensorrt.cache import EngineCache, EngineKey
from tests.fakes.tiny_model import SPEC, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from engines.onnx.model_file import ModelFile
    from engines.tensorrt.cache import StoredEngine


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    path.write_bytes(tiny_model())
    return read_model_file(path)


def test_a_repository_holds_the_model_and_replaces_an_older_one(model: ModelFile, tmp_path: Path) -> None:
    for max_batch in (4, 8):
        place = write_repository(model, tmp_path, serving=Serving(max_batch=max_batch))
    assert (place / "1" / "model.onnx").read_bytes() == model.content
    config = (place / "config.pbtxt").read_text()
    assert "max_batch_size: 8" in config
    assert json.dumps(SPEC.to_metadata()["partum.spec"]) in config
    plan = write_repository(model, tmp_path, plan=b"plan")
    assert sorted(path.name for path in (plan / "1").iterdir()) == ["model.plan"]
    assert 'backend: "tensorrt"' in (plan / "config.pbtxt").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_the_repository_says_how_the_model_is_run(model: ModelFile, tmp_path: Path) -> None:
    serving = Serving(max_batch=6, instances=2, gpus=(0, 3))
    config = (write_repository(model, tmp_path, serving=serving) / "config.pbtxt").read_text()
    assert "instance_group [ { count: 2 kind: KIND_GPU gpus: [ 0, 3 ] } ]" in config
    assert "dynamic_batching { max_queue_delay_microseconds: 500 }" in config
    assert [size for size in range(1, 20) if f'"batch {size}" batch_size: {size} ' in config] == [1, 2, 4, 6]
    plain = (write_repository(model, tmp_path) / "config.pbtxt").read_text()
    assert "instance_group [ { count: 1 kind: KIND_AUTO } ]" in plain  # a GPU where the server has one


def stored_plan(folder: Path, model: ModelFile, **changes: object) -> StoredEngine:
    key = {
        "model_sha256": model.spec.sha256,
        "runtime": "tensorrt",
        "runtime_version": "10.16",
        "device": "NVIDIA Fake sm90",
        "precision": "fp16",
        "batch": (1, 4, 8),
        "flags": (),
    }
    cache = EngineCache(folder)
    path = cache.store(EngineKey(**{**key, **changes}), model.spec.name, b"plan", model=model.spec.to_metadata())  # type: ignore[arg-type]
    cache.set_report(cache.find_path(path), {"accepted": True, "refusals": []}, forced=False)
    return cache.find_path(path)


def test_a_built_engine_is_served_with_its_own_precision_and_batch(model: ModelFile, tmp_path: Path) -> None:
    stored = stored_plan(tmp_path / "cache", model)
    words = [str(stored.path), "--triton", str(tmp_path / "repository"), "--instances", "2"]
    partum.main(["export", *words])
    place = tmp_path / "repository" / "tiny"
    assert (place / "1" / "model.plan").read_bytes() == b"plan"
    config = (place / "config.pbtxt").read_text()
    assert "max_batch_size: 8" in config  # what it was built for, and not the usual 16
    assert "count: 2 kind: KIND_GPU" in config
    assert '\\"precision\\": \\"fp16\\"' in config


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"runtime": "tensorrt_rtx"}, "Triton runs engines of full TensorRT only"),
        ({"flags": ("heads_only",)}, "has no decoder"),
        ({"batch": (8, 8, 8)}, "build one with --batch 1-8-8"),
    ],
)
def test_an_engine_that_cannot_be_served_is_refused(
    model: ModelFile, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(ModelMismatch, match=words):
        plan_of(stored_plan(tmp_path, model, **changes), None, Serving())


def test_an_engine_whose_facts_do_not_name_its_model_takes_the_named_one(model: ModelFile, tmp_path: Path) -> None:
    stored = stored_plan(tmp_path, model)
    bare = replace(stored, facts={name: fact for name, fact in stored.facts.items() if name != "model"})
    assert plan_of(bare, model, Serving())[0].spec.precision == "fp16"
    for other in (None, replace(model, spec=replace(model.spec, sha256="0" * 64))):
        with pytest.raises(ModelMismatch, match="is not known; name it with --model"):
            plan_of(bare, other, Serving())


def test_an_engine_that_was_never_accepted_is_not_served(model: ModelFile, tmp_path: Path) -> None:
    stored = stored_plan(tmp_path, model)
    refused = replace(stored, facts={**stored.facts, "acceptance": None})
    with pytest.raises(ModelMismatch, match="has not been compared"):
        plan_of(refused, None, Serving())


def test_the_model_that_ships_can_be_served(tmp_path: Path) -> None:
    place = write_repository(read_model_file(DEFAULT_MODEL), tmp_path)
    assert "dims: [3, 128, 128]" in (place / "config.pbtxt").read_text()
