"""The command line of `partum info`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from engines.errors import ModelMismatch, ModelNotFound
from stream.app.command import command, json_option
from stream.app.options.values import FilePath

ENGINE = ".engine"


@command(
    "info",
    help="What a model file (.onnx) or a built engine (.engine) is; without FILE, the model that ships.",
    examples=("partum info", "partum info model.onnx"),
)
@click.argument("file", type=FilePath(path_type=Path), required=False)
@json_option
def info_command(file: Path | None, as_json: bool) -> None:
    """See the command's help text above."""
    from engines.registry import DEFAULT_MODEL

    file = file or DEFAULT_MODEL
    facts = _engine_facts(file) if file.suffix == ENGINE else _model_facts(file)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    if facts.get("absolute") == {}:
        facts["absolute"] = "the absolute interval of AoP is unknown"
    rows = _flat(facts)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:{width}}  {_said(value)}")


def _model_facts(path: Path) -> dict[str, Any]:
    from engines.onnx.model_file import read_model_file

    model = read_model_file(path)
    spec = asdict(model.spec)
    report = path.with_suffix(".json")
    kept = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {}
    return {
        "file": str(path),
        "bytes": len(model.content),
        **spec,
        "outputs": list(model.spec.output_names),
        "acceptance": kept.get("acceptance"),
    }


def _engine_facts(path: Path) -> dict[str, Any]:
    beside = path.with_suffix(".json")
    if not path.is_file():
        raise ModelNotFound(f"{path}: no such file; partum engines lists those that were built")
    try:
        facts: dict[str, Any] = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelMismatch(f"{path}: the facts beside it cannot be read ({error}); partum build --rebuild") from error
    from engines.tensorrt.cache import damage_of

    return {"file": str(path), "damage": damage_of(path, facts) or None, **facts}


def _said(value: Any) -> str:
    """A fact for people: numbers to six digits, lists in a line, nothing cut."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_said, value))
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _flat(facts: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested facts as one list of dotted names."""
    rows: list[tuple[str, Any]] = []
    for name, value in facts.items():
        rows += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(f"{prefix}{name}", value)]
    return rows
