"""The public surface: what is exported, where packages come from, and what an import does not drag in."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import engines
import stream
from tests.conftest import REPOSITORY

FRAMEWORKS = ("torch", "tensorrt", "openvino", "onnxruntime", "onnx", "pydicom")


@pytest.mark.parametrize("package", ["engines", "stream", "calibration", "benchmarks"])
def test_packages_are_those_of_this_checkout(package: str) -> None:
    file = import_module(package).__file__
    assert file is not None
    assert Path(file).parent.parent == REPOSITORY


@pytest.mark.parametrize("package", [engines, stream], ids=["engines", "stream"])
def test_every_public_name_exists(package: object) -> None:
    for name in package.__all__:  # type: ignore[attr-defined]
        assert getattr(package, name) is not None


@pytest.mark.parametrize("package", [engines, stream], ids=["engines", "stream"])
def test_a_package_knows_no_other_name(package: object) -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        package.__getattr__("nonsense")  # type: ignore[attr-defined]


@pytest.mark.parametrize("code", ["import engines", "import stream", "from stream import Pipeline, open_source"])
def test_importing_loads_no_framework(code: str) -> None:
    probe = f"import sys; {code}; print([name for name in {FRAMEWORKS!r} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", probe], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.strip() == "[]"


def test_help_loads_neither_a_framework_nor_a_command() -> None:
    probe = (
        "import sys, partum\n"
        "try: partum.main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in ('cv2', 'av', 'numpy', 'matplotlib', *{FRAMEWORKS!r}) if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    assert "replay" in result.stdout
    assert "measure" in result.stdout
    assert result.stdout.splitlines()[-1] == "[]"
