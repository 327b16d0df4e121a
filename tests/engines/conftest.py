"""What tests of engines share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes.tiny_model import tiny_model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, in a file."""
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    path.write_bytes(tiny_model())
    return path
