"""Cuts the decoder off a model: the encoder with its heads, for early exit."""

from __future__ import annotations

from engines.errors import ModelMismatch
from engines.onnx.editing import ancestors, constants, read_graph, serialize_model, set_constants
from engines.runtime import heads_spec


def heads_only(content: bytes) -> bytes:
    """Returns the model without its decoder: the plane head's logit, and `normal_logit` where there is one.

    Its spec's output size is 0 x 0. The arithmetic of what is left does not change. Of a model whose gate joins the
    plane head with the masks, `plane_head` is left and `plane_logit` is not.

    Raises:
        ModelMismatch: it is no model of ours, or has no decoder.
    """
    model, spec = read_graph(content)
    if not spec.decodes:
        raise ModelMismatch(f"{spec.name} has no decoder to leave out; start from the whole model")
    graph = model.graph
    kept = heads_spec(spec).output_names
    early = ancestors(graph.node, kept)
    nodes = [node for node in graph.node if node.output[0] in early]
    outputs = [output for output in graph.output if output.name in kept]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.output[:]
    graph.output.extend(outputs)
    set_constants(model, constants(model))
    return serialize_model(model, spec, output_height=0, output_width=0)
