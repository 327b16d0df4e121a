"""What TensorRT is given of an INT8 model: 8 bits at convolutions alone, half precision around, and float8 likewise."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from calibration.deployment.quantization.qdq import Activations, Quantizer
from engines.errors import ModelMismatch
from engines.onnx.editing import constants, read_graph, serialize_model, set_constants
from engines.onnx.precision import LowPrecision, to_precision
from engines.onnx.quantised import DEQUANTISE, QUANTISE
from engines.registry import DEFAULT_INT8_MODEL
from tests.contracts.test_engine_contract import some_images
from tests.fakes.tiny_model import SIDE, tiny_cascade_model, tiny_model


@functools.cache
def quantised(activations: Activations = "signed") -> bytes:
    """The tiny model in INT8."""
    with Quantizer(tiny_model(), some_images(8, seed=3), "minmax") as quantizer:
        return quantizer.quantized(activations=activations)


def answers(content: bytes, images: Any) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"image": images}))


@pytest.mark.parametrize("precision", ["int8", "fp8"])
@pytest.mark.parametrize("kind", ["signed", "unsigned", "shipped"])
def test_only_what_convolutions_read_is_in_8_bits(precision: LowPrecision, kind: str) -> None:
    content = DEFAULT_INT8_MODEL.read_bytes() if kind == "shipped" else quantised(kind)
    model, spec = read_graph(to_precision(content, precision))
    assert spec.precision == precision
    known = constants(model)
    eight = {"int8": np.dtype(np.int8), "fp8": np.dtype(onnx.helper.tensor_dtype_to_np_dtype(17))}[precision]
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type in (QUANTISE, DEQUANTISE):
            assert known[node.input[1]].dtype == np.float16
            assert known[node.input[2]].dtype == eight
        if node.op_type == QUANTISE:
            assert makers[node.input[0]].op_type != DEQUANTISE
        if node.op_type == DEQUANTISE:
            assert {user.op_type for user in model.graph.node if node.output[0] in user.input} == {"Conv"}
        if node.op_type == "Conv" and any(entry.name == "group" and entry.i > 1 for entry in node.attribute):
            assert not any(name in makers and makers[name].op_type == DEQUANTISE for name in node.input)
    kinds = Counter(node.op_type for node in model.graph.node)
    quantised_convolutions = sum(
        makers[node.input[0]].op_type == DEQUANTISE for node in model.graph.node if node.op_type == "Conv"
    )
    assert quantised_convolutions >= kinds["Conv"] / 4
    assert kinds[DEQUANTISE] <= 2 * kinds["Conv"]


@pytest.mark.parametrize("activations", ["signed", "unsigned"])
@pytest.mark.parametrize(("precision", "tolerance"), [("int8", 0.05), ("fp8", 0.15)])
def test_it_computes_what_the_quantised_model_computes(
    precision: LowPrecision, tolerance: float, activations: Activations
) -> None:
    images = some_images(2)
    found = answers(to_precision(quantised(activations), precision), images)
    for one, other in zip(found, answers(quantised(), images), strict=True):
        assert one.dtype == np.float32
        assert np.abs(one - other).max() < tolerance * max(1.0, np.ptp(other))


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_a_channel_that_has_all_but_vanished_keeps_a_scale_above_0(precision: LowPrecision) -> None:
    model, spec = read_graph(quantised())
    known = constants(model)
    scale = next(name for name, values in known.items() if name.endswith("_scale") and values.ndim == 1)
    known[scale] = known[scale].copy()
    known[scale][0] = 1e-10
    set_constants(model, known)
    content = to_precision(serialize_model(model, spec), precision)
    after = constants(read_graph(content)[0])
    assert all((values > 0).all() for name, values in after.items() if "_scale" in name)
    for one, other in zip(
        answers(content, some_images(1)), answers(serialize_model(model, spec), some_images(1)), strict=True
    ):
        assert np.abs(one - other).max() < 0.15 * max(1.0, np.ptp(other))


def test_heads_and_crops_in_half_precision_say_the_same() -> None:
    images = np.random.default_rng(4).integers(0, 256, (2, 1, SIDE, SIDE), np.uint8)
    content = to_precision(tiny_cascade_model(), "fp16", half_products=True)
    assert "Gemm" not in {node.op_type for node in read_graph(content)[0].graph.node}
    for one, other in zip(answers(content, images), answers(tiny_cascade_model(), images), strict=True):
        assert np.abs(one - other).max() < 0.02 * max(1.0, np.abs(other).max())


def test_a_precision_is_made_of_the_right_kind_of_model() -> None:
    for content, precision, said in (
        (tiny_model(), "int8", "an int8 model; make one with partum quantize"),
        (tiny_model(), "fp8", "an int8 model; make one with partum quantize"),
        (quantised(), "fp16", "made of a float32 model"),
    ):
        with pytest.raises(ModelMismatch, match=said):
            to_precision(content, precision)  # type: ignore[arg-type]
