"""Early exit changes nothing about a frame that passes, and does not depend on the frame before."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engines.early_exit import MARGIN, EarlyExitEngine, exit_logit
from engines.errors import InferenceError
from engines.onnx.editing import read_graph, serialize_model
from engines.registry import DEFAULT_MODEL, load_engine
from engines.runtime import heads_spec
from tests.fakes.doubles import GreyLevelEngine, picture
from tests.fakes.tiny_model import CASCADE_SPEC, SIDE, SPEC, tiny_cascade_model

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from engines.base import Prediction

PLANE, OTHER = picture(), picture(standard=False)


class Heads(GreyLevelEngine):
    """The encoder alone, off by a rounding."""

    spec = heads_spec(GreyLevelEngine.spec)

    def infer(self, images: NDArray[np.uint8]) -> Prediction:
        whole = super().infer(images)
        return replace(
            whole,
            class_logits=np.empty((len(images), 3, 0, 0), np.float32),
            plane_logit=(whole.plane_logit + 0.01).astype(np.float32),
        )


@pytest.fixture
def parts() -> tuple[GreyLevelEngine, Heads]:
    return GreyLevelEngine(), Heads()


def batch(*images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack(images)[:, None]


def test_frames_that_pass_get_what_the_whole_network_says(parts: tuple[GreyLevelEngine, Heads]) -> None:
    engine, alone = EarlyExitEngine(*parts), GreyLevelEngine()
    for image in (PLANE, OTHER, PLANE, PLANE, OTHER, OTHER, PLANE):
        found, expected = engine.infer(batch(image)), alone.infer(batch(image))
        if image is PLANE:
            np.testing.assert_array_equal(found.class_logits, expected.class_logits)
            np.testing.assert_array_equal(found.plane_logit, expected.plane_logit)
        else:
            assert (found.class_logits[0].argmax(axis=0) == 0).all()
            np.testing.assert_allclose(found.plane_logit, expected.plane_logit, atol=0.02)


def test_a_stretch_off_plane_runs_the_encoder_alone(parts: tuple[GreyLevelEngine, Heads]) -> None:
    whole, heads = parts
    engine = EarlyExitEngine(whole, heads)
    for _ in range(10):
        engine.infer(batch(OTHER))
    assert (whole.calls, heads.calls) == (1, 9)
    for _ in range(10):
        engine.infer(batch(PLANE))
    assert (whole.calls, heads.calls) == (11, 10)  # the change of plane alone paid for both


def test_of_a_mixed_batch_the_frames_that_may_pass_are_decoded(parts: tuple[GreyLevelEngine, Heads]) -> None:
    engine = EarlyExitEngine(*parts)
    mixed = batch(OTHER, PLANE, OTHER)
    first = engine.infer(mixed)
    again = engine.infer(mixed)  # the frame before was none: heads first
    np.testing.assert_array_equal(first.class_logits, again.class_logits)
    assert [int(row.argmax(axis=0).max()) for row in again.class_logits] == [0, 2, 0]


def cascade_file(folder: Path, *, exit_logit: float | None, threshold: float) -> Path:
    path = folder / "cascade.onnx"
    spec = replace(CASCADE_SPEC, exit_logit=exit_logit, plane_threshold=threshold)
    path.write_bytes(serialize_model(read_graph(tiny_cascade_model())[0], spec))
    return path


def noise(count: int = 12) -> NDArray[np.uint8]:
    contrast = np.linspace(20, 255, count)[:, None, None, None]
    return (np.random.default_rng(3).random((count, 1, SIDE, SIDE)) * contrast).astype(np.uint8)


@pytest.mark.slow
def test_of_a_model_with_a_gate_the_plane_head_decides_the_exit(tmp_path: Path) -> None:
    with load_engine(cascade_file(tmp_path, exit_logit=None, threshold=0.5), "onnxruntime") as whole:
        expected = whole.infer(noise())
    assert expected.plane_head is not None
    gate = float(np.median(expected.plane_logit))
    leaves = float(np.quantile(expected.plane_head, 0.3)) + MARGIN
    path = cascade_file(tmp_path, exit_logit=leaves, threshold=1 / (1 + math.exp(-gate)))
    with load_engine(path, "onnxruntime", early_exit=True) as engine:
        one_by_one = [engine.infer(image[None]) for image in noise()]
        again = [engine.infer(image[None]) for image in noise()[::-1]][::-1]
    passed, left = 0, 0
    for place, found in enumerate(one_by_one):
        assert found.plane_head is not None
        assert found.ps_axis is not None
        np.testing.assert_allclose(found.plane_logit, again[place].plane_logit, atol=1e-4)
        np.testing.assert_allclose(found.plane_head[0], expected.plane_head[place], atol=1e-4)
        if expected.plane_head[place] < leaves - MARGIN:
            left += 1
            assert found.plane_logit[0] <= gate - MARGIN + 1e-6
        else:
            np.testing.assert_allclose(found.plane_logit[0], expected.plane_logit[place], atol=1e-4)
        if found.plane_logit[0] >= gate:
            passed += 1
            assert expected.ps_axis is not None
            np.testing.assert_allclose(found.class_logits[0], expected.class_logits[place], atol=1e-3)
            np.testing.assert_allclose(found.ps_axis[0], expected.ps_axis[place], atol=1e-2)
        else:
            assert (found.class_logits[0].argmax(axis=0) == 0).all()
            assert not found.ps_axis.any()
    assert min(passed, left) >= 2


def test_without_knowledge_of_the_exit_every_frame_is_decoded() -> None:
    assert exit_logit(CASCADE_SPEC) == -math.inf
    assert exit_logit(replace(CASCADE_SPEC, plane_threshold=0.5)) == -math.inf
    assert exit_logit(replace(CASCADE_SPEC, plane_threshold=0.5, exit_logit=-3.0)) == pytest.approx(-3.1)
    assert exit_logit(replace(CASCADE_SPEC, exit_logit=-3.0)) == -math.inf  # at a threshold of 0 every frame passes
    assert exit_logit(replace(SPEC, plane_threshold=0.5)) == pytest.approx(-MARGIN)


def test_it_takes_a_whole_network_and_heads_in_that_order(parts: tuple[GreyLevelEngine, Heads]) -> None:
    whole, heads = parts
    for wrong in ((heads, whole), (whole, whole), (heads, heads)):
        with pytest.raises(ValueError, match="in that order"):
            EarlyExitEngine(*wrong)


def test_closing_closes_both(parts: tuple[GreyLevelEngine, Heads]) -> None:
    with EarlyExitEngine(*parts) as engine:
        pass
    assert all(part.closed for part in parts)
    with pytest.raises(InferenceError, match="closed"):
        engine.infer(batch(PLANE))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime", "torch"])
def test_the_model_that_ships_says_the_same_with_and_without(backend: str) -> None:
    from calibration.deployment.trial_frames import as_network_input, demonstration_frames

    with (
        load_engine(DEFAULT_MODEL, backend) as whole,
        load_engine(DEFAULT_MODEL, backend, early_exit=True) as engine,
    ):
        images = as_network_input(demonstration_frames()[:: 12 if backend == "torch" else 6], whole.spec)
        passed = 0
        for image in images:
            found, expected = engine.infer(image[None]), whole.infer(image[None])
            assert expected.plane_head is not None
            head, gate = float(expected.plane_head[0]), whole.spec.plane_logit_threshold
            if abs(head - exit_logit(whole.spec)) > 0.2:  # nearer, rounding decides which of the two is said
                said = expected.plane_logit if head >= exit_logit(whole.spec) else expected.plane_head
                np.testing.assert_allclose(found.plane_logit, said, atol=0.05)
            if expected.plane_logit[0] >= gate:
                passed += 1
                np.testing.assert_array_equal(found.class_logits, expected.class_logits)
            else:
                assert found.plane_logit[0] < gate
                assert (found.class_logits[0].argmax(axis=0) == 0).all()
    assert 0 < passed < len(images)
