"""Rooms: folders of few modules, each folder with its sentence, each public name with one home."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGES = ("engines", "stream", "calibration", "benchmarks")
MOST_MODULES = 12
MOST_TEST_LINES = 450
SHARED_NAMES = {
    "main": "what `python -m MODULE` runs",
    "matches": "each layout of a data set has it, called through a table",
    "read_header": "each file format has it, called through a table",
}
"""Names that modules have in common on purpose, and why."""


def modules(folder: str) -> list[Path]:
    return sorted((REPOSITORY / folder).rglob("*.py"))


def folders() -> list[str]:
    found = {path.parent for package in (*PACKAGES, "tests") for path in modules(package)}
    return sorted(str(path.relative_to(REPOSITORY)) for path in found)


@pytest.mark.parametrize("folder", folders())
def test_a_folder_holds_few_modules_and_says_what_lives_there(folder: str) -> None:
    inside = [
        path.name for path in (REPOSITORY / folder).glob("*.py") if path.name not in ("__init__.py", "__main__.py")
    ]
    assert len(inside) <= MOST_MODULES, f"{folder} holds {len(inside)} modules; give some a folder of their own"
    init = REPOSITORY / folder / "__init__.py"
    assert init.is_file(), f"{folder} needs an __init__.py"
    assert folder.startswith("tests") or ast.get_docstring(ast.parse(init.read_text())), f"{init} needs one sentence"


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
def test_a_public_name_has_one_home_in_a_package(package: str) -> None:
    homes = defaultdict(list)
    for path in modules(package):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name[0] != "_":
                homes[node.name].append(str(path.relative_to(REPOSITORY)))
    doubled = {name: files for name, files in homes.items() if len(files) > 1 and name not in SHARED_NAMES}
    assert not doubled


def test_no_test_file_grows_without_end() -> None:
    long = {
        str(path.relative_to(REPOSITORY)): count
        for path in modules("tests")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MOST_TEST_LINES
    }
    assert not long, "split them by subject"
