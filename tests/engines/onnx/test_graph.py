"""Changes to a model's graph keep what it says: folding exactly, lower precision nearly, the heads alone to the bit."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from engines.errors import ModelMismatch
from engines.onnx.editing import read_graph, serialize_model
from engines.onnx.folding import fold_graph
from engines.onnx.heads_only import heads_only
from engines.onnx.precision import to_precision
from engines.registry import DEFAULT_MODEL
from tests.fakes.tiny_model import HEIGHT, SPEC, WIDTH, tiny_model


def run(content: bytes) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(3).integers(0, 256, (2, 1, HEIGHT, WIDTH), np.uint8)
    return dict(zip((o.name for o in session.get_outputs()), session.run(None, {"image": images}), strict=True))


def operators(content: bytes) -> Counter[str]:
    return Counter(node.op_type for node in read_graph(content)[0].graph.node)


def test_folding_leaves_the_arithmetic_and_nothing_else() -> None:
    before, after = run(tiny_model()), run(fold_graph(tiny_model()))
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, atol=2e-5)
    assert np.ptp(before["class_logits"]) > 0.5
    left = operators(fold_graph(tiny_model()))
    assert left.keys().isdisjoint({"BatchNormalization", "CastLike", "Expand", "Shape", "Constant"})
    assert left["Cast"] == 1  # of the image
    assert left["Conv"] == operators(tiny_model())["Conv"]


def test_folding_twice_is_folding_once() -> None:
    assert fold_graph(fold_graph(tiny_model())) == fold_graph(tiny_model())


def test_the_facts_stay_and_say_what_changed() -> None:
    assert read_graph(fold_graph(tiny_model()))[1] == SPEC
    assert read_graph(to_precision(tiny_model(), "fp16"))[1] == replace(SPEC, precision="fp16")
    heads = read_graph(heads_only(tiny_model()))[1]
    assert heads == replace(SPEC, output_height=0, output_width=0)
    assert heads.output_names == ("plane_logit", "normal_logit")


def test_float16_is_float32_to_its_rounding() -> None:
    before, after = run(tiny_model()), run(to_precision(tiny_model(), "fp16"))
    for name, value in before.items():
        assert after[name].dtype == np.float32
        np.testing.assert_allclose(after[name], value, atol=0.01)
        assert np.abs(after[name] - value).max() > 1e-6  # something was rounded


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_encoder_and_decoder_are_lowered_and_the_heads_are_not(precision: str) -> None:
    model, _ = read_graph(to_precision(tiny_model(), precision))  # type: ignore[arg-type]
    inferred = onnx.shape_inference.infer_shapes(model)
    types = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    code = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}[precision]
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert {types[node.output[0]] for node in convolutions} == {code}
    dense = [node for node in model.graph.node if node.op_type == "Gemm"]
    assert {types.get(node.output[0], onnx.TensorProto.FLOAT) for node in dense} == {onnx.TensorProto.FLOAT}
    assert {output.type.tensor_type.elem_type for output in model.graph.output} == {onnx.TensorProto.FLOAT}


def test_the_heads_alone_say_what_they_say_in_the_whole() -> None:
    whole, heads = run(tiny_model()), run(heads_only(tiny_model()))
    assert set(heads) == {"plane_logit", "normal_logit"}
    for name, value in heads.items():
        np.testing.assert_allclose(value, whole[name], atol=1e-6)
    assert len(heads_only(tiny_model())) < len(tiny_model())


def test_heads_have_no_decoder_to_leave_out() -> None:
    with pytest.raises(ModelMismatch, match="no decoder"):
        heads_only(heads_only(tiny_model()))


def test_what_is_no_model_is_refused() -> None:
    for content in (b"no model", b""):
        with pytest.raises(ModelMismatch):
            fold_graph(content)


def test_a_graph_that_breaks_is_not_written() -> None:
    model, spec = read_graph(tiny_model())
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(onnx.checker.ValidationError):
        serialize_model(model, spec)


def test_the_model_that_ships_folds() -> None:
    content = DEFAULT_MODEL.read_bytes()
    assert operators(fold_graph(content))["BatchNormalization"] == 0
    assert operators(content)["BatchNormalization"] > 0
