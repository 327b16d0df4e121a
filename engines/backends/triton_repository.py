"""A model repository for NVIDIA Triton: a folder that a server is started on.

REPOSITORY/NAME/config.pbtxt      what it takes and gives, batching, and the model's facts
REPOSITORY/NAME/1/model.onnx      or model.plan, a TensorRT engine

tritonserver --model-repository REPOSITORY
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from engines.errors import BuildError

if TYPE_CHECKING:
    from pathlib import Path

    from engines.base import ModelSpec
    from engines.onnx.model_file import ModelFile

MAX_BATCH = 16
QUEUE_DELAY_US = 500
"""A server waits so long for frames of other scanners before it runs a batch."""
_BACKENDS = {"onnx": ("onnxruntime", "model.onnx"), "plan": ("tensorrt", "model.plan")}


def write_repository(model: ModelFile, folder: Path, *, plan: bytes | None = None, max_batch: int = MAX_BATCH) -> Path:
    """Writes a model into a repository; a model of that name that is there already is replaced.

    Args:
        model: any model file of ours.
        folder: the repository, made where it does not exist.
        plan: a TensorRT engine of full TensorRT to serve instead of the ONNX file.
        max_batch: most frames of one batch; of a plan, what it was built for.

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
        (partial / "config.pbtxt").write_text(config_text(model.spec, backend=backend, file=file, max_batch=max_batch))
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    except OSError as error:
        raise BuildError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error
    return target


def config_text(spec: ModelSpec, *, backend: str, file: str, max_batch: int) -> str:
    """The model's configuration in Triton's text form; the model's facts are its parameters."""
    outputs = [_tensor(name, "TYPE_FP32", list(shape)) for name, shape in spec.output_shapes.items()]
    facts = {**spec.to_metadata(), "partum.sha256": spec.sha256}
    return "\n".join(
        [
            f"name: {json.dumps(spec.name)}",
            f"backend: {json.dumps(backend)}",
            f"default_model_filename: {json.dumps(file)}",
            f"max_batch_size: {max_batch}",
            f"dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_DELAY_US} }}",
            f"input [ {_tensor('image', 'TYPE_UINT8', [1, spec.height, spec.width])} ]",
            f"output [ {', '.join(outputs)} ]",
            *(
                f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}"
                for key, value in facts.items()
            ),
            "",
        ]
    )


def _tensor(name: str, kind: str, dims: list[int]) -> str:
    """One tensor; a scalar for each frame is written as one value that is reshaped away."""
    reshape = "" if dims else " reshape { shape: [ ] }"
    return f'{{ name: "{name}" data_type: {kind} dims: {dims or [1]}{reshape} }}'


def _quoted(text: str) -> str:
    """A string of protobuf's text form."""
    return json.dumps(text, ensure_ascii=True)
