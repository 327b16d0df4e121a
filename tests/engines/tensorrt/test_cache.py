"""Built engines are found again only where everything they depend on still holds, and half-written ones never."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import pytest

from engines.errors import BuildError, EngineMissing
from engines.tensorrt.cache import (
    EngineCache,
    EngineKey,
    cache_folder,
    live_stream,
    no_live_stream,
    rejection_reason,
    warning_of,
)

if TYPE_CHECKING:
    from pathlib import Path

KEY = EngineKey(
    model_sha256="ab" * 32,
    runtime="tensorrt",
    runtime_version="11.4",
    device="NVIDIA H100 sm90",
    precision="fp16",
    batch=(1, 4, 16),
    flags=(),
)
OTHERS: dict[str, Any] = {
    "model_sha256": "cd" * 32,
    "runtime": "tensorrt_rtx",
    "runtime_version": "11.5",
    "device": "NVIDIA H200 sm90",
    "precision": "bf16",
    "batch": (1, 1, 1),
    "flags": ("heads_only",),
}
ACCEPTED = {"accepted": True, "refusals": []}
REFUSED = {"accepted": False, "refusals": ["AoP moves by 4.00 degrees"]}


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


def accepted(cache: EngineCache, key: EngineKey, content: bytes = b"plan", **facts: Any) -> None:
    cache.store(key, "net", content)
    cache.set_report(cache.find(key, "net"), {**ACCEPTED, **facts}, forced=False)


def test_what_was_stored_is_found(cache: EngineCache) -> None:
    path = cache.store(KEY, "net", b"plan", build_s=2.5)
    found = cache.find(KEY, "net")
    assert (found.path, found.content, found.report) == (path, b"plan", None)
    assert found.facts["build_s"] == 2.5
    assert sorted(entry.suffix for entry in cache.folder.iterdir()) == [".engine", ".json"]


def test_every_fact_of_the_key_matters() -> None:
    assert OTHERS.keys() == {entry.name for entry in fields(EngineKey)}
    digests = {replace(KEY, **{name: value}).digest for name, value in OTHERS.items()}
    assert len(digests | {KEY.digest}) == len(OTHERS) + 1
    assert replace(KEY).digest == KEY.digest


@pytest.mark.parametrize("name", OTHERS)
def test_another_fact_means_another_engine_and_it_is_named(cache: EngineCache, name: str) -> None:
    cache.store(KEY, "net", b"plan")
    with pytest.raises(EngineMissing, match=rf"the nearest has {name} .*, here .*; make it with: partum build"):
        cache.find(replace(KEY, **{name: OTHERS[name]}), "net")


@pytest.mark.parametrize("name", [name for name in OTHERS if name not in ("precision", "batch")])
def test_an_engine_for_something_else_is_not_run(cache: EngineCache, name: str) -> None:
    accepted(cache, KEY)
    assert cache.best(KEY).content == b"plan"
    with pytest.raises(EngineMissing, match=name):
        cache.best(replace(KEY, **{name: OTHERS[name]}))


def test_of_several_the_fastest_that_was_accepted_runs(cache: EngineCache) -> None:
    for precision, latency_ms in (("fp32", 0.9), ("bf16", 0.5), ("fp16", 0.3), ("int8", 0.4)):
        accepted(cache, replace(KEY, precision=precision), precision.encode(), latency_ms=latency_ms)
    cache.store(replace(KEY, precision="fp8"), "net", b"fp8")  # never tried
    assert cache.best(replace(KEY, precision="fp32")).content == b"fp16"


def test_a_broken_file_is_passed_over_for_the_next_engine(cache: EngineCache) -> None:
    for precision, latency_ms in (("fp16", 0.3), ("int8", 0.4)):
        accepted(cache, replace(KEY, precision=precision), precision.encode(), latency_ms=latency_ms)
    cache.path_of(replace(KEY, precision="fp16"), "net").write_bytes(b"cut sh")
    assert cache.best(KEY).content == b"int8"
    cache.path_of(replace(KEY, precision="int8"), "net").write_bytes(b"")
    with pytest.raises(EngineMissing, match=r"fp16.*damaged"):
        cache.best(KEY)


@pytest.mark.parametrize("facts", ['{"schema": "partum.engine/1"}', '{"schema": "partum.engine/1", "key": {}}', "[1]"])
def test_facts_that_are_broken_make_no_engine(cache: EngineCache, facts: str) -> None:
    accepted(cache, KEY)
    cache.path_of(KEY, "net").with_suffix(".json").write_text(facts)
    assert cache.entries() == []
    with pytest.raises(EngineMissing, match="no built engine"):
        cache.best(KEY)


def test_an_engine_of_a_quantised_form_of_the_model_counts_too(cache: EngineCache) -> None:
    quantised = replace(KEY, model_sha256="ef" * 32, precision="int8")
    cache.store(quantised, "net", b"int8", made_from=KEY.model_sha256)
    cache.set_report(cache.find(quantised, "net"), {**ACCEPTED, "latency_ms": 0.2}, forced=False)
    accepted(cache, KEY, b"fp16", latency_ms=0.3)
    assert cache.best(KEY).content == b"int8"
    with pytest.raises(EngineMissing, match="model_sha256"):
        cache.best(replace(KEY, model_sha256="cd" * 32))


def test_an_engine_built_from_afar_runs_on_its_capability_alone(cache: EngineCache) -> None:
    accepted(cache, KEY.from_afar())
    assert KEY.from_afar().device == "sm90"
    assert cache.best(KEY).content == b"plan"
    with pytest.raises(EngineMissing, match="device sm90"):
        cache.best(replace(KEY, device="NVIDIA L4 sm89"))


def test_an_engine_accepted_on_another_gpu_is_tried_on_this_one_first(cache: EngineCache) -> None:
    accepted(cache, KEY.from_afar(), device="NVIDIA H200 sm90")
    with pytest.raises(EngineMissing, match=r"accepted on NVIDIA H200 sm90, and this is NVIDIA H100 sm90; run partum"):
        cache.best(KEY)


def test_an_engine_must_have_been_tried_and_accepted_or_forced(cache: EngineCache) -> None:
    cache.store(KEY, "net", b"plan")
    with pytest.raises(EngineMissing, match="not been compared"):
        cache.best(KEY)
    cache.set_report(cache.find(KEY, "net"), REFUSED, forced=False)
    with pytest.raises(EngineMissing, match=r"refused \(AoP moves by 4.00 degrees\)"):
        cache.best(KEY)
    cache.set_report(cache.find(KEY, "net"), REFUSED, forced=True)
    found = cache.best(KEY)
    assert rejection_reason(found.facts) == ""
    assert warning_of(found.facts) == "engine not accepted: AoP moves by 4.00 degrees"
    cache.set_report(found, ACCEPTED, forced=False)
    assert warning_of(cache.best(KEY).facts) == ""


def test_a_damaged_engine_is_not_run(cache: EngineCache) -> None:
    path = cache.store(KEY, "net", b"plan")
    path.write_bytes(b"pla")
    with pytest.raises(EngineMissing, match="damaged"):
        cache.find(KEY, "net")


@pytest.mark.parametrize("damage", ["{", "[]", '{"schema": "partum.engine/0"}'])
def test_an_engine_without_its_facts_does_not_exist(cache: EngineCache, damage: str) -> None:
    path = cache.store(KEY, "net", b"plan")
    path.with_suffix(".json").write_text(damage)
    with pytest.raises(EngineMissing, match="no built engine"):
        cache.find(KEY, "net")


def test_a_write_that_fails_leaves_the_old_engine_and_no_rest(
    cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cache.store(KEY, "net", b"plan")

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BuildError, match="No space left on device"):
        cache.store(KEY, "net", b"another")
    assert path.read_bytes() == b"plan"
    assert not list(cache.folder.glob("*.part"))


def test_the_folder_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARTUM_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("PARTUM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tmp_path in cache_folder().parents


def try_to_build(folder: Path, answers: Any) -> None:
    try:
        with no_live_stream(folder):
            answers.put("built")
    except BuildError as error:
        answers.put(str(error))


def build_elsewhere(folder: Path) -> str:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=try_to_build, args=(folder, answers))
    process.start()
    answer: str = answers.get(timeout=60)
    process.join()
    answers.close()
    answers.join_thread()
    return answer


def test_nothing_is_built_while_a_stream_runs_in_any_process(tmp_path: Path) -> None:
    with live_stream(tmp_path), live_stream(tmp_path):  # streams do not hinder each other
        assert "live stream" in build_elsewhere(tmp_path)
    assert build_elsewhere(tmp_path) == "built"


def test_a_stream_starts_even_while_something_is_built(tmp_path: Path) -> None:
    with no_live_stream(tmp_path), live_stream(tmp_path):
        pass
    with pytest.raises(BuildError, match="another build"), no_live_stream(tmp_path), no_live_stream(tmp_path):
        pass
