"""Tasks of this repository: `nox -l` lists them, `nox -s lint types` runs some.

All but `wheel` run in the environment that nox is called from: `pip install -e ".[test]"`.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "tests", "docs"]

PARALLEL = ("-n", "auto", "--dist", "loadfile")
IN_WHEEL = (
    "partum.py",
    "partum-stubs/__init__.pyi",
    "engines/weights/",
    "engines/py.typed",
    "stream/demo/",
    "stream/ward/wall/page/",
    "stream/ward/deploy/partum-ward.service",
    "calibration/learning/configs/",
)
NOT_IN_WHEEL = ("calibration/studies/", "benchmarks/fuzz/", "benchmarks/results/", "tests/", "docs/")


@nox.session
def lint(session: nox.Session) -> None:
    """Style and form of the code."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types, and which folder may import which."""
    session.run("mypy")
    session.run("lint-imports")


@nox.session
def tests(session: nox.Session) -> None:
    """The fast tests; words behind -- go to pytest."""
    session.run("pytest", *PARALLEL, "-m", "not slow", *session.posargs)


@nox.session
def tests_slow(session: nox.Session) -> None:
    """The slow tests alone: trainings, browsers, servers, streams in real time."""
    session.run("pytest", *PARALLEL, "-m", "slow", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documents: numbers and the picture of the architecture written anew, the site built strictly into site/.

    The picture of the README is made by itself: `python docs/scripts/overlay_picture.py`.
    """
    session.run("python", "-m", "stream.pipeline.record_documents")
    session.run("python", "docs/scripts/fill_results.py")
    session.run("python", "docs/scripts/command_reference.py")
    session.run("python", "docs/scripts/architecture.py")
    session.run("mkdocs", "build", "--strict", env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session(venv_backend="venv")
def wheel(session: nox.Session) -> None:
    """A wheel: built, looked into, installed in a fresh environment, and tried outside the checkout."""
    folder = Path(session.create_tmp())
    for old in folder.glob("*.whl"):
        old.unlink()
    session.run("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), ".")
    (built,) = folder.glob("*.whl")
    names = zipfile.ZipFile(built).namelist()
    missing = [start for start in IN_WHEEL if not any(name.startswith(start) for name in names)]
    extra = [name for name in names if name.startswith(NOT_IN_WHEEL)]
    if missing or extra:
        session.error(f"{built.name} lacks {missing} and should not hold {extra[:5]}")
    session.install("--quiet", str(built))
    session.chdir(folder)
    session.run("partum", "--version")
    session.run("partum", "replay", "phantom:?duration=1", "--out", "results", "--no-overlay", silent=True)
    lines = (folder / "results" / "measurements.jsonl").read_text().splitlines()
    states = {json.loads(line)["state"] for line in lines}
    if len(lines) != 30 or "measured" not in states:
        session.error(f"replay of the simulator gave {len(lines)} records, with states {sorted(states)}")
