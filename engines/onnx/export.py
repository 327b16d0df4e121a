"""Checkpoint to ONNX: one file that holds the graph, the weights under their torch names, and the model's facts.

    partum export CHECKPOINT.pt --out MODEL.onnx
    partum export MASKS.pt --refinement REFINEMENT.pt --fitted FITTED.json --weights int8 --out MODEL.onnx

BatchNorm is not folded and weights keep their `state_dict` names, so that the torch back-end rebuilds the network
from the very file the other runtimes run; they fold it themselves when they compile.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import torch

from engines.atomic_file import atomic_path
from engines.base import ModelSpec
from engines.errors import ModelMismatch, ModelNotFound
from engines.network.build import Network, make_mask_network
from engines.network.cascade import CascadeNetwork
from engines.network.second_look import FIELD_SHARE
from engines.onnx.fitted import Fitted
from engines.onnx.training_frames import write_training_frames
from engines.onnx.weights import Stored, compact_weights
from engines.runtime import error_summary

if TYPE_CHECKING:
    from collections.abc import Mapping

CHECKPOINT_SCHEMA = "partum.checkpoint/1"
REFINEMENT_SCHEMA = "partum.refinement/1"


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
    _remove_traces(model)
    compact_weights(model, smallest=stored)
    onnx.helper.set_model_props(model, spec.to_metadata())
    onnx.checker.check_model(model, full_check=True)
    with atomic_path(path) as partial:
        partial.write_bytes(model.SerializeToString(deterministic=True))


def _remove_traces(model: Any) -> None:
    """Leaves the network alone, so that the same network gives the same bytes.

    The exporter writes down paths of source files, stack frames and how it captured the network: it has two ways that
    order tensors differently, and falls back from one to the other without a word.
    """
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
    for tensors in (graph.initializer, graph.value_info):
        tensors.sort(key=lambda tensor: tensor.name)


def export_checkpoint(
    checkpoint: Path,
    path: Path,
    *,
    refinement: Path | None = None,
    fitted: Path | None = None,
    stored: Stored = "float16",
) -> ModelSpec:
    """Exports a checkpoint written by `calibration.learning.train` (keys schema, spec, weights, perhaps seen).

    Where the checkpoint says what frames it was trained on, that is written beside the model
    (`engines.onnx.training_frames`).

    Args:
        checkpoint: of the mask network.
        path: of the model file to write.
        refinement: checkpoint of `calibration.learning.refinement`; the model takes a second look by it.
        fitted: file of what was fitted out of fold (`engines.onnx.fitted`): gate, fusion, quality, absolute, views.
        stored: how large weights lie in the file.

    Raises:
        ModelNotFound: there is no such file.
        ModelMismatch: it is no checkpoint or file of ours, or its weights do not fit its network.
    """
    content = _checkpoint(checkpoint, CHECKPOINT_SCHEMA)
    spec = ModelSpec.from_metadata(content["spec"], origin=str(checkpoint))
    network: Network = make_mask_network(spec.architecture)
    _load(network, content, checkpoint)
    if refinement or fitted:
        facts = Fitted.read(fitted) if fitted else Fitted()
        network, spec = _cascade(network, spec, refinement, facts)
    export_onnx(network, spec, path, stored=stored)
    if seen := content.get("seen"):
        write_training_frames(path, seen["signatures"], frames=seen["frames"])
    return spec


def _cascade(masks: Any, spec: ModelSpec, refinement: Path | None, facts: Fitted) -> tuple[CascadeNetwork, ModelSpec]:
    """The mask network with gate and second look around it, and the facts of the whole."""
    if spec.height != spec.width:
        raise ModelMismatch(f"{spec.name}: a second look takes square pictures, not {spec.width} x {spec.height}")
    architecture: dict[str, Any] = {"masks": dict(spec.architecture), "size": spec.width}
    content: Mapping[str, Any] = {}
    if refinement:
        content = _checkpoint(refinement, REFINEMENT_SCHEMA)
        views = [list(view) for view in facts.views]
        architecture |= {"refinement": _configured(content, refinement), "views": views, "field_share": FIELD_SHARE}
    try:
        network = CascadeNetwork(masks, **{key: value for key, value in architecture.items() if key != "masks"})
    except (TypeError, ValueError) as error:
        raise ModelMismatch(f"{refinement}: no second look can be made of it ({error}); train it anew") from error
    if network.second_look is not None and refinement:
        _load(network.second_look.network, content, refinement)
    changes: dict[str, Any] = {"architecture": architecture, "fusion": facts.fusion, "quality": facts.quality}
    changes["absolute"] = facts.absolute
    if facts.gate_weights:
        network.gate_weights.copy_(torch.tensor(facts.gate_row(len(network.gate_weights))))
        changes |= {"plane_threshold": facts.plane_threshold, "exit_logit": facts.exit_logit}
    return network, replace(spec, **changes)


def _configured(content: Mapping[str, Any], refinement: Path) -> dict[str, Any]:
    """The keyword arguments of the refinement network that a checkpoint was trained with."""
    try:
        table: dict[str, Any] = json.loads(content["config"])["network"]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelMismatch(f"{refinement}: does not say its network ({error}); train it anew") from error
    return table


def _checkpoint(path: Path, schema: str) -> dict[str, Any]:
    """What a checkpoint of that schema holds."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelNotFound(f"{path}: cannot be read ({error.strerror}); name a checkpoint (.pt)") from error
    except Exception as error:
        raise ModelMismatch(f"{path}: not a checkpoint ({type(error).__name__}); name one of partum train") from error
    if not isinstance(content, dict) or content.get("schema") != schema:
        found = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise ModelMismatch(f"{path}: {found!r} where {schema!r} belongs; name one of partum train")
    return content


def _load(network: Any, content: Mapping[str, Any], path: Path) -> None:
    try:
        network.load_state_dict(content["weights"])
    except (KeyError, RuntimeError) as error:
        raise ModelMismatch(f"{path}: its weights do not fit its network ({error_summary(error)})") from error
