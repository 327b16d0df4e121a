"""The error tree of models and runtimes.

    PartumError                                   root of every error this product raises on purpose
     + EngineError
        + EngineUnavailable (ImportError)         runtime not installed, or no device for it; exit code 2
        |   + EngineMissing                       no engine was built for this model and machine, or not accepted
        + ModelNotFound     (FileNotFoundError)   no model file at that path
        + ModelMismatch     (ValueError)          the file is no model of ours, or the input has another shape
        + BuildError        (RuntimeError)        an engine could not be built or kept
        + InferenceError    (RuntimeError)        the runtime failed on an input it had accepted
            + DeviceBusy                          the device is there, and cannot take it now: a later try may succeed
            |   + OutOfDeviceMemory               it has no room left
            + RemoteError                         a server did not answer, or not in time

Every message says what, which value, and how to mend it, in one line.
"""

from __future__ import annotations


class PartumError(Exception):
    """Anything this product raises on purpose; the command line prints it as one line."""


class EngineError(PartumError):
    """A model could not be loaded or run."""


class EngineUnavailable(EngineError, ImportError):
    """The runtime is not installed here, or has no device to run on."""


class EngineMissing(EngineUnavailable):
    """No engine was built for this model, machine and precision, or the one there was never accepted."""


class PretrainedMissing(EngineUnavailable):
    """The weights that a network is to start from are not installed, or not what they should be."""


class ModelNotFound(EngineError, FileNotFoundError):
    """There is no model file at the path given."""


class ModelMismatch(EngineError, ValueError):
    """The file is not a model of ours, or an input does not have the model's shape."""


class BuildError(EngineError, RuntimeError):
    """An engine could not be built from its model, or its files could not be written."""


class InferenceError(EngineError, RuntimeError):
    """The runtime failed while running a model it had accepted."""


class DeviceBusy(InferenceError):
    """The device is there, and another process has it or its memory: what fails now may succeed later."""


class OutOfDeviceMemory(DeviceBusy):
    """The device has no room for the engine or its buffers."""


class RemoteError(InferenceError):
    """A server that runs the model did not answer, or not in time."""
