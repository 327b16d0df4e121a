"""`partum info` says what a model knows of its own errors."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from click.testing import CliRunner

from engines.registry import DEFAULT_MODEL
from stream.app.commands.info_command import info_command
from tests.fakes.tiny_model import SPEC, tiny_model

if TYPE_CHECKING:
    from pathlib import Path


def test_a_model_without_a_fit_says_that_its_absolute_interval_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "tiny.onnx").write_bytes(tiny_model())
    said = CliRunner().invoke(info_command, [str(tmp_path / "tiny.onnx")], catch_exceptions=False).output
    assert "the absolute interval of AoP is unknown" in said
    facts = json.loads(CliRunner().invoke(info_command, [str(tmp_path / "tiny.onnx"), "--json"]).output)
    assert facts["absolute"] == asdict(SPEC)["absolute"] == {}


def test_without_a_file_it_tells_of_the_model_that_ships() -> None:
    facts = json.loads(CliRunner().invoke(info_command, ["--json"], catch_exceptions=False).output)
    assert facts["file"] == str(DEFAULT_MODEL)
    assert "robust" in facts["absolute"]
