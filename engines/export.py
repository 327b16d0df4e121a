"""Checkpoint to ONNX: one file that holds the graph, the weights under their torch names, and the model's facts.

    python -m engines.export CHECKPOINT.pt MODEL.onnx

BatchNorm is not folded and weights keep their `state_dict` names, so that the torch back-end rebuilds the network
from the very file the other runtimes run; they fold it themselves when they compile.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import onnx
import torch

from engines.base import ModelSpec
from engines.unet import MultiTaskUNet

CHECKPOINT_SCHEMA = "partum.checkpoint/1"


def export_onnx(network: MultiTaskUNet, spec: ModelSpec, path: Path) -> None:
    """Writes `network` with `spec` as its metadata; atomic, so a half-written model never has its final name."""
    network = network.eval().float().cpu()
    example = torch.zeros(2, 1, spec.height, spec.width, dtype=torch.uint8)
    with warnings.catch_warnings():
        # The exporter warns of its own internals (deprecations inside torch), not of this network.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            optimize=False,
            verbose=False,
            opset_version=18,
            input_names=["image"],
            output_names=["class_logits", "plane_logit"],
            dynamic_shapes={"image": {0: torch.export.Dim("batch", min=1)}},
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    model = program.model_proto
    del model.metadata_props[:]
    for node in model.graph.node:  # traces of the exporting machine: paths of source files, stack frames
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    onnx.helper.set_model_props(model, spec.to_metadata())
    onnx.checker.check_model(model, full_check=True)
    partial = path.with_suffix(".part")
    partial.write_bytes(model.SerializeToString(deterministic=True))
    os.replace(partial, path)


def export_checkpoint(checkpoint: Path, path: Path) -> ModelSpec:
    """Exports a checkpoint written by `calibration.training.train` (keys schema, spec, weights)."""
    stored = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if stored.get("schema") != CHECKPOINT_SCHEMA:
        raise ValueError(f"{checkpoint}: schema {stored.get('schema')!r}, expected {CHECKPOINT_SCHEMA!r}")
    spec = ModelSpec.from_metadata(stored["spec"], origin=str(checkpoint))
    network = MultiTaskUNet(**spec.architecture)  # type: ignore[arg-type]
    network.load_state_dict(stored["weights"])
    export_onnx(network, spec, path)
    return spec


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m engines.export CHECKPOINT.pt MODEL.onnx")
    export_checkpoint(Path(sys.argv[1]), Path(sys.argv[2]))
