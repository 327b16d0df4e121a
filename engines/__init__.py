"""The multi-task U-Net and the runtimes that run it: arrays in, arrays out.

The names below are the public surface; they are imported when first used, so that `import engines` is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engines.base import Engine, ModelSpec, Prediction
    from engines.errors import EngineError, EngineUnavailable, InferenceError, ModelMismatch, ModelNotFound
    from engines.registry import BACKENDS, DEFAULT_MODEL, available_engines, load_engine

_HOME = {
    "BACKENDS": "engines.registry",
    "DEFAULT_MODEL": "engines.registry",
    "Engine": "engines.base",
    "EngineError": "engines.errors",
    "EngineUnavailable": "engines.errors",
    "InferenceError": "engines.errors",
    "ModelMismatch": "engines.errors",
    "ModelNotFound": "engines.errors",
    "ModelSpec": "engines.base",
    "Prediction": "engines.base",
    "available_engines": "engines.registry",
    "load_engine": "engines.registry",
}

__all__ = [
    "BACKENDS",
    "DEFAULT_MODEL",
    "Engine",
    "EngineError",
    "EngineUnavailable",
    "InferenceError",
    "ModelMismatch",
    "ModelNotFound",
    "ModelSpec",
    "Prediction",
    "available_engines",
    "load_engine",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'engines' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
