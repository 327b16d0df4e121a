"""The command line of `partum build`."""

from __future__ import annotations

from pathlib import Path

import click

from engines.registry import AUTO
from stream.app.command import command
from stream.app.options.values import FilePath, Folder, OneOf


class BatchSizes(click.ParamType[tuple[int, int, int]]):
    """`8`, a fixed batch size, or `1-4-16`, the least, usual and greatest."""

    name = "N|MIN-USUAL-MAX"
    takes_whole_numbers = True
    """In a configuration file, where `batch = 8` is a number."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int, int]:
        if isinstance(value, tuple):
            return value
        parts = str(value).split("-")
        if not all(part.isdigit() for part in parts) or len(parts) not in (1, 3):
            self.fail(f"{value!r} is no batch; give one size such as 8, or three such as 1-4-16", param, ctx)
        sizes = [int(part) for part in parts] * (3 if len(parts) == 1 else 1)
        if not 1 <= sizes[0] <= sizes[1] <= sizes[2]:
            self.fail(f"{value!r}: sizes must rise, from 1 or more", param, ctx)
        return sizes[0], sizes[1], sizes[2]


@command(
    "build",
    help="Build an engine of MODEL (default: the one that ships) for this machine, and try it.",
    examples=("partum build", "partum build model.onnx --backend tensorrt --precision fp16 --data DATA/psfhs"),
)
@click.argument("model", required=False, type=FilePath(path_type=Path))
@click.option(
    "--backend",
    type=OneOf([AUTO, "tensorrt", "openvino", "onnxruntime", "torch"]),
    default=AUTO,
    show_default=True,
    help="What the engine is for.",
)
@click.option(
    "--precision",
    type=OneOf(["fp32", "fp16", "bf16", "int8", "fp8"]),
    help="Default: the model's own; under TensorRT fp16, int8 and fp8, of which the fastest accepted one then runs.",
)
@click.option("--batch", type=BatchSizes(), default="1", show_default=True, help="Batch size, or least-usual-greatest.")
@click.option("--device", default="cuda:0", show_default=True, help="The GPU, or e.g. sm89 to build from afar.")
@click.option("--data", type=Folder(path_type=Path), multiple=True, help="Data set to try it on; may be repeated.")
@click.option("--reference", type=FilePath(path_type=Path), help="Float32 model that an int8 MODEL was made from.")
@click.option("--early-exit", is_flag=True, help="Build the encoder alone too, for replay --early-exit.")
@click.option("--rebuild", is_flag=True, help="Build even where such an engine is there.")
@click.option("--force", is_flag=True, help="Let a refused engine run all the same; every output will say so.")
def build_command(
    model: Path | None,
    backend: str,
    precision: str | None,
    batch: tuple[int, int, int],
    device: str,
    data: tuple[Path, ...],
    reference: Path | None,
    early_exit: bool,
    rebuild: bool,
    force: bool,
) -> None:
    """See the command's help text above."""
    from calibration.deployment.build import BuildRequest, run_build

    run_build(
        BuildRequest(
            model=model,
            backend=backend,
            precision=precision,
            batch=batch,
            device=device,
            data=data,
            reference=reference,
            early_exit=early_exit,
            rebuild=rebuild,
            force=force,
        )
    )
