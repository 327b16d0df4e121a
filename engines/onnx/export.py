"""Checkpoint to ONNX: one file that holds the graph, the weights under their torch names, and the model's facts.

    partum export CHECKPOINT.pt --out MODEL.onnx

BatchNorm is not folded and weights keep their `state_dict` names, so that the torch back-end rebuilds the network
from the very file the other runtimes run; they fold it themselves when they compile.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import onnx
import torch

from engines.base import ModelSpec
from engines.errors import ModelMismatch, ModelNotFound
from engines.network.build import Network, make_network
from engines.onnx.training_frames import write_training_frames
from engines.onnx.weights import Stored, compact_weights
from engines.runtime import error_summary

CHECKPOINT_SCHEMA = "partum.checkpoint/1"


def export_onnx(network: Network, spec: ModelSpec, path: Path, *, stored: Stored = "float16") -> None:
    """Writes `network` with `spec` as its metadata; atomic, so a half-written model never has its final name.

    `stored` is how large weights lie in the file (`engines.onnx.weights`).
    """
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
            output_names=list(spec.output_names),
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
    compact_weights(model, smallest=stored)
    onnx.helper.set_model_props(model, spec.to_metadata())
    onnx.checker.check_model(model, full_check=True)
    partial = path.with_suffix(".part")
    partial.write_bytes(model.SerializeToString(deterministic=True))
    os.replace(partial, path)


def export_checkpoint(checkpoint: Path, path: Path) -> ModelSpec:
    """Exports a checkpoint written by `calibration.learning.train` (keys schema, spec, weights, perhaps seen).

    Where the checkpoint says what frames it was trained on, that is written beside the model
    (`engines.onnx.training_frames`).

    Raises:
        ModelNotFound: there is no such file.
        ModelMismatch: it is no checkpoint of ours, or its weights do not fit its network.
    """
    try:
        stored = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelNotFound(f"{checkpoint}: cannot be read ({error.strerror}); name a checkpoint (.pt)") from error
    except Exception as error:
        raise ModelMismatch(
            f"{checkpoint}: not a checkpoint ({type(error).__name__}); name one of partum train"
        ) from error
    if not isinstance(stored, dict) or stored.get("schema") != CHECKPOINT_SCHEMA:
        found = stored.get("schema") if isinstance(stored, dict) else type(stored).__name__
        raise ModelMismatch(f"{checkpoint}: {found!r} where {CHECKPOINT_SCHEMA!r} belongs; name one of partum train")
    spec = ModelSpec.from_metadata(stored["spec"], origin=str(checkpoint))
    network = make_network(spec.architecture)
    try:
        network.load_state_dict(stored["weights"])
    except (KeyError, RuntimeError) as error:
        raise ModelMismatch(f"{checkpoint}: its weights do not fit its network ({error_summary(error)})") from error
    export_onnx(network, spec, path)
    if seen := stored.get("seen"):
        write_training_frames(path, seen["signatures"], frames=seen["frames"])
    return spec
