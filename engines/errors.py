"""What can go wrong with a model or its runtime, drawn once.

    PartumError                                   root of every error this product raises on purpose
     + EngineError
        + EngineUnavailable (ImportError)         runtime not installed, or no device for it
        + ModelNotFound     (FileNotFoundError)   no model file at that path
        + ModelMismatch     (ValueError)          the file is no model of ours, or the input has another shape
        + InferenceError    (RuntimeError)        the runtime failed on an input it had accepted

Every message says what, which value, and how to mend it, in one line.
"""

from __future__ import annotations


class PartumError(Exception):
    """Anything this product raises on purpose; the command line prints it as one line."""


class EngineError(PartumError):
    """A model could not be loaded or run."""


class EngineUnavailable(EngineError, ImportError):
    """The runtime is not installed here, or has no device to run on."""


class ModelNotFound(EngineError, FileNotFoundError):
    """There is no model file at the path given."""


class ModelMismatch(EngineError, ValueError):
    """The file is not a model of ours, or an input does not have the model's shape."""


class InferenceError(EngineError, RuntimeError):
    """The runtime failed while running a model it had accepted."""
