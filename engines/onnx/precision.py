"""A precision written into a graph, for strongly typed runtimes (TensorRT)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import ml_dtypes
import numpy as np
import onnx
import onnx.version_converter

from engines.errors import ModelMismatch
from engines.onnx.editing import constants, feature_maps, read_graph, rename_tensor, serialize_model, set_constants
from engines.onnx.folding import fold_graph
from engines.onnx.quantised import DEQUANTISE, QUANTISE, as_float8, quantise_convolutions_alone, round_scales

if TYPE_CHECKING:
    from numpy.typing import NDArray

LowPrecision = Literal["fp16", "bf16", "int8", "fp8"]

_FLOAT16 = onnx.TensorProto.FLOAT16, np.dtype(np.float16)
_TYPES = {
    "fp16": _FLOAT16,
    "bf16": (onnx.TensorProto.BFLOAT16, np.dtype(ml_dtypes.bfloat16)),
    "int8": _FLOAT16,
    "fp8": _FLOAT16,
}
"""What feature maps are in; under int8 and fp8 those that no convolution reads."""
BFLOAT16_OPSET = 22
"""The first in which convolutions take bfloat16."""
QUANTISED_OPSET = 19
"""The first in which quantised tensors become half precision, and in which there is float8."""
_SPATIAL = frozenset({"Conv", "Relu", "Clip", "Add", "MaxPool", "Resize", "Concat"})
"""What encoders and decoder are made of, and what makes nearly all of their arithmetic."""
_PRODUCTS = frozenset({"MatMul", "Gemm"})


def to_precision(content: bytes, precision: LowPrecision, *, half_products: bool = False) -> bytes:
    """Returns the model, folded, whose encoders and decoder compute in `precision`.

    Grey levels are normalised in float32 before them, the heads stay in float32 after them, so do the places of crops
    and of what is read in them, and inputs and outputs keep their types: casts stand where the two meet. Under int8 and
    fp8 the convolutions that the quantised model has in 8 bits read 8 bits, and the rest is in float16.

    Args:
        content: a float32 model; for int8 and fp8 one with Q/DQ.
        precision: to write into it.
        half_products: heads and crops too compute in half precision, by matrix products and sums, because a GPU of
            compute capability 7.5 has no float32 ones in TensorRT-RTX.

    Raises:
        ModelMismatch: it is no model of ours, or not one that this precision can be made of.
    """
    model, spec = read_graph(fold_graph(content))
    if (spec.precision == "int8") != (precision in ("int8", "fp8")):
        wanted = "a float32 model" if spec.precision == "int8" else "an int8 model; make one with partum quantize"
        raise ModelMismatch(f"{spec.name} is {spec.precision}: {precision} is made of {wanted}")
    if precision in ("int8", "fp8"):
        quantise_convolutions_alone(model)
        if precision == "fp8":
            as_float8(model)
        round_scales(model)
        model = onnx.version_converter.convert_version(model, QUANTISED_OPSET)
    if precision == "bf16":
        model = onnx.version_converter.convert_version(model, BFLOAT16_OPSET)
    if half_products:
        _split_products(model)
    _lower(model, precision, products=_PRODUCTS if half_products else frozenset())
    return serialize_model(model, spec, precision=precision)


def _lower(model: Any, precision: LowPrecision, *, products: frozenset[str]) -> None:
    """Casts what is to be lowered, and what is read by it, in place."""
    code, dtype = _TYPES[precision]
    known = constants(model)
    lowered = _lowered_nodes(model, products)
    eight = {node.output[0] for node in model.graph.node if node.op_type == QUANTISE}
    half: set[str] = lowered - eight
    outputs = {output.name for output in model.graph.output}
    nodes: list[Any] = []
    casts: dict[tuple[str, int], str] = {}

    def as_type(name: str, wanted: int) -> str:
        """The tensor in the type wanted, through one cast for all who ask."""
        if (name in half) == (wanted == code):
            return name
        if (name, wanted) not in casts:
            casts[name, wanted] = f"{name}:{'float32' if wanted != code else precision}"
            nodes.append(onnx.helper.make_node("Cast", [name], [casts[name, wanted]], to=wanted))
        return casts[name, wanted]

    for node in model.graph.node:
        is_half = node.output[0] in lowered
        for place, name in enumerate(node.input):
            if name in known:
                if is_half and not _keeps_type(node, place):
                    node.input[place] = _lowered_constant(known, name, dtype)
            elif name and name != "image" and name not in eight:
                node.input[place] = as_type(name, code if is_half else onnx.TensorProto.FLOAT)
        nodes.append(node)
    for name in outputs & half:
        rename_tensor(nodes, name, f"{name}:{precision}")
        nodes.append(onnx.helper.make_node("Cast", [f"{name}:{precision}"], [name], to=onnx.TensorProto.FLOAT))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    set_constants(model, known)


def _split_products(model: Any) -> None:
    """Makes a product and a sum of every `Gemm`, in place; those of heads have no other attribute than a transpose."""
    known, nodes = constants(model), []
    for node in model.graph.node:
        if node.op_type != "Gemm":
            nodes.append(node)
            continue
        weight, product = f"{node.input[1]}:product", f"{node.output[0]}:product"
        is_transposed = any(entry.name == "transB" and entry.i for entry in node.attribute)
        known[weight] = known[node.input[1]].T if is_transposed else known[node.input[1]]
        nodes.append(onnx.helper.make_node("MatMul", [node.input[0], weight], [product], name=node.name))
        nodes.append(onnx.helper.make_node("Add", [product, node.input[2]], list(node.output), name=f"{node.name}:sum"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    set_constants(model, known)


def _lowered_nodes(model: Any, products: frozenset[str]) -> set[str]:
    """First outputs of the nodes that are spatial, from a convolution on; of Q/DQ pairs; and of `products`."""
    found: set[str] = set()
    maps = feature_maps(model)
    for node in model.graph.node:
        follows = any(name in found for name in node.input)
        if node.op_type in {"Conv", QUANTISE, DEQUANTISE, *products} or (
            node.op_type in _SPATIAL and follows and node.output[0] in maps
        ):
            found.add(node.output[0])
    return found


def _keeps_type(node: Any, place: int) -> bool:
    """Whether a constant input keeps its type: a resize's scales, and all of a Q/DQ node but its own scale."""
    if node.op_type in (QUANTISE, DEQUANTISE):
        return place != 1
    return node.op_type == "Resize" and place > 0


def _lowered_constant(known: dict[str, NDArray[Any]], name: str, dtype: Any) -> str:
    lowered = f"{name}:{dtype.name}"
    known[lowered] = known[name].astype(dtype)
    return lowered
