"""The miniature of data that trainings are tested on."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.samples.training_data import make_data

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once; no test may change it."""
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def own_data(data: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(data, tmp_path / "own_data")


@pytest.fixture
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than a miniature learns."""
    monkeypatch.setattr("calibration.learning.train.draw_curves", lambda *_: None)
