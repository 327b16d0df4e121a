"""The command line of `partum quantize`."""

from __future__ import annotations

from pathlib import Path

import click

from engines.runtime import runtime_unavailable
from stream.app.command import command, out_option
from stream.app.options.values import FilePath, Folder, OneOf, Whole


@command(
    "quantize",
    help="Make an INT8 model from MODEL (default: the one that ships) and real frames.",
    examples=("partum quantize model.onnx --data DATA/psfhs -o model.int8.onnx",),
)
@click.argument("model", required=False, type=FilePath(path_type=Path))
@click.option(
    "--data", type=Folder(path_type=Path), multiple=True, help="A data set with real frames; may be repeated."
)
@out_option("FILE", "Model file to write. Default: MODEL.int8.onnx beside MODEL.")
@click.option("--frames", type=Whole(1), default=128, show_default=True, help="Frames that ranges are taken from.")
@click.option(
    "--ranges",
    type=OneOf(["minmax", "percentile", "entropy"]),
    default="minmax",
    show_default=True,
    help="How ranges are found.",
)
@click.option(
    "--activations",
    type=OneOf(["signed", "unsigned"]),
    default="unsigned",
    show_default=True,
    help="unsigned is finer, and right on CPUs without VNNI; TensorRT's build makes signed ones of it.",
)
@click.option("--force", is_flag=True, help="Write a refused model all the same; every output will say so.")
def quantize_command(
    model: Path | None,
    data: tuple[Path, ...],
    out: Path | None,
    frames: int,
    ranges: str,
    activations: str,
    force: bool,
) -> None:
    """See the command's help text above."""
    from engines.registry import DEFAULT_MODEL

    try:
        from calibration.deployment.quantization.quantize import QuantizeOptions, run_quantize
    except ImportError as error:
        raise runtime_unavailable("quantize", "partum[build]", error) from error

    source = model or DEFAULT_MODEL
    run_quantize(
        QuantizeOptions(
            model=source,
            out=out or (source.with_suffix(".int8.onnx") if model else Path(f"{source.stem}.int8.onnx")),
            data=data,
            frames=frames,
            ranges=ranges,  # type: ignore[arg-type]
            activations=activations,  # type: ignore[arg-type]
            force=force,
        )
    )
