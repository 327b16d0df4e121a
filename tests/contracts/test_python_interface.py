"""What `import partum` offers: its names and signatures, what an import costs, its types, and the example notebook."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import nbformat
import pytest

import partum
from tests.conftest import REPOSITORY
from tests.contracts.public_surface import FILE, surface

if TYPE_CHECKING:
    from collections.abc import Iterator

NOTEBOOK = REPOSITORY / "examples" / "measure_a_recording.ipynb"
USER_SCRIPT = Path(__file__).with_name("user_script.py")
HEAVY = ("numpy", "cv2", "av", "matplotlib", "click", "rich", "pandas", "openvino", "torch", "engines", "stream")


def test_the_surface_is_as_it_was_agreed() -> None:
    assert surface() == FILE.read_text(encoding="utf-8"), "run python -m tests.contracts.public_surface, and say so"


def test_every_name_has_one_home_and_a_type() -> None:
    tree = ast.parse((REPOSITORY / "partum.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    homes = {
        each.asname or each.name: f"{node.module}:{each.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for each in node.names
    }
    del homes["Sequence"]  # of the command
    assert homes == partum._HOMES
    assert sorted(homes) == sorted(partum.__all__)
    assert dir(partum) == sorted(partum.__all__)  # what completion offers: no imports of its own


def test_a_name_that_is_none_is_said_to_be_none() -> None:
    with pytest.raises(AttributeError, match="module 'partum' has no attribute 'replays'"):
        partum.replays  # type: ignore[attr-defined]  # noqa: B018


def test_importing_it_loads_nothing() -> None:
    probe = f"import sys, partum; print([name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", probe], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.strip() == "[]"


def test_the_notebook_is_one_and_holds_no_outputs() -> None:
    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.slow
def test_the_notebook_runs(
    short_demo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mpl.use("agg")
    monkeypatch.setattr("stream.api.replay.DEMO_CLIP", short_demo)
    shown = list(_run(json.loads(NOTEBOOK.read_text(encoding="utf-8"))))
    assert isinstance(shown[0], partum.ReplayResult)
    assert shown[1]._repr_png_().startswith(b"\x89PNG")
    assert "aop_lo95_deg" in shown[2]
    count, aop_deg, landmarks = shown[4]
    assert count > 0
    assert 60 < aop_deg < 200
    assert set(landmarks) >= {"ps_superior", "ps_inferior", "tangent"}
    assert "measured" in capsys.readouterr().out


def _run(notebook: dict[str, Any]) -> Iterator[Any]:
    """Runs the cells as a notebook does; gives what each ends with, where that is a value."""
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, str(NOTEBOOK), "exec"), names)
        if isinstance(last, ast.Expr):
            yield eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)


@pytest.mark.slow
def test_a_user_of_the_installed_package_gets_its_types(tmp_path: Path) -> None:
    """As a wheel lays it out: mypy --strict of a script elsewhere, and of one that is wrong."""
    python = _installed(tmp_path / "venv")
    good = tmp_path / "good.py"
    good.write_text(USER_SCRIPT.read_text(encoding="utf-8"), encoding="utf-8")
    bad = tmp_path / "bad.py"
    bad.write_text("import partum\n\npartum.replay(42)\npartum.measure(1)\npartum.replays\n", encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", python, good, bad],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    errors = [line.partition(": error: ")[::2] for line in result.stdout.splitlines() if ": error: " in line]
    assert {place for place, _ in errors} == {"bad.py:3", "bad.py:4", "bad.py:5"}, result.stdout + result.stderr
    assert "Module has no attribute" in dict(errors)["bad.py:5"]


def _installed(folder: Path) -> Path:
    """A Python in which the wheel's files lie among the installed packages; returns its executable."""
    import tomllib

    wheel = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in wheel["targets"]["wheel"]["only-include"]:
        (packages / name).symlink_to(REPOSITORY / name)
    # What Partum needs, from here; a path file among a path file's packages is not read, so not this checkout.
    (packages / "needed.pth").write_text(f"{Path(nbformat.__file__).parents[1]}\n")
    return folder / "bin" / "python"
