"""A model repository for NVIDIA Triton: a folder that a server is started on.

REPOSITORY/NAME/config.pbtxt      what it takes and gives, batching, instances, warm-up, and the model's facts
REPOSITORY/NAME/1/model.onnx      or model.plan, a TensorRT engine

tritonserver --model-repository REPOSITORY
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engines.errors import BuildError, ModelMismatch
from engines.onnx.model_file import ModelFile
from engines.tensorrt.cache import rejection_reason, warning_of

if TYPE_CHECKING:
    from pathlib import Path

    from engines.base import ModelSpec
    from engines.tensorrt.cache import StoredEngine

MAX_BATCH = 16
QUEUE_DELAY_US = 500
"""A server waits so long for frames of other scanners before it runs a batch."""
_BACKENDS = {"onnx": ("onnxruntime", "model.onnx"), "plan": ("tensorrt", "model.plan")}
_TYPES = {"labels": "TYPE_UINT8"}
"""Of outputs that are not float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How a server runs a model.

    Attributes:
        max_batch: most frames of one batch, 1 or more; frames that wait at one moment run together.
        instances: how many batches run at one time, on each GPU or on the CPU.
        gpus: numbers of the GPUs; empty leaves it to the server, which takes all, or the CPU where there is none.
    """

    max_batch: int = MAX_BATCH
    instances: int = 1
    gpus: tuple[int, ...] = ()

    @property
    def warmed(self) -> tuple[int, ...]:
        """Batch sizes that are run before the model is called ready: no frame pays for the first of a size."""
        sizes = [size for size in (1, 2, 4, 8, 16, 32, 64) if size < self.max_batch]
        return (*sizes, self.max_batch)


def write_repository(
    model: ModelFile, folder: Path, *, plan: bytes | None = None, serving: Serving | None = None
) -> Path:
    """Writes a model into a repository; a model of that name that is there already is replaced.

    Args:
        model: any model file of ours.
        folder: the repository, made where it does not exist.
        plan: a TensorRT engine of full TensorRT to serve instead of the ONNX file (`plan_of`).
        serving: batching, instances and GPUs; None takes the usual.

    Returns:
        The model's folder.

    Raises:
        BuildError: the folder cannot be written to.
    """
    backend, file = _BACKENDS["plan" if plan else "onnx"]
    target = folder / model.spec.name
    partial = folder / f".{model.spec.name}.part"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        (partial / "1").mkdir(parents=True)
        (partial / "1" / file).write_bytes(plan or model.content)
        text = config_text(model.spec, backend=backend, file=file, serving=serving or Serving())
        (partial / "config.pbtxt").write_text(text)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise BuildError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error
    return target


def plan_of(stored: StoredEngine, model: ModelFile | None, serving: Serving) -> tuple[ModelFile, Serving]:
    """The facts with which a built engine is served: those of its model, its precision and warning, its batch sizes.

    Args:
        stored: from the engine cache.
        model: the one it was built from, where the cache does not say; None otherwise.
        serving: as asked for; its batch is cut to what the engine takes.

    Raises:
        ModelMismatch: the engine's model is not known or another, it was refused, has no decoder, takes no single
            frame, or is of TensorRT-RTX, which Triton does not run.
    """
    key, path = stored.facts["key"], stored.path
    least, _, most = key["batch"]
    spec = stored.spec or (model.spec if model else None)
    if spec is None or spec.sha256 != key["model_sha256"]:
        raise ModelMismatch(f"{path}: the model it was built from is not known; name it with --model")
    if key["runtime"] != "tensorrt":
        raise ModelMismatch(f"{path}: built by {key['runtime']}, and Triton runs engines of full TensorRT only")
    if "heads_only" in key["flags"]:
        raise ModelMismatch(f"{path}: it has no decoder; serve the whole engine")
    if least > 1:
        raise ModelMismatch(f"{path}: it takes batches of {least} and more; build one with --batch 1-{most}-{most}")
    if why := rejection_reason(stored.facts):
        raise ModelMismatch(f"{path}: {why}")
    served = replace(spec, precision=key["precision"], warning=warning_of(stored.facts))
    return ModelFile(served, b""), replace(serving, max_batch=min(serving.max_batch, most))


def config_text(spec: ModelSpec, *, backend: str, file: str, serving: Serving) -> str:
    """The model's configuration in Triton's text form; the model's facts are its parameters."""
    outputs = [_tensor(name, _TYPES.get(name, "TYPE_FP32"), list(shape)) for name, shape in spec.output_shapes.items()]
    facts = {**spec.to_metadata(), "partum.sha256": spec.sha256}
    return "\n".join(
        [
            f"name: {json.dumps(spec.name)}",
            f"backend: {json.dumps(backend)}",
            f"default_model_filename: {json.dumps(file)}",
            f"max_batch_size: {serving.max_batch}",
            f"dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_DELAY_US} }}",
            _instances(serving, on_gpu=backend == "tensorrt"),
            f"input [ {_tensor('image', 'TYPE_UINT8', [1, spec.height, spec.width])} ]",
            f"output [ {', '.join(outputs)} ]",
            *(_warm_up(spec, size) for size in serving.warmed),
            *(
                f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}"
                for key, value in facts.items()
            ),
            "",
        ]
    )


def _instances(serving: Serving, *, on_gpu: bool) -> str:
    kind = "KIND_GPU" if on_gpu or serving.gpus else "KIND_AUTO"
    gpus = f" gpus: [ {', '.join(map(str, serving.gpus))} ]" if serving.gpus else ""
    return f"instance_group [ {{ count: {serving.instances} kind: {kind}{gpus} }} ]"


def _warm_up(spec: ModelSpec, batch: int) -> str:
    image = f"data_type: TYPE_UINT8 dims: [1, {spec.height}, {spec.width}] zero_data: true"
    return (
        f'model_warmup [ {{ name: "batch {batch}" batch_size: {batch}'
        f' inputs {{ key: "image" value {{ {image} }} }} }} ]'
    )


def _tensor(name: str, kind: str, dims: list[int]) -> str:
    """One tensor; a scalar for each frame is written as one value that is reshaped away."""
    reshape = "" if dims else " reshape { shape: [ ] }"
    return f'{{ name: "{name}" data_type: {kind} dims: {dims or [1]}{reshape} }}'


def _quoted(text: str) -> str:
    """A string of protobuf's text form."""
    return json.dumps(text, ensure_ascii=True)
