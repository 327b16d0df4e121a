"""What the documents say is so: examples run, names and links lead somewhere, numbers are those of the result files."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

from engines.onnx.model_file import read_model_file
from engines.registry import DEFAULT_INT8_MODEL, DEFAULT_MODEL
from partum import COMMANDS
from stream.app.command_line import program
from stream.frames.reason import Reason
from tests.conftest import REPOSITORY

README = REPOSITORY / "README.md"
CHANGELOG = REPOSITORY / "CHANGELOG.md"
MODEL_CARD = DEFAULT_MODEL.parent / "MODEL_CARD.md"
RESULTS = REPOSITORY / "benchmarks" / "results"
SHIPPED = (DEFAULT_MODEL, DEFAULT_INT8_MODEL)
DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.glob("*.md"))
DOCUMENTS = [README, REPOSITORY / "CONTRIBUTING.md", MODEL_CARD, *PAGES, *(REPOSITORY / "stream").rglob("*.md")]
OURS = ("engines", "stream", "calibration", "benchmarks", "tests", "docs")
NAMES_OF_OLD = {"vocabulary.md"}
"""Documents that also name what is no more."""
OPTIONS_OF_OTHERS = {"--check"}

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def results_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())["results"]
    return found


def code_of(document: Path) -> list[str]:
    """What stands in back-ticks, and the lines of blocks of code without their comments."""
    text = document.read_text()
    blocks = re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL)
    spans = re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    lines = [line.split("  #")[0] for block in blocks for line in block.splitlines()]
    return [*(" ".join(span.split()) for span in spans), *lines]


def run_script(*words: str) -> None:
    done = subprocess.run([sys.executable, *words], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_is_short_and_says_what_it_is_for() -> None:
    assert len(README.read_bytes()) <= 8000
    assert "**Research use only. Not a medical device.**" in README.read_text()


def test_the_changelog_has_the_version_that_is_built() -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    releases = re.findall(r"^## (\S+)(?: \((\d{4}-\d\d-\d\d)\))?$", CHANGELOG.read_text(), flags=re.MULTILINE)
    assert releases[0] == ("Unreleased", "")
    assert releases[1][0] == version
    numbers = [tuple(int(part) for part in number.split(".")) for number, _ in releases[1:]]
    assert numbers == sorted(numbers, reverse=True)
    assert all(date for _, date in releases[1:])


@pytest.mark.slow
@every_document
def test_python_examples_run(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    examples = re.findall(r"```python\n(.*?)```", document.read_text(), flags=re.DOTALL)
    for example in examples:
        exec(compile(example, document.name, "exec"), {"__name__": "example"})
        assert "AoP" in capsys.readouterr().out


@every_document
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[)#]", document.read_text())
    assert [link for link in links if ":" not in link and not (document.parent / link).exists()] == []


@every_document
def test_files_and_modules_exist_that_are_named(document: Path) -> None:
    if document.name in NAMES_OF_OLD:
        pytest.skip("names what is no more, too")
    names = {name for code in code_of(document) for name in re.findall(r"(?<![\w./-])[a-z][\w./-]*\w", code)}
    paths = {name for name in names if name.split("/")[0] in OURS and "/" in name}
    assert {path for path in paths if not (REPOSITORY / path).exists()} == set()
    dotted = {name for name in names if name.split(".")[0] in OURS and "." in name and "/" not in name}
    assert {name for name in dotted if not is_module_or_name_in_one(name)} == set()


def is_module_or_name_in_one(dotted: str) -> bool:
    """`stream.pipeline`, `stream.pipeline.pipeline.Pipeline`, or a member of that."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        path, names = REPOSITORY.joinpath(*parts[:count]), parts[count:]
        if path.is_dir() and not names:
            return True
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return names_in(file).issuperset(names)
    return False


def test_modules_and_names_exist_that_comments_and_docstrings_name() -> None:
    named = re.compile(rf"`((?:{'|'.join(OURS)})(?:\.[A-Za-z_]\w*)+)[`(]")
    files = [REPOSITORY / "partum.py", *(path for folder in OURS for path in (REPOSITORY / folder).rglob("*.py"))]
    found = {(path, name) for path in files for name in named.findall(path.read_text(encoding="utf-8"))}
    assert len(found) > 100
    assert {str(path): name for path, name in found if not is_module_or_name_in_one(name)} == {}


@functools.cache
def names_in(file: Path) -> set[str]:
    """What a module defines or imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.ClassDef() | ast.FunctionDef():
                names.add(node.name)
            case ast.Name(ctx=ast.Store()):
                names.add(node.id)
            case ast.Attribute(ctx=ast.Store()):
                names.add(node.attr)
            case ast.alias():
                names.add(node.asname or node.name)
    return names


@every_document
def test_commands_and_options_exist_that_are_named(document: Path) -> None:
    for code in code_of(document):
        for call in re.findall(r"(?:^|[;&|] |&& )partum ((?:[^;&|]|(?<=\w)[&|](?=\w))+)", code):
            words = [word for word in call.split() if re.fullmatch(r"--?[a-z][\w-]*|[a-z][a-z-]*", word)]
            known, words = options_of(words)
            unknown = {word for word in words if word.startswith("-") and len(word) > 1} - known
            assert not unknown, f"partum {call}: no option {', '.join(unknown)}"


def test_every_option_that_is_named_is_one_of_some_command() -> None:
    known = options_below(program(COMMANDS))
    named = {code.split()[0] for page in (README, *PAGES) for code in code_of(page) if code.startswith("--")}
    assert len(named) > 20
    assert named - known - OPTIONS_OF_OTHERS == set()


def options_below(command: click.Command) -> set[str]:
    if isinstance(command, click.Group):
        inner = (
            command.get_command(click.Context(command), name) for name in command.list_commands(click.Context(command))
        )
        return set().union(*(options_below(each) for each in inner if each))
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def test_every_reason_and_every_command_is_documented() -> None:
    assert {f"`{reason}`" for reason in Reason} - set(re.findall(r"`\w+`", (DOCS / "outputs.md").read_text())) == set()
    assert {f"`partum {name}`" for name in COMMANDS} - set(
        re.findall(r"`partum [\w-]+`", (DOCS / "command-line.md").read_text())
    ) == set()


def test_every_result_file_is_listed_with_its_command() -> None:
    section = (DOCS / "benchmarks.md").read_text().partition("## Which command")[2]
    rows = re.findall(r"^\| (`[^|]+`) \|", section, flags=re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    assert {path.name for path in RESULTS.glob("*.json")} == listed


def test_every_extra_is_documented() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    rows = re.findall(r"^\| (`[^|]+`) \|", (DOCS / "install.md").read_text(), flags=re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([\w-]+)`", row)} == set(extras)


def options_of(words: list[str]) -> tuple[set[str], list[str]]:
    """The options of the command that the words begin with, and the words after it."""
    command: click.Command = program(COMMANDS)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        inner = command.get_command(click.Context(command), words[0])
        assert inner, f"partum {words[0]}: no such command"
        command, words = inner, words[1:]
    return options_below(command) | {"-h", "--help"}, words


def test_numbers_are_those_of_the_result_files() -> None:
    run_script("docs/scripts/fill_results.py", "--check")


def test_options_and_exit_codes_are_those_that_are_declared() -> None:
    run_script("docs/scripts/command_reference.py", "--check")


def test_the_site_begins_as_the_readme_does() -> None:
    about = (REPOSITORY / "README.md").read_text(encoding="utf-8").partition("> **Research use only")[0]
    assert (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8").startswith(about)


def test_the_picture_of_the_architecture_is_that_of_the_imports() -> None:
    pytest.importorskip("grimp", reason="needs the package grimp")
    run_script("docs/scripts/architecture.py", "--check")


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="needs the package mkdocs-material")
    run_script("-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site"))
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(PAGES)
    loaded = re.compile(r"""<(?:script|img|iframe)[^>]+src=["']?(?:https?:)?//|<link[^>]+stylesheet[^>]+https?://""")
    assert [page.name for page in pages if loaded.search(page.read_text())] == []
    assert (tmp_path / "site" / "search" / "search_index.json").is_file()


def test_the_model_card_and_the_results_are_of_the_model_that_ships() -> None:
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in SHIPPED]
    for digest in digests:
        assert digest in MODEL_CARD.read_text()
    assert results_of("simulated")["model_sha256"] in digests
    assert max(path.stat().st_size for path in SHIPPED) <= 8_000_000


def test_the_model_that_ships_decides_by_what_was_fitted_out_of_fold() -> None:
    fitted = json.loads((RESULTS / "fitted.json").read_text())
    spec = read_model_file(DEFAULT_MODEL).spec
    assert spec.fusion == fitted["fusion"]
    assert spec.exit_logit == pytest.approx(fitted["gate"]["exit_logit"])


def test_the_quantised_model_is_of_the_one_beside_it_and_was_accepted() -> None:
    facts = json.loads(DEFAULT_INT8_MODEL.with_suffix(".json").read_text())
    assert facts["float_model_sha256"] == hashlib.sha256(DEFAULT_MODEL.read_bytes()).hexdigest()
    assert facts["acceptance"]["accepted"]
    spec = read_model_file(DEFAULT_INT8_MODEL).spec
    assert (spec.made_from, spec.warning) == (facts["float_model_sha256"], "")
    assert spec.plane_threshold == pytest.approx(facts["plane_threshold"])


def test_what_was_measured_reaches_its_goals() -> None:
    bench = json.loads((RESULTS / "bench_model.json").read_text())
    assert bench["engines"]["openvino int8 CPU"]["latency_ms"]["p50"] <= 10.0
    assert results_of("components")["engine_ms_batch_1"]["openvino int8 CPU"] <= 10.0
    assert results_of("live")["OpenIGTLink, 1920 x 1080, read_ms"]["p99"] <= 5.0
    (repeat,) = results_of("stream_100k")["repeats"]
    assert sum(repeat["states"].values()) > 99_000
    first, *_, last = repeat["resident_mb_by_tenths"]
    assert last < 1.02 * first


def test_times_were_measured_on_a_machine_that_did_nothing_else() -> None:
    for path in (RESULTS / "bench_model.json", *RESULTS.glob("stream_*.json")):
        assert not json.loads(path.read_text())["busy"], path.name
