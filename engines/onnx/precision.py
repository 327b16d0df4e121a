"""Half precision written into a graph, for strongly typed runtimes (TensorRT)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import ml_dtypes
import numpy as np
import onnx
import onnx.version_converter

from engines.onnx.editing import constants, feature_maps, read_graph, serialize_model, set_constants
from engines.onnx.folding import fold_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

HalfPrecision = Literal["fp16", "bf16"]

_TYPES = {
    "fp16": (onnx.TensorProto.FLOAT16, np.dtype(np.float16)),
    "bf16": (onnx.TensorProto.BFLOAT16, np.dtype(ml_dtypes.bfloat16)),
}
BFLOAT16_OPSET = 22
"""The first in which convolutions take bfloat16."""
_SPATIAL = frozenset({"Conv", "Relu", "Clip", "Add", "MaxPool", "Resize", "Concat"})
"""What encoders and decoder are made of, and what makes nearly all of their arithmetic."""


def to_precision(content: bytes, precision: HalfPrecision) -> bytes:
    """Returns the model, folded, whose encoders and decoder compute in `precision`.

    Grey levels are normalised in float32 before them, the heads stay in float32 after them, so do the places of crops
    and of what is read in them, and inputs and outputs keep their types: casts stand where the two meet.

    Raises:
        ModelMismatch: it is no model of ours.
    """
    model, spec = read_graph(fold_graph(content))
    if precision == "bf16":
        model = onnx.version_converter.convert_version(model, BFLOAT16_OPSET)
    code, dtype = _TYPES[precision]
    known = constants(model)
    lowered = _lowered_nodes(model)
    half: set[str] = {name for node in model.graph.node if node.output[0] in lowered for name in node.output}
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
                if is_half and not (node.op_type == "Resize" and place):  # its scales are float32 always
                    node.input[place] = _lowered_constant(known, name, dtype)
            elif name and name != "image":
                node.input[place] = as_type(name, code if is_half else onnx.TensorProto.FLOAT)
        nodes.append(node)
    for name in outputs & half:
        _rename(nodes, name, f"{name}:{precision}")
        nodes.append(onnx.helper.make_node("Cast", [f"{name}:{precision}"], [name], to=onnx.TensorProto.FLOAT))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    set_constants(model, known)
    return serialize_model(model, spec, precision=precision)


def _lowered_nodes(model: Any) -> set[str]:
    """First outputs of the nodes that are spatial, from a convolution on."""
    found: set[str] = set()
    maps = feature_maps(model)
    for node in model.graph.node:
        follows = any(name in found for name in node.input)
        if node.op_type == "Conv" or (node.op_type in _SPATIAL and follows and node.output[0] in maps):
            found.add(node.output[0])
    return found


def _lowered_constant(known: dict[str, NDArray[Any]], name: str, dtype: Any) -> str:
    lowered = f"{name}:{dtype.name}"
    known[lowered] = known[name].astype(dtype)
    return lowered


def _rename(nodes: list[Any], old: str, new: str) -> None:
    for node in nodes:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
