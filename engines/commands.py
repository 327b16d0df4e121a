"""The command line of this package: `partum engines`, `partum info`, `partum export`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from engines.errors import ModelMismatch, ModelNotFound
from engines.runtime import unavailable

ONNX, ENGINE, CHECKPOINTS = ".onnx", ".engine", (".pt", ".pth", ".ckpt")


@click.command("engines", help="What can run a model on this machine, and why the rest cannot; built engines.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def engines_command(as_json: bool) -> None:
    """See the command's help text above."""
    from engines.cache import EngineCache, refusal
    from engines.inventory import inventory

    cache = EngineCache()
    back_ends, built = inventory(), cache.entries()
    if as_json:
        facts = {
            "backends": [asdict(entry) for entry in back_ends],
            "cache": str(cache.folder),
            "engines": [{"path": str(path), "refusal": refusal(of_one), **of_one} for path, of_one in built],
        }
        click.echo(json.dumps(facts, indent=2))
        return
    for entry in back_ends:
        state = f"no: {entry.reason}" if entry.reason else f"yes, on {'; '.join(entry.devices)}"
        click.echo(f"{entry.backend:22}{entry.version or '-':24}{state}")
    click.echo(f"built engines in {cache.folder}: {len(built) or 'none'}")
    for path, of_one in built:
        click.echo(f"  {path.name}: {refusal(of_one) or 'accepted'}")


@click.command("info", help="What a model file (.onnx) or a built engine (.engine) is.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def info_command(file: Path, as_json: bool) -> None:
    """See the command's help text above."""
    facts = _engine_facts(file) if file.suffix == ENGINE else _model_facts(file)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    rows = _flat(facts)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:{width}}  {_said(value)}")


@click.command("export", help="Write a model file from CHECKPOINT (.pt), or serve a model (.onnx) by Triton.")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Model file to write. Default: SOURCE.onnx.")
@click.option("--triton", type=click.Path(path_type=Path), help="Triton model repository to write the model into.")
@click.option("--max-batch", type=click.IntRange(1), default=16, show_default=True, help="Of the Triton server.")
def export_command(source: Path, out: Path | None, triton: Path | None, max_batch: int) -> None:
    """See the command's help text above."""
    from engines.model_file import read_model_file
    from engines.triton_repository import write_repository

    model = source
    if source.suffix in CHECKPOINTS:
        try:
            from engines.export import export_checkpoint
        except ImportError as error:
            raise unavailable("export", "partum[train]", error) from error
        model = out or source.with_suffix(ONNX)
        export_checkpoint(source, model)
        click.echo(f"written: {model}")
    elif not triton:
        raise click.UsageError(f"{source}: an exported model already; give --triton FOLDER, or name a checkpoint (.pt)")
    if triton:
        folder = write_repository(read_model_file(model), triton, max_batch=max_batch)
        click.echo(f"written: {folder}; serve it with: tritonserver --model-repository {triton}")


def _model_facts(path: Path) -> dict[str, Any]:
    from engines.model_file import read_model_file

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
    return {"file": str(path), **facts}


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
