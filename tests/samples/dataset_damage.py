"""Damage done to the miniatures of data sets, and what a user is told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from calibration.data import open_dataset
from calibration.errors import DataSetError
from tests.samples.dataset_files import TRAIN_CODES, save_mask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from calibration.data.base import LabelledFrame

    Damage = Callable[[Path], object]


def read(path: Path, split: str | None = None) -> dict[str, LabelledFrame]:
    """The frames by name."""
    return {frame.name: frame for frame in open_dataset(path).frames(split)}


def error_of(path: Path) -> str:
    """The one line that says why a data set cannot be read."""
    with pytest.raises(DataSetError) as caught:
        list(open_dataset(path).frames())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def opening_error_of(path: Path) -> str:
    """The one line that says why a data set cannot even be opened."""
    with pytest.raises(DataSetError) as caught:
        open_dataset(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def drop(path: str) -> Damage:
    return lambda root: (root / path).unlink()


def edit(path: str, old: str, new: str) -> Damage:
    return lambda root: rewrite(root / path, old, new)


def add_mask(path: str, number: int = 0) -> Damage:
    return lambda root: save_mask(root / path, number, TRAIN_CODES)
