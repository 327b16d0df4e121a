"""The encoder with its heads alone: decides planes at half the work, for `engines.early_exit`."""

from __future__ import annotations

from engines.errors import ModelMismatch
from engines.onnx.editing import ancestors, constants, read_graph, set_constants, written


def heads_only(content: bytes) -> bytes:
    """Returns the model without its decoder: `plane_logit`, and `normal_logit` where there is one.

    Its spec's output size is 0 x 0. The arithmetic of what is left does not change.

    Raises:
        ModelMismatch: it is no model of ours, or has no decoder.
    """
    model, spec = read_graph(content)
    if not spec.decodes:
        raise ModelMismatch(f"{spec.name} has no decoder to leave out; start from the whole model")
    graph = model.graph
    early = ancestors(graph.node, [name for name in spec.output_names if name != "class_logits"])
    nodes = [node for node in graph.node if node.output[0] in early]
    outputs = [output for output in graph.output if output.name != "class_logits"]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.output[:]
    graph.output.extend(outputs)
    set_constants(model, constants(model))
    return written(model, spec, output_height=0, output_width=0)
