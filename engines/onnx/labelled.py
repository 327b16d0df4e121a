"""Labels in the graph: made on the device from class logits, a third of the bytes of which come down.

    class_logits (B, 3, h, w) --> enlarged to the input's size --> labels (B, H, W) uint8
                              --> ps_peak (B,), mean_logit (B,)

The operators are plain ones, so one graph serves every runtime. Labels are uint8 by way of float32, because TensorRT
converts nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from engines.errors import ModelMismatch
from engines.onnx.editing import FLOAT, constants, read_graph, serialize_model, set_constants

PEAK_CELLS = 5
"""Side of the patch of logits over which a PS must be seen: `engines.network.gate.POOL`, which would import torch."""
_PREFIX = "labelled."


def with_labels(content: bytes, *, keep_logits: bool = False) -> bytes:
    """Returns the model with the outputs `labels`, `ps_peak` and `mean_logit` (`ModelSpec.answers_labels`).

    Convention: labels are those of `engines.postprocess.class_labels`: logits are interpolated linearly by the
    half-pixel rule, and where classes tie the lower one wins. They can differ from it only where two logits are equal
    to rounding. `ps_peak` is that of `engines.network.gate.mask_evidence`. `mean_logit` is the mean of all class
    logits, and not finite where one of them is not, which labels alone would hide.

    Args:
        content: of the model, in the precision that it will run in.
        keep_logits: `class_logits` stay an output, behind those of the spec, for a runtime that copies down only what
            is asked for.

    Raises:
        ModelMismatch: it is no model of ours, or has no decoder.
    """
    model, spec = read_graph(content)
    if spec.answers_labels:
        return content
    if not spec.decodes:
        raise ModelMismatch(f"{spec.name} has no decoder, and so no labels; start from the whole model")
    graph, known = model.graph, constants(model)
    graph.node.extend(_nodes(known, zoom=(spec.height / spec.output_height, spec.width / spec.output_width)))
    for name, kind, shape in (
        ("labels", onnx.TensorProto.UINT8, (spec.height, spec.width)),
        ("ps_peak", FLOAT, ()),
        ("mean_logit", FLOAT, ()),
    ):
        graph.output.append(onnx.helper.make_tensor_value_info(name, kind, ["batch", *shape]))
    set_constants(model, known)
    # In the order of the spec, and what is kept beside it last.
    outputs = {output.name: output for output in graph.output}
    logits = outputs.pop("class_logits")
    ordered = [outputs.pop("labels"), *outputs.values(), *([logits] if keep_logits else [])]
    del graph.output[:]
    graph.output.extend(ordered)
    return serialize_model(model, spec, answers_labels=True)


def _nodes(known: dict[str, Any], *, zoom: tuple[float, float]) -> list[Any]:
    """The nodes behind `class_logits`; their constants are added to `known`."""
    numbers = {
        "scales": np.array([1, 1, *zoom], np.float32),
        "each": np.ones(3, np.int64),
        "zero": np.float32(0),
        "one": np.float32(1),
        "two": np.float32(2),
        "planes": np.array([1, 2, 3], np.int64),
        "channel": np.array([1], np.int64),
    }
    known |= {_PREFIX + name: np.asarray(value) for name, value in numbers.items()}
    nodes: list[Any] = []

    def add(operator: str, inputs: str, outputs: str, **attributes: Any) -> None:
        """Names are short ones of this module, but for what the graph has already and its outputs."""
        own = {"class_logits", "labels", "ps_peak", "mean_logit", ""}
        given, made = (
            [each if each in own else _PREFIX + each for each in part.split(" ")] for part in (inputs, outputs)
        )
        nodes.append(onnx.helper.make_node(operator, given, made, **attributes))

    large = "class_logits"
    if zoom != (1.0, 1.0):
        large = "large"
        add(
            "Resize", "class_logits  scales", large, mode="linear", coordinate_transformation_mode="half_pixel"
        )  # no region of interest between the two
    add("Split", f"{large} each", "background ps fh", axis=1)
    add("Max", "background ps", "below_fh")
    add("Greater", "fh below_fh", "is_fh")
    add("Greater", "ps background", "is_ps")
    add("Where", "is_ps one zero", "ps_or_none")
    add("Where", "is_fh two ps_or_none", "codes")
    add("Squeeze", "codes channel", "code")
    add("Cast", "code", "labels", to=onnx.TensorProto.UINT8)
    add("Split", "class_logits each", "coarse_background coarse_ps coarse_fh", axis=1)
    add("Max", "coarse_background coarse_fh", "others")
    add("Sub", "coarse_ps others", "margin")
    add("AveragePool", "margin", "patches", kernel_shape=[PEAK_CELLS, PEAK_CELLS], strides=[1, 1])
    add("ReduceMax", "patches planes", "ps_peak", keepdims=0)
    add("ReduceMean", "class_logits planes", "mean_logit", keepdims=0)
    return nodes
