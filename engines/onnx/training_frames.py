"""Signatures of the frames a model was trained on, kept beside its file.

`MODEL.seen.json` names the model by its sha256, so that it cannot be taken for another's; an int8 model has that of the
float32 model it was made from. What the signatures are is `calibration.data.training_frames`.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from engines.atomic_file import atomic_path
from engines.errors import ModelMismatch

if TYPE_CHECKING:
    from pathlib import Path

    from engines.base import ModelSpec

SCHEMA = "partum.seen/1"
SUFFIX = ".seen.json"


def write_training_frames(model: Path, signatures: str, *, frames: int) -> Path:
    """Writes beside a model file how the frames looked that it was trained on; returns where.

    Args:
        model: the file, as it is now.
        signatures: of `calibration.data.training_frames.pack_signatures`.
        frames: how many there are.
    """
    path = model.with_suffix(SUFFIX)
    content = {
        "schema": SCHEMA,
        "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "frames": frames,
        "signatures": signatures,
    }
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content) + "\n", encoding="utf-8")
    return path


def find_training_frames(spec: ModelSpec, folder: Path) -> Path | None:
    """The file that says what a model was trained on; None where nobody wrote it.

    Args:
        spec: of the model, or of an int8 one made from it.
        folder: where the model file lies.
    """
    wanted = {spec.sha256, spec.made_from} - {""}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            found = _read(path)
        except ModelMismatch:
            continue  # of whichever model: it says nothing of this one
        if found.get("model_sha256") in wanted:
            return path
    return None


def read_signatures(path: Path) -> str:
    """The signatures in such a file.

    Raises:
        ModelMismatch: it cannot be read, or is of another version.
    """
    found = _read(path)
    signatures = found.get("signatures")
    if found.get("schema") != SCHEMA or not isinstance(signatures, str):
        raise ModelMismatch(f"{path}: schema {found.get('schema')!r}, expected {SCHEMA!r}; export the model again")
    return signatures


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelMismatch(f"{path}: cannot be read ({error}); export the model again") from error
    if not isinstance(found, dict):
        raise ModelMismatch(f"{path}: not what was written beside a model; export the model again")
    return found
