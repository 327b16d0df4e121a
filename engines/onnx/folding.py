"""Folds a graph: constants computed, batch norm merged into convolutions.

The file that ships keeps its weights under their torch names in float16, with casts and batch norm beside them.
Quantisers, precision changes and TensorRT do better on the folded graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from engines.onnx.editing import constants, read_graph, serialize_model, set_constants

if TYPE_CHECKING:
    from numpy.typing import NDArray


def fold_graph(content: bytes) -> bytes:
    """Returns the model with float32 weights, every constant computed, and no batch norm.

    Convention: convolution then batch norm, y = g (x * W + b - m) / sqrt(v + e) + s, becomes one convolution with
    W' = W g / sqrt(v + e) and b' = (b - m) g / sqrt(v + e) + s. A folded model comes back as it is; weights of an int8
    model stay integers.

    Raises:
        ModelMismatch: it is no model of ours.
    """
    model, spec = read_graph(content)
    known = constants(model)
    _fold_constants(model, known)
    _fold_batch_norms(model, known)
    set_constants(model, known)
    return serialize_model(model, spec)


def _fold_constants(model: Any, known: dict[str, NDArray[Any]]) -> None:
    """Computes every node that depends on constants alone; a cast to the type that is there already goes too."""
    kept: list[Any] = []
    renamed: dict[str, str] = {}
    outputs = {output.name for output in model.graph.output}
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        if node.op_type == "CastLike" and node.input[0] in known:  # beside float32 activations all is float32
            known[node.output[0]] = known[node.input[0]].astype(np.float32)
        elif (
            node.op_type != "DequantizeLinear"  # of an int8 model: what is taken out of its integers stays in them
            and not set(node.output) & outputs
            and all(name in known for name in node.input if name)
        ):
            known.update(zip(node.output, _computed(node, known, model.opset_import), strict=True))
        elif node.op_type == "Identity" and not set(node.output) & outputs:
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _computed(node: Any, known: dict[str, NDArray[Any]], opsets: Any) -> list[NDArray[Any]]:
    """The outputs of one node whose inputs are known."""
    names = [name for name in node.input if name]
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in names]
    outputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in node.output]
    graph = onnx.helper.make_graph([node], "one", values, outputs)
    evaluator = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=list(opsets)))
    return list(evaluator.run(None, {name: known[name] for name in names}))


def _fold_batch_norms(model: Any, known: dict[str, NDArray[Any]]) -> None:
    maker = {output: node for node in model.graph.node for output in node.output}
    kept = []
    for node in model.graph.node:
        before = maker.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if before is None or before.op_type != "Conv":
            kept.append(node)
            continue
        gain, shift, mean, variance = (known[name] for name in node.input[1:5])
        epsilon = next((entry.f for entry in node.attribute if entry.name == "epsilon"), 1e-5)
        scale = gain / np.sqrt(variance + epsilon)
        weight, name = known[before.input[1]], before.input[1].removesuffix(":float32")
        bias = known[before.input[2]] if len(before.input) > 2 else np.zeros(len(weight), np.float32)
        known[f"{name}:folded"] = (weight * scale[:, None, None, None]).astype(np.float32)
        known[f"{name}:bias"] = ((bias - mean) * scale + shift).astype(np.float32)
        before.input[:] = [before.input[0], f"{name}:folded", f"{name}:bias"]
        before.output[:] = [node.output[0]]
    del model.graph.node[:]
    model.graph.node.extend(kept)
