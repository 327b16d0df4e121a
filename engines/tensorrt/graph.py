"""The ONNX graph that an engine is built from, and the precisions that it can have on a GPU.

`onnx` is imported when a graph is made: what only asks for precisions needs not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engines.onnx.model_file import ModelFile
    from engines.tensorrt.cache import EngineKey


def graph_for(model: ModelFile, key: EngineKey, capability: tuple[int, int]) -> bytes:
    """The graph to build from: folded, in the key's precision; with labels, or without a decoder, as its flags say."""
    from engines.onnx.folding import fold_graph
    from engines.onnx.heads_only import heads_only
    from engines.onnx.labelled import with_labels
    from engines.onnx.precision import to_precision
    from engines.tensorrt.engine import HEADS_ONLY

    if key.precision == "fp32":
        content = fold_graph(model.content)
    else:
        half_products = lacks_float_products(key.runtime, capability)
        content = to_precision(model.content, key.precision, half_products=half_products)  # type: ignore[arg-type]
    return heads_only(content) if key.flags == HEADS_ONLY else with_labels(content, keep_logits=True)


def possible_precisions(runtime: str, capability: tuple[int, int]) -> tuple[str, ...]:
    """The precisions that a GPU of that compute capability runs under `tensorrt` or `tensorrt_rtx`."""
    found = ["fp32"] * (not lacks_float_products(runtime, capability)) + ["fp16"]
    found += ["bf16"] * (capability >= (8, 0)) + ["int8"] + ["fp8"] * (capability >= (8, 9))
    return tuple(found)


def lacks_float_products(runtime: str, capability: tuple[int, int]) -> bool:
    """TensorRT-RTX multiplies no float32 matrices on Turing, of compute capability 7.5."""
    return runtime == "tensorrt_rtx" and capability < (8, 0)
