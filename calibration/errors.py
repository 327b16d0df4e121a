"""The error tree of data sets, training and acceptance.

    PartumError (engines.errors)
     + DataSetError  (ValueError)     a data set that is not what its layout says
     + ConfigError   (ValueError)     a training configuration that cannot be meant
     + TrainingError (RuntimeError)   a training that cannot go on: a loss that is no number, a foreign checkpoint
     + AcceptanceError (RuntimeError) an engine that departs from its reference by more than is allowed

Every message says what, which value, and how to mend it, in one line.
"""

from __future__ import annotations

from engines.errors import PartumError


class DataSetError(PartumError, ValueError):
    """A data set that is not what its layout says: a missing file, a mask that fits no frame, an unknown code."""


class ConfigError(PartumError, ValueError):
    """A training configuration with an unknown name, a value of another type, or settings that exclude each other."""


class TrainingError(PartumError, RuntimeError):
    """A training that cannot go on: its loss is no number, or its folder holds another run."""


class AcceptanceError(PartumError, RuntimeError):
    """An engine that departs from its float32 reference by more than is allowed, or cannot be judged."""
