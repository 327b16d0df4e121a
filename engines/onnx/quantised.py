"""What TensorRT is given of an INT8 model: 8 bits where convolutions read, and nowhere else.

A convolution reads integers and writes half precision; the Q/DQ pair before the next one makes integers of it again.
A pair behind a convolution, or before an addition, only moves more bytes through more kernels. The CPU's runtimes want
the pairs everywhere, so the file holds them everywhere. TensorRT takes signed integers without zero points alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from engines.errors import ModelMismatch
from engines.onnx.editing import ancestors, constants, rename_tensor, set_constants

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

INT8_MOST, FLOAT8_MOST = 127.0, 448.0
"""The greatest numbers of int8 and of float8 (E4M3), to which a tensor's range is scaled."""
LEAST_SCALE = 2.0**-20
"""Of a quantised tensor in float16: numbers of so little that they matter nowhere."""
QUANTISE, DEQUANTISE = "QuantizeLinear", "DequantizeLinear"


def quantise_convolutions_alone(model: Any) -> None:
    """Takes the Q/DQ pairs that no convolution reads out of a folded int8 graph, in place; nor a depthwise one.

    Raises:
        ModelMismatch: its activations are not quantised.
    """
    _make_signed(model)
    graph, known = model.graph, constants(model)
    if not any(node.op_type == QUANTISE for node in graph.node):
        raise ModelMismatch("the model's activations are not quantised; make one with partum quantize")
    pairs = _pairs(graph.node)
    for node in graph.node:
        if _is_depthwise(node):
            _give_float_weights(node, graph.node, known)
        if _is_depthwise(node) or node.op_type not in ("Conv", QUANTISE):
            node.input[:] = [_source(name, pairs) for name in node.input]
    outputs = {output.name for output in graph.output}
    nodes = [node for node in graph.node if not (node.op_type == DEQUANTISE and node.output[0] in outputs)]
    for name in outputs & pairs.keys():  # an answer is not rounded to 8 bits
        rename_tensor(nodes, _source(name, pairs), name)
    _keep_read(graph, nodes, outputs)
    set_constants(model, known)


def as_float8(model: Any) -> None:
    """Makes float8 (E4M3) of the 8-bit integers of such a graph, over the same ranges, in place."""
    known = constants(model)
    for scale, tensors in _by_scale(model).items():
        values = known[scale]
        known[scale] = (values * (INT8_MOST / FLOAT8_MOST)).astype(np.float32)
        for name in tensors & known.keys():  # weights and zero points
            known[name] = (known[name].astype(np.float32) * (FLOAT8_MOST / INT8_MOST)).astype(ml_dtypes.float8_e4m3fn)
    set_constants(model, known)


def round_scales(model: Any) -> None:
    """Makes every scale a number of float16, rounded up, and weights those that it gives back, in place.

    The scale of a channel whose weights have all but vanished would become 0, which TensorRT does not take.
    """
    known = constants(model)
    for scale, tensors in _by_scale(model).items():
        before = known[scale]
        rounded = before.astype(np.float16)
        rounded = np.where(rounded < before, np.nextafter(rounded, np.float16(np.inf)), rounded)
        after = np.maximum(rounded, np.float16(LEAST_SCALE)).astype(np.float32)
        known[scale] = after
        for name in tensors & known.keys():
            values, shape = known[name], (-1, *[1] * (known[name].ndim - 1))
            exact = values.astype(np.float32) * (before / after).reshape(shape if before.ndim else ())
            known[name] = (np.rint(exact) if values.dtype == np.int8 else exact).astype(values.dtype)
    set_constants(model, known)


def _by_scale(model: Any) -> dict[str, set[str]]:
    """The tensors and zero points that each scale belongs to; weights have their channels first."""
    found: dict[str, set[str]] = {}
    for node in model.graph.node:
        if node.op_type in (QUANTISE, DEQUANTISE):
            found.setdefault(node.input[1], set()).update((node.input[0], node.input[2]))
    return found


def _make_signed(model: Any) -> None:
    """Makes signed, symmetric integers of unsigned ones with zero points, over the same ranges, in place.

    A range from -z s to (255 - z) s becomes one from -m to m with m = max(z, 255 - z) s.
    """
    known = constants(model)
    for node in model.graph.node:
        if node.op_type not in (QUANTISE, DEQUANTISE) or known[node.input[2]].dtype != np.uint8:
            continue
        zero = known[node.input[2]].astype(np.float32)
        most = np.maximum(zero, 255 - zero) * known[node.input[1]]
        scale = f"{node.input[1]}:signed"
        known[scale] = (most / INT8_MOST).astype(np.float32)
        known[f"{scale}:zero"] = np.zeros(zero.shape, np.int8)
        node.input[1:3] = [scale, f"{scale}:zero"]
    set_constants(model, known)


def _is_depthwise(node: Any) -> bool:
    """Whether a convolution has groups: memory bounds it, not arithmetic, and 8 bits cost it more than they save."""
    return node.op_type == "Conv" and any(entry.name == "group" and entry.i > 1 for entry in node.attribute)


def _give_float_weights(convolution: Any, nodes: Iterable[Any], known: dict[str, NDArray[Any]]) -> None:
    """Computes the weights (out, ...) that a convolution takes out of integers."""
    maker = next(
        (node for node in nodes if node.output[0] == convolution.input[1] and node.op_type == DEQUANTISE), None
    )
    if maker is not None:
        whole, scale = known[maker.input[0]], known[maker.input[1]]
        name = f"{convolution.input[1]}:float"
        known[name] = whole.astype(np.float32) * scale.reshape(-1, *[1] * (whole.ndim - 1))
        convolution.input[1] = name


def _pairs(nodes: Iterable[Any]) -> dict[str, Any]:
    """The quantising node of each Q/DQ pair, by what the pair gives."""
    quantised = {node.output[0]: node for node in nodes if node.op_type == QUANTISE}
    return {
        node.output[0]: quantised[node.input[0]]
        for node in nodes
        if node.op_type == DEQUANTISE and node.input[0] in quantised
    }


def _source(name: str, pairs: dict[str, Any]) -> str:
    """What went into a pair, or into the first of several in a row."""
    while name in pairs:
        name = pairs[name].input[0]
    return name


def _keep_read(graph: Any, nodes: list[Any], outputs: set[str]) -> None:
    """Leaves of the nodes those that an output is computed from."""
    needed = ancestors(nodes, outputs)
    kept = [node for node in nodes if node.output[0] in needed]
    del graph.node[:]
    graph.node.extend(kept)
