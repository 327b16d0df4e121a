"""The command line of this package: `partum bench`."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engines.registry import AUTO, BACKENDS
from stream.app.command import CommandGroup, out_option
from stream.app.options.shared import options_of
from stream.app.options.values import FilePath, Folder, Number, OneOf, PathOrAddress, Text, Whole
from stream.common.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.group(
    "bench",
    cls=CommandGroup,
    help="Measure how fast and how right this machine is.",
    examples=("partum bench model", "partum bench stream loop.mp4 --help"),
)
def bench_command() -> None:
    """See the group's help text above."""


@bench_command.command(
    "model",
    help="Latency, throughput and agreement of every engine that can run MODEL here.",
    examples=("partum bench model --batch 1 -o bench.json",),
)
@click.argument("model", required=False, type=FilePath(path_type=Path))
@click.option(
    "--backend",
    "backends",
    multiple=True,
    type=OneOf([b for b in BACKENDS if b != AUTO]),
    help="Only this one; may be repeated.",
)
@click.option("--device", type=Text(), help="Only back-ends of this one: cpu, or a GPU such as cuda:1.")
@click.option("--data", type=Folder(path_type=Path), multiple=True, help="Data set for the agreement.")
@click.option("--batch", "batches", type=Whole(1), multiple=True, help="Batch size; may be repeated.")
@click.option("--threads", type=Whole(1), help="Cores of each engine. Default: all.")
@out_option("FILE", "JSON file for the results.")
def bench_model_command(
    model: Path | None,
    backends: tuple[str, ...],
    device: str | None,
    data: tuple[Path, ...],
    batches: tuple[int, ...],
    threads: int | None,
    out: Path | None,
) -> None:
    """See the command's help text above."""
    from benchmarks.experiments.inference import BenchOptions, bench_model

    options = BenchOptions(
        model=model, backends=backends, device=device, data=data, batches=batches or (1, 4, 16), threads=threads
    )
    bench_model(options, out=out)


@bench_command.command(
    "stream",
    help="The whole pipeline over SOURCE (default: a drawn screen, 1920x1080 H.264).",
    examples=("partum bench stream --rate 30 -o latency.json", "partum bench stream clip.mp4 --asap"),
)
@click.argument("source", required=False, type=PathOrAddress())
@click.option(
    "--rate", "rate_hz", type=Number(min=0.1, max=1000), default=30.0, show_default=True, help="Arrivals, Hz."
)
@click.option("--asap", is_flag=True, help="As fast as possible instead: throughput.")
@click.option("--streams", type=Whole(1), help="Find how many feeds are carried, up to so many.")
@click.option("--frames", type=Whole(100), default=600, show_default=True, help="Of each repeat.")
@click.option("--repeats", type=Whole(1), default=5, show_default=True, help="Of the whole.")
@click.option("--deadline", type=Number(min=0, max=1e6, min_open=True), help="Milliseconds. Default: a period.")
@options_of("bench stream")
@click.option("--append", is_flag=True, help="Add the repeats to those that --out holds: to take two turns about.")
@out_option("FILE", "JSON file; a table and a picture come beside it.")
def bench_stream_command(
    source: str | None,
    rate_hz: float,
    asap: bool,
    streams: int | None,
    frames: int,
    repeats: int,
    deadline: float | None,
    backend: str,
    device: str | None,
    precision: str | None,
    model: str | None,
    append: bool,
    out: Path | None,
) -> None:
    """See the command's help text above."""
    from benchmarks.experiments.end_to_end import StreamOptions, bench_stream, find_capacity
    from benchmarks.reporting.environment import others_busy
    from benchmarks.reporting.report import content_of, draw_stream, stream_table, write_report

    if asap and streams:
        raise OptionError("--streams asks how many feeds of a rate are carried; give --rate, not --asap")
    if append and out is None:
        raise OptionError("--append adds to the file of --out; name it")
    busy = others_busy()
    with _clip(source) as clip:
        options = StreamOptions(
            source=clip,
            rate_hz=None if asap else rate_hz,
            frames=frames,
            repeats=repeats,
            deadline_ms=deadline,
            backend=backend,
            device=device,
            precision=precision,
            model=model,
        )
        results = bench_stream(options)
        if streams:
            results["capacity"] = find_capacity(options, most=streams)
    results["options"]["source"] = source or "screen.mp4"
    if append and out is not None and out.exists():
        from benchmarks.reporting.compare import read_result

        results["repeats"] = read_result(out)["results"]["repeats"] + results["repeats"]
    content = content_of("partum.bench.stream/1", results, others_busy=busy)
    table = stream_table(content)
    if out:
        write_report(out, content, table)
        draw_stream(content, out.with_suffix(".png"))
    click.echo(table)


@bench_command.command(
    "compare",
    help="Whether result B is faster than A, slower, or whether that cannot be said.",
    examples=("partum bench compare before.json after.json",),
)
@click.argument("a", type=FilePath(path_type=Path, exists=True, dir_okay=False))
@click.argument("b", type=FilePath(path_type=Path, exists=True, dir_okay=False))
def bench_compare_command(a: Path, b: Path) -> None:
    """See the command's help text above."""
    from benchmarks.reporting.compare import compare, read_result

    found, notes = compare(read_result(a), read_result(b))
    for one in found:
        interval = f"{one.low:.3f} to {one.high:.3f}"
        click.echo(f"{one.name:18}  A {one.a:9.3f}  B {one.b:9.3f}  B/A {one.ratio:.3f} ({interval})  {one.verdict}")
    for note in notes:
        click.echo(f"note: {note}")


@bench_command.command(
    "peers",
    help="The pipeline beside the loops one would otherwise write, all in one run.",
    examples=("partum bench peers -o peers.json",),
)
@click.argument("source", required=False, type=PathOrAddress())
@click.option("--rounds", type=Whole(1), default=3, show_default=True, help="All in turn, so many times.")
@out_option("FILE", "JSON file; a table comes beside it.")
def bench_peers_command(source: str | None, rounds: int, out: Path | None) -> None:
    """See the command's help text above."""
    from benchmarks.experiments.peers import bench_peers
    from benchmarks.reporting.environment import others_busy
    from benchmarks.reporting.report import content_of, peers_table, write_report

    busy = others_busy()
    with _clip(source) as clip:
        results = bench_peers(Path(clip), rounds=rounds)
    content = content_of("partum.bench.peers/1", results, others_busy=busy)
    table = peers_table(content)
    if out:
        write_report(out, content, table)
    click.echo(table)


@contextmanager
def _clip(source: str | None) -> Iterator[str]:
    """The user's recording, or the drawn screen."""
    if source is not None:
        yield source
        return
    from benchmarks.rig.screen_clip import make_screen_clip

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "screen.mp4"
        make_screen_clip(path)
        yield str(path)
