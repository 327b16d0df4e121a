"""Reading, walking and writing an ONNX graph."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from engines.base import ModelSpec
from engines.errors import ModelMismatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

FLOAT = onnx.TensorProto.FLOAT
SECOND_LOOK = "second_look."
"""What the names of its weights begin with (`engines.network.cascade`)."""


def read_graph(content: bytes) -> tuple[Any, ModelSpec]:
    """The ONNX message of a model file and its facts.

    Raises:
        ModelMismatch: it is no model of ours.
    """
    try:
        model = onnx.load_from_string(content)
    except Exception as error:
        raise ModelMismatch(f"not an ONNX model ({type(error).__name__}); name a .onnx file") from error
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return model, ModelSpec.from_metadata(metadata, origin="the model")


def serialize_model(model: Any, spec: ModelSpec, **changes: Any) -> bytes:
    """The bytes of a model file, checked, with the facts of `spec` but for `changes`."""
    del model.metadata_props[:]
    del model.graph.value_info[:]  # shapes and types of tensors inside are inferred anew by whoever needs them
    onnx.helper.set_model_props(model, replace(spec, **changes).to_metadata())
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def constants(model: Any) -> dict[str, NDArray[Any]]:
    """All initializers by name."""
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def set_constants(model: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Replaces the initializers by those of `arrays` that some node, of a branch too, or the output still names."""
    named = {name for node in _all_nodes(model.graph) for name in node.input} | {o.name for o in model.graph.output}
    del model.graph.initializer[:]
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(array, order="C"), name)  # a scalar stays one
        for name, array in arrays.items()
        if name in named
    )


def feature_maps(model: Any) -> set[str]:
    """Names of the tensors (B, C, H, W) of a folded graph: what encoders, decoder and crops hand on.

    Numbers that are no pictures, such as places of pixels, have fewer axes.
    """
    inferred = onnx.shape_inference.infer_shapes(model).graph
    tensors = (*inferred.value_info, *inferred.output)
    return {tensor.name for tensor in tensors if len(tensor.type.tensor_type.shape.dim) == 4}


def second_look_tensors(model: Any) -> set[str]:
    """Names of the tensors that convolutions of the second look make, and of what is made of those."""
    found: set[str] = set()
    for node in model.graph.node:
        is_first = node.op_type == "Conv" and node.input[1].startswith(SECOND_LOOK)
        if is_first or any(name in found for name in node.input):
            found.update(node.output)
    return found


def ancestors(nodes: Iterable[Any], outputs: Iterable[str]) -> set[str]:
    """Names of the first outputs of all nodes that the tensors `outputs` are computed from."""
    maker = {output: node for node in nodes for output in node.output}
    found: set[str] = set()
    waiting = list(outputs)
    while waiting:
        node = maker.get(waiting.pop())
        if node is not None and node.output[0] not in found:
            found.add(node.output[0])
            waiting.extend(node.input)
    return found


def rename_tensor(nodes: Iterable[Any], old: str, new: str) -> None:
    """Gives a tensor another name wherever it is made or read."""
    for node in nodes:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


def _all_nodes(graph: Any) -> Iterable[Any]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _all_nodes(attribute.g)
