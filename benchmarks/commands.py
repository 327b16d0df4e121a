"""The command line of this package: `partum bench`."""

from __future__ import annotations

from pathlib import Path

import click

from engines.registry import AUTO, BACKENDS
from stream.cli import Folder, verbose_option


@click.group("bench", help="Measure how fast and how right this machine is.")
def bench_command() -> None:
    """See the group's help text above."""


@bench_command.command("model", help="Latency, throughput and agreement of every engine that can run MODEL here.")
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("--backend", "backends", multiple=True, type=click.Choice([b for b in BACKENDS if b != AUTO]))
@click.option("--data", type=Folder(path_type=Path), multiple=True, help="Data set for the agreement.")
@click.option("--batch", "batches", type=click.IntRange(1), multiple=True, help="Batch size; may be repeated.")
@click.option("--threads", type=click.IntRange(1), help="Cores of each engine. Default: all.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for the results.")
@verbose_option
def bench_model_command(
    model: Path | None,
    backends: tuple[str, ...],
    data: tuple[Path, ...],
    batches: tuple[int, ...],
    threads: int | None,
    out: Path | None,
) -> None:
    """See the command's help text above."""
    from benchmarks.inference import BenchOptions, bench_model

    options = BenchOptions(model=model, backends=backends, data=data, batches=batches or (1, 4, 16), threads=threads)
    bench_model(options, out=out)
