"""Sensitivity of each layer to 8-bit quantisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engines.backends.onnxruntime import OnnxRuntimeEngine
from engines.onnx.model_file import ModelFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from calibration.deployment.quantization.qdq import Activations, Quantizer


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """A node and the share of pixels whose class changes when it alone is quantised, in [0, 1]."""

    node: str
    changed: float


def scan(
    quantizer: Quantizer,
    float_model: bytes,
    images: NDArray[np.uint8],
    *,
    activations: Activations,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[Sensitivity]:
    """Measures every convolution by itself, the most sensitive first.

    Args:
        quantizer: with ranges collected.
        float_model: bytes of the model it quantises.
        images: (N, 1, H, W) uint8; a dozen will do.
        activations: as the model will have them.
        report: called after each with how many are done, and of how many.
    """
    reference = _labels(float_model, quantizer, images)
    nodes = quantizer.convolutions
    found = []
    for place, node in enumerate(nodes, start=1):
        labels = _labels(quantizer.quantized(activations=activations, only=[node]), quantizer, images)
        found.append(Sensitivity(node, float(np.mean(labels != reference))))
        report(place, len(nodes))
    return sorted(found, key=lambda entry: -entry.changed)


def _labels(content: bytes, quantizer: Quantizer, images: NDArray[np.uint8]) -> NDArray[np.intp]:
    """The likeliest class of each pixel of the network's output, (N, h, w)."""
    with OnnxRuntimeEngine(ModelFile(quantizer.spec, content)) as engine:
        logits = [engine.infer(image[None]).class_logits[0] for image in images]
    labels: NDArray[np.intp] = np.stack(logits).argmax(axis=1)
    return labels
