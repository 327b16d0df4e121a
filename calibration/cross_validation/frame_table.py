"""Arrays with a row per frame, saved to disk and loaded."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self
from zipfile import BadZipFile

import numpy as np

from calibration.errors import TrainingError
from engines.atomic_file import atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FrameTable:
    """Every field of a subclass is an array (n, ...), one row for each frame."""

    def where(self, chosen: NDArray[np.bool_]) -> Self:
        """Selects rows, by (n,) bool."""
        return type(self)(**{name: values[chosen] for name, values in self._arrays().items()})

    def save(self, path: Path) -> None:
        """Writes beside `path` and renames."""
        with atomic_path(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, **self._arrays())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            TrainingError: the file is damaged.
        """
        try:
            with path.open("rb") as file, np.load(file) as stored:
                return cls(**{entry.name: stored[entry.name] for entry in fields(cls)})
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise TrainingError(f"{path}: cannot be read ({error}); take it away, and it is made anew") from error

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Several tables as one."""
        names = [entry.name for entry in fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def _arrays(self) -> dict[str, Any]:
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}
