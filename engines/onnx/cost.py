"""Operations and bytes of a network, counted on its graph."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from engines.onnx.editing import FLOAT, constants

if TYPE_CHECKING:
    from collections.abc import Mapping

COUNTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Operations and bytes of one frame.

    Attributes:
        operations: multiplications and additions, two for each multiply-accumulate of convolutions and matrices;
            nothing else counts next to them.
        weight_bytes: of the constants as they are stored.
        activation_bytes: of every tensor in between, written once and read once, in the type the graph gives it: an
            upper bound, because a runtime keeps in its caches what it can.
    """

    operations: int
    weight_bytes: int
    activation_bytes: int


def cost_of(content: bytes) -> Cost:
    """Counts the operations and bytes of a model file for one frame."""
    model = onnx.load_from_string(content)
    for value in (*model.graph.input, *model.graph.output):
        batch = value.type.tensor_type.shape.dim[0]
        batch.dim_value = batch.dim_value or 1
    del model.graph.value_info[:]  # what is kept there says "batch", and twice that inside a second look
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    graph = inferred.graph
    tensors = {value.name: value for value in (*graph.value_info, *graph.output, *graph.input)}
    weights = constants(model)
    # What is taken out of its integers again is never written: runtimes compute with the integers.
    made = [
        name for node in graph.node if node.op_type != "DequantizeLinear" for name in node.output if name in tensors
    ]
    return Cost(
        operations=sum(_operations(node, tensors, weights) for node in graph.node),
        weight_bytes=sum(array.nbytes for array in weights.values()),
        activation_bytes=sum(2 * _bytes(tensors[name]) for name in made),
    )


def _operations(node: Any, tensors: Mapping[str, Any], weights: Mapping[str, Any]) -> int:
    if node.op_type not in COUNTED or node.output[0] not in tensors:
        return 0
    shape = _shape_of_weight(node, tensors, weights)
    out = _shape(tensors[node.output[0]])
    if shape is None or not shape:
        return 0
    if node.op_type == "Conv":  # (out, in / groups, kernel ...)
        return 2 * math.prod(out) * math.prod(shape[1:])
    if node.op_type == "ConvTranspose":  # (in, out / groups, kernel ...): each input pixel spreads
        pixels_in = _shape(tensors[node.input[0]])
        return 2 * math.prod(pixels_in) * math.prod(shape[1:])
    if node.op_type == "MatMul":  # (..., k, n)
        return 2 * math.prod(out) * shape[-2 if len(shape) > 1 else 0]
    return 2 * math.prod(out) * shape[-1]


def _shape_of_weight(node: Any, tensors: Mapping[str, Any], weights: Mapping[str, Any]) -> tuple[int, ...] | None:
    name = node.input[1]
    if name in weights:
        return tuple(int(side) for side in weights[name].shape)
    return tuple(_shape(tensors[name])) if name in tensors else None


def _shape(value: Any) -> list[int]:
    return [max(1, int(side.dim_value)) for side in value.type.tensor_type.shape.dim]


def _bytes(value: Any) -> int:
    kind = value.type.tensor_type.elem_type
    size = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)).itemsize if kind else np.dtype(np.float32).itemsize
    return math.prod(_shape(value)) * size


def matrix_product(side: int, *, int8: bool = False) -> bytes:
    """A model that multiplies a (side, side) float32 input by a constant matrix: what a machine's peak is taken from.

    Args:
        side: of both.
        int8: both are quantised first, as the layers of an INT8 model are.
    """
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(side, side)).astype(np.float32)
    make = onnx.helper
    nodes: list[Any] = []
    arrays: dict[str, Any] = {"matrix": matrix}
    left, right = "input", "matrix"
    if int8:
        arrays = {
            "matrix": np.clip(np.rint(matrix * 30), -127, 127).astype(np.int8),
            "scale": np.float32(1 / 30),
            "input_zero": np.uint8(128),
            "matrix_zero": np.int8(0),
        }
        nodes = [
            make.make_node("QuantizeLinear", ["input", "scale", "input_zero"], ["quantised"]),
            make.make_node("DequantizeLinear", ["quantised", "scale", "input_zero"], ["left"]),
            make.make_node("DequantizeLinear", ["matrix", "scale", "matrix_zero"], ["right"]),
        ]
        left, right = "left", "right"
    nodes.append(make.make_node("MatMul", [left, right], ["output"]))
    shape = [side, side]
    graph = make.make_graph(
        nodes,
        "matrix_product",
        [make.make_tensor_value_info("input", FLOAT, shape)],
        [make.make_tensor_value_info("output", FLOAT, shape)],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content
