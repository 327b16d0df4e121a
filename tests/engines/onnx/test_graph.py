"""Changes to a model's graph keep what it says: folding exactly, lower precision nearly, the heads alone to the bit."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from engines.errors import ModelMismatch
from engines.network.build import make_network
from engines.onnx.cost import cost_of
from engines.onnx.editing import read_graph, serialize_model
from engines.onnx.export import export_onnx
from engines.onnx.folding import fold_graph
from engines.onnx.heads_only import heads_only
from engines.onnx.precision import to_precision
from engines.registry import DEFAULT_MODEL
from tests.fakes.tiny_model import (
    CASCADE,
    CASCADE_SPEC,
    HEIGHT,
    SIDE,
    SPEC,
    WIDTH,
    tiny_cascade,
    tiny_cascade_model,
    tiny_model,
)

if TYPE_CHECKING:
    from pathlib import Path


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


def cascade_answers(content: bytes) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(1).integers(0, 256, (2, 1, SIDE, SIDE), np.uint8)
    return dict(zip((o.name for o in session.get_outputs()), session.run(None, {"image": images}), strict=True))


def test_a_cascade_folds_exactly_and_halves_nearly() -> None:
    before = cascade_answers(tiny_cascade_model())
    folded, halved = (fold_graph(tiny_cascade_model()), to_precision(tiny_cascade_model(), "fp16"))
    assert "CastLike" not in operators(folded)
    assert np.abs(before["ps_axis"]).max() > 1
    for name, value in before.items():
        np.testing.assert_allclose(cascade_answers(folded)[name], value, atol=2e-3, err_msg=name)
        np.testing.assert_allclose(cascade_answers(halved)[name], value, atol=0.1, err_msg=name)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_the_places_of_crops_stay_in_float32(precision: str) -> None:
    """Every number in half precision is of a picture: it has four axes."""
    model, _ = read_graph(to_precision(tiny_cascade_model(), precision))  # type: ignore[arg-type]
    code = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}[precision]
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    halved = [value.type.tensor_type for value in inferred if value.type.tensor_type.elem_type == code]
    assert len(halved) > 10
    assert {len(kind.shape.dim) for kind in halved} == {4}
    types = {value.name: value.type.tensor_type.elem_type for value in inferred}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert {types[node.output[0]] for node in convolutions} == {code}


def test_the_cost_counts_every_view(tmp_path: Path) -> None:
    spec = replace(CASCADE_SPEC, architecture={**CASCADE, "views": [[1.0, 0.0, 0.0]] * 4})
    export_onnx(make_network(spec.architecture), spec, tmp_path / "four.onnx")
    of_two, of_four = (
        cost_of(fold_graph(content)).operations
        for content in (tiny_cascade_model(), (tmp_path / "four.onnx").read_bytes())
    )
    per_view = 2 * multiply_adds_of_look()
    assert of_four - of_two == pytest.approx(2 * per_view, rel=0.35)  # crops and dense layers are the rest


def multiply_adds_of_look() -> int:
    """Of the convolutions of the tiny second look, for one crop."""
    look = tiny_cascade().second_look
    assert look is not None
    total = 0

    def count(module: nn.Conv2d, _: object, out: torch.Tensor) -> None:
        nonlocal total
        total += module.weight.numel() * out.shape[-1] * out.shape[-2]

    hooks = [each.register_forward_hook(count) for each in look.modules() if isinstance(each, nn.Conv2d)]
    with torch.inference_mode():
        look.network(torch.zeros(1, 1, look.network.side, look.network.side))
    for hook in hooks:
        hook.remove()
    return total
