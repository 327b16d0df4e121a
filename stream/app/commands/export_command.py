"""The command line of `partum export`."""

from __future__ import annotations

from pathlib import Path

import click

from engines.runtime import runtime_unavailable
from stream.app.command import command, out_option
from stream.app.options.values import FilePath, OneOf, Whole

ONNX, CHECKPOINTS = ".onnx", (".pt", ".pth", ".ckpt")


@command(
    "export",
    help="Write a model file from CHECKPOINT (.pt), or serve a model (.onnx) by Triton.",
    examples=("partum export runs/mine/best.pt -o model.onnx", "partum export model.onnx --triton repository"),
)
@click.argument("source", type=FilePath(path_type=Path))
@out_option("FILE", "Model file to write. Default: SOURCE.onnx.")
@click.option(
    "--refinement", type=FilePath(path_type=Path), help="Checkpoint of the second look, to go into the same model."
)
@click.option(
    "--fitted",
    type=FilePath(path_type=Path),
    help="JSON file of what was fitted out of fold: gate, fusion, quality, absolute interval.",
)
@click.option(
    "--weights",
    type=OneOf(["float16", "int8"]),
    default="float16",
    show_default=True,
    help="What the largest weights are stored in; the model computes in float32 all the same.",
)
@click.option("--triton", type=FilePath(path_type=Path), help="Triton model repository to write the model into.")
@click.option("--max-batch", type=Whole(1), default=16, show_default=True, help="Of the Triton server.")
def export_command(
    source: Path,
    out: Path | None,
    refinement: Path | None,
    fitted: Path | None,
    weights: str,
    triton: Path | None,
    max_batch: int,
) -> None:
    """See the command's help text above."""
    from engines.backends.triton_repository import write_repository
    from engines.onnx.model_file import read_model_file

    model = source
    if source.suffix in CHECKPOINTS:
        try:
            from engines.onnx.export import export_checkpoint
        except ImportError as error:
            raise runtime_unavailable("export", "partum[train]", error) from error
        model = out or source.with_suffix(ONNX)
        export_checkpoint(source, model, refinement=refinement, fitted=fitted, stored=weights)  # type: ignore[arg-type]
        click.echo(f"written: {model}")
    elif refinement or fitted:
        raise click.UsageError(f"{source}: --refinement and --fitted go with a checkpoint (.pt), not with a model file")
    elif not triton:
        raise click.UsageError(f"{source}: an exported model already; give --triton FOLDER, or name a checkpoint (.pt)")
    if triton:
        folder = write_repository(read_model_file(model), triton, max_batch=max_batch)
        click.echo(f"written: {folder}; serve it with: tritonserver --model-repository {triton}")
