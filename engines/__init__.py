"""The multi-task U-Net and the runtimes that run it: arrays in, arrays out."""

from __future__ import annotations

from engines.base import Engine, ModelSpec, Prediction
from engines.errors import EngineError, EngineUnavailable, InferenceError, ModelMismatch, ModelNotFound
from engines.registry import BACKENDS, DEFAULT_MODEL, available_engines, load_engine

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
