"""Compact storage of weights in a model file: large ones in half or a quarter of their size.

The graph computes in float32. Each is followed by the nodes that make it float32 again, which runtimes fold when they
compile. A weight keeps its name, and its float32 form is `NAME:float32`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Stored = Literal["float16", "int8"]
HALVED_FROM = 1024
"""Tensors of two axes and so many values or more are stored in float16: rounding moves a weight by at most 0.05 %.
Smaller ones, and rows (batch norm, biases, scales), stay as they are."""
INT8_FROM = 2**17
"""Under `int8`, weights of so many values or more are stored in 8 bits: a few of the coarsest layers, which hold most
of the file and change the masks least."""


def compact_weights(model: Any, *, smallest: Stored = "float16") -> None:
    """Stores the large weights of a model smaller.

    Convention: 8 bits are signed and symmetric, with one scale for each output channel (axis 0): w = scale * q, scale =
    max |w| / 127. That rounds a weight by at most 0.4 % of its channel's largest.

    Args:
        model: the ONNX message, whose nodes name its weights.
        smallest: what the largest tensors are stored in.

    Raises:
        ValueError: a weight is beyond float16: the training diverged.
    """
    graph = model.graph
    nodes: list[Any] = []
    renamed: dict[str, str] = {}
    for tensor in list(graph.initializer):
        size = math.prod(tensor.dims)
        if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) < 2 or size < HALVED_FROM:
            continue
        values, name = onnx.numpy_helper.to_array(tensor), tensor.name
        renamed[name] = f"{name}:float32"
        if not np.isfinite(values.astype(np.float16)).all():
            raise ValueError(f"{name}: a weight is beyond float16; the training diverged")
        if smallest == "int8" and size >= INT8_FROM and name.endswith(".weight"):  # not a table of the graph's own
            whole, scale = in_int8(values)
            tensor.CopyFrom(onnx.numpy_helper.from_array(whole, name))
            graph.initializer.append(onnx.numpy_helper.from_array(scale, f"{name}:scale"))
            nodes.append(onnx.helper.make_node("Cast", [name], [f"{name}:whole"], to=onnx.TensorProto.FLOAT))
            nodes.append(onnx.helper.make_node("Mul", [f"{name}:whole", f"{name}:scale"], [renamed[name]]))
        else:
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), name))
            nodes.append(onnx.helper.make_node("Cast", [name], [renamed[name]], to=onnx.TensorProto.FLOAT))
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    typed = [value for value in graph.value_info if value.name not in renamed]  # theirs said float32
    del graph.value_info[:]
    graph.value_info.extend(typed)
    nodes += graph.node
    del graph.node[:]
    graph.node.extend(nodes)


def in_int8(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A weight (out, ...) in 8 bits, and the scales (out, 1, ...)."""
    axes = tuple(range(1, values.ndim))
    scale = (np.abs(values).max(axis=axes, keepdims=True) / 127).astype(np.float32)
    scale[scale == 0] = 1
    return np.rint(values / scale).astype(np.int8), scale


def float_weights(stored: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The weights of a file as they were, by name, from all its initializers."""
    found = {}
    for name, values in stored.items():
        scale = stored.get(f"{name}:scale")
        found[name] = values if scale is None else values.astype(np.float32) * scale
    return found
