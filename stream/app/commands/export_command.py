"""The command line of `partum export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engines.runtime import runtime_unavailable
from stream.app.command import command, out_option
from stream.app.options.values import FilePath, OneOf, Whole

if TYPE_CHECKING:
    from engines.serving.triton_repository import Serving

ONNX, ENGINE, CHECKPOINTS = ".onnx", ".engine", (".pt", ".pth", ".ckpt")


class GpuNumbers(click.ParamType[tuple[int, ...]]):
    """`0,1`: numbers of GPUs."""

    name = "N,N"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isdigit() for part in parts) or len(set(parts)) < len(parts):
            self.fail(f"{value!r}: give numbers of GPUs, each once, such as 0,1", param, ctx)
        return tuple(map(int, parts))


@command(
    "export",
    help="Write a model file from a checkpoint (.pt), or serve a model (.onnx) or built engine (.engine) by Triton.",
    examples=(
        "partum export runs/mine/best.pt -o model.onnx",
        "partum export model.onnx --triton repository --instances 2",
        "partum export ~/.cache/partum/engines/psfh_lite0-fp16-0123456789abcdef.engine --triton repository",
    ),
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
@click.option(
    "--max-batch", type=Whole(1), default=16, show_default=True, help="Most frames that the server runs together."
)
@click.option(
    "--instances",
    type=Whole(1),
    default=1,
    show_default=True,
    help="Batches the server runs at one time, per GPU.",
)
@click.option("--gpus", type=GpuNumbers(), default=(), help="GPUs the server runs it on. Default: all, or the CPU.")
@click.option(
    "--model", type=FilePath(path_type=Path), help="Model that the engine was built from, if its facts do not say."
)
def export_command(
    source: Path,
    out: Path | None,
    refinement: Path | None,
    fitted: Path | None,
    weights: str,
    triton: Path | None,
    max_batch: int,
    instances: int,
    gpus: tuple[int, ...],
    model: Path | None,
) -> None:
    """See the command's help text above."""
    from engines.serving.triton_repository import Serving

    is_checkpoint = source.suffix in CHECKPOINTS
    if (refinement or fitted) and not is_checkpoint:
        raise click.UsageError(f"{source}: --refinement and --fitted go with a checkpoint (.pt), not with a model file")
    if not triton and not is_checkpoint:
        raise click.UsageError(f"{source}: an exported model already; give --triton FOLDER, or name a checkpoint (.pt)")
    if model and source.suffix != ENGINE:
        raise click.UsageError(f"{source}: --model goes with a built engine (.engine)")
    served = source
    if is_checkpoint:
        try:
            from engines.onnx.export import export_checkpoint
        except ImportError as error:
            raise runtime_unavailable("export", "partum[train]", error) from error
        served = out or source.with_suffix(ONNX)
        export_checkpoint(source, served, refinement=refinement, fitted=fitted, stored=weights)  # type: ignore[arg-type]
        click.echo(f"written: {served}")
    if triton:
        folder = _serve(served, triton, Serving(max_batch=max_batch, instances=instances, gpus=gpus), model)
        click.echo(f"written: {folder}; serve it with: tritonserver --model-repository {triton}")


def _serve(source: Path, repository: Path, serving: Serving, model: Path | None) -> Path:
    """Writes a model file or a built engine into a Triton repository; returns its folder there."""
    from engines.onnx.model_file import read_model_file
    from engines.serving.triton_repository import plan_of, write_repository
    from engines.tensorrt.cache import EngineCache

    if source.suffix != ENGINE:
        return write_repository(read_model_file(source), repository, serving=serving)
    stored = EngineCache(source.parent).find_path(source)
    served, serving = plan_of(stored, read_model_file(model) if model else None, serving)
    return write_repository(served, repository, plan=stored.content, serving=serving)
