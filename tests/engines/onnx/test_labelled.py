"""Labels in the graph are those that the host makes of the logits."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from engines.backends.onnxruntime import OnnxRuntimeEngine
from engines.early_exit import EarlyExitEngine
from engines.errors import InferenceError, ModelMismatch
from engines.network.gate import POOL
from engines.network.serving import LabelledNetwork, fold_batch_norms
from engines.onnx.editing import constants, read_graph, serialize_model, set_constants
from engines.onnx.heads_only import heads_only
from engines.onnx.labelled import PEAK_CELLS, with_labels
from engines.onnx.model_file import ModelFile, read_model_file
from engines.onnx.precision import to_precision
from engines.postprocess import class_labels, enlarge_logits
from engines.registry import DEFAULT_MODEL
from stream.inference.frame_analyzer import FrameAnalyzer, infer_frame, logits_in_frame
from stream.measurement import expected_error
from stream.measurement.expected_error import ps_peak
from stream.sources import open_source
from stream.sources.demo import DEMO_CLIP
from tests.fakes.tiny_model import CASCADE_SPEC, SIDE, tiny_cascade, tiny_cascade_model

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TIE = 1e-4
"""Logits nearer to each other than that may be told apart by rounding."""
BIAS = "masks.segmentation_head.bias"


def cascade() -> ModelFile:
    return ModelFile(CASCADE_SPEC, tiny_cascade_model())


def with_bias(bias: NDArray[Any]) -> ModelFile:
    """The cascade with another constant added to each class."""
    model, spec = read_graph(tiny_cascade_model())
    known: dict[str, Any] = constants(model)
    known[BIAS] = bias.astype(np.float32)
    set_constants(model, known)
    return ModelFile(spec, serialize_model(model, spec))


def with_all_classes() -> ModelFile:
    """The cascade with logits of mean 0, so that noise is of every class."""
    with OnnxRuntimeEngine(with_bias(np.zeros(3))) as engine:
        return with_bias(-engine.infer(some_images(2)).class_logits.mean(axis=(0, 2, 3)))


def some_images(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(4).integers(0, 256, (count, 1, SIDE, SIDE), np.uint8)


def assert_labels_of(labels: NDArray[np.uint8], logits: NDArray[np.float32]) -> None:
    """The labels are the host's, but where two classes tie."""
    height, width = labels.shape
    differs = labels != class_labels(logits, height, width)
    _, second, first = np.sort(enlarge_logits(logits, height, width), axis=0)
    assert (first - second)[differs].max(initial=0) < TIE
    assert differs.mean() < 1e-3


def test_an_engine_that_answers_labels_agrees_with_one_that_answers_logits() -> None:
    images, model = some_images(3), with_all_classes()
    with OnnxRuntimeEngine(model) as one, OnnxRuntimeEngine(model, labels=True) as other:
        expected, found = one.infer(images), other.infer(images)
    assert found.class_logits.size == 0
    assert found.labels is not None
    assert found.ps_peak is not None
    assert set(np.unique(found.labels)) == {0, 1, 2}
    for index in range(3):
        assert_labels_of(found.labels[index], expected.class_logits[index])
        assert found.ps_peak[index] == pytest.approx(ps_peak(expected.class_logits[index]), abs=1e-5)
    for name in ("plane_logit", "normal_logit", "plane_head", "ps_axis"):
        np.testing.assert_allclose(found.arrays[name], expected.arrays[name], atol=1e-5)


def test_torch_makes_the_same_labels() -> None:
    images = some_images(2)
    with torch.inference_mode():
        found = [answer.numpy() for answer in LabelledNetwork(tiny_cascade(), CASCADE_SPEC)(torch.from_numpy(images))]
    with OnnxRuntimeEngine(cascade(), labels=True) as engine:
        expected = engine.infer(images)
    answers = dict(zip(replace(CASCADE_SPEC, answers_labels=True).output_names, found, strict=True))
    assert expected.labels is not None
    assert np.mean(answers["labels"] != expected.labels) < 1e-3
    for name in ("plane_logit", "normal_logit", "ps_axis", "ps_peak"):
        np.testing.assert_allclose(answers[name], expected.arrays[name], atol=1e-4)


def test_folding_batch_norms_changes_no_answer() -> None:
    folded = deepcopy(tiny_cascade())
    fold_batch_norms(folded)
    images = torch.from_numpy(some_images(2))
    with torch.inference_mode():
        for one, other in zip(folded(images), tiny_cascade()(images), strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    kinds = [type(layer).__name__ for layer in folded.second_look.modules()]  # type: ignore[union-attr]
    assert kinds.count("BatchNorm2d") == 0


def test_the_patch_is_that_of_the_gate() -> None:
    assert PEAK_CELLS == POOL == expected_error.PEAK_CELLS


def test_the_file_says_what_it_answers(tmp_path: Path) -> None:
    path = tmp_path / "labelled.onnx"
    path.write_bytes(with_labels(tiny_cascade_model()))
    spec = read_model_file(path).spec
    assert spec.answers_labels
    assert spec.output_names[0] == "labels"
    assert with_labels(path.read_bytes()) == path.read_bytes()


def test_logits_can_be_kept_beside_the_labels() -> None:
    model, spec = read_graph(with_labels(tiny_cascade_model(), keep_logits=True))
    assert [output.name for output in model.graph.output] == [*spec.output_names, "class_logits"]


def test_a_model_without_a_decoder_has_no_labels() -> None:
    with pytest.raises(ModelMismatch, match="no decoder"):
        with_labels(heads_only(tiny_cascade_model()))


def test_a_logit_that_is_not_a_number_is_no_label() -> None:
    """Comparisons say no to NaN, so that the masks alone would look like background."""
    with pytest.raises((InferenceError, ModelMismatch), match="NaN"):
        OnnxRuntimeEngine(with_bias(np.array([0, np.nan, 0])), labels=True)


def test_an_early_exit_leaves_background() -> None:
    strict = replace(CASCADE_SPEC, plane_threshold=1.0, exit_logit=1e6)  # no frame passes
    model = ModelFile(strict, _with_spec(tiny_cascade_model(), strict))
    with EarlyExitEngine(OnnxRuntimeEngine(model, labels=True), OnnxRuntimeEngine(model, heads_only=True)) as engine:
        for _ in range(2):  # the whole network first, then the heads
            found = engine.infer(some_images(2))
            assert found.labels is not None
            assert found.labels.shape == (2, SIDE, SIDE)
            assert not found.labels.any()


def _with_spec(content: bytes, spec: Any) -> bytes:
    model, _ = read_graph(content)
    return serialize_model(model, spec)


@pytest.mark.slow
def test_a_measurement_from_labels_is_the_one_from_logits() -> None:
    model = read_model_file(DEFAULT_MODEL)
    with (
        open_source(str(DEMO_CLIP)) as source,
        OnnxRuntimeEngine(model) as one,
        OnnxRuntimeEngine(model, labels=True) as other,
    ):
        analyzers = [FrameAnalyzer.of(engine.spec, protocol="robust") for engine in (one, other)]
        for _, frame in zip(range(3), source, strict=False):
            answers = [infer_frame(engine, frame) for engine in (one, other)]
            found, expected = (
                analyzer.analyze(frame, *answer) for analyzer, answer in zip(analyzers, answers, strict=True)
            )
            assert expected.biometry.aop_deg is not None
            assert found.biometry.aop_deg == pytest.approx(expected.biometry.aop_deg, abs=0.05)
            assert found.biometry.quality == pytest.approx(expected.biometry.quality, abs=0.01)
        with pytest.raises(ModelMismatch, match="needed here"):
            logits_in_frame(frame, *answers[1])
        with pytest.raises(ModelMismatch, match="iugc2024 needs logits"):
            FrameAnalyzer.of(other.spec, protocol="iugc2024")


@pytest.mark.slow
@pytest.mark.tensorrt
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_builds_the_graph(precision: str) -> None:
    tensorrt = pytest.importorskip("engines.tensorrt.runtime").load_tensorrt()
    from engines.onnx.folding import fold_graph
    from engines.tensorrt.build import BuildOptions, build_engine

    model = read_model_file(DEFAULT_MODEL)
    content = fold_graph(model.content) if precision == "fp32" else to_precision(model.content, "fp16")
    options = BuildOptions(batch=(1, 2, 4), capability="sm80")
    built = build_engine(
        with_labels(content, keep_logits=True), model.spec, options, precision=precision, tensorrt=tensorrt
    )
    assert built.content
