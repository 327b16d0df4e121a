"""`python -m benchmarks.fuzz FORMAT... --count N --seed S`: reads mutated inputs and says what went wrong."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from benchmarks.fuzz.formats import FORMATS
from benchmarks.fuzz.supervisor import Limits, supervise, worker_command
from benchmarks.fuzz.worker import input_of, outcome_of


@click.command(help="Read mutated inputs of each FORMAT (default: all) and say what went wrong.")
@click.argument("formats", nargs=-1, type=click.Choice(sorted(FORMATS)))
@click.option("--count", type=click.IntRange(1), default=1000, show_default=True, help="Inputs of each format.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="Number of the first case.")
@click.option("--case", type=click.IntRange(0), help="Read this one case here, in the same process.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for the inputs that were found.")
@click.option("--seconds", type=click.FloatRange(0.1), default=Limits().seconds, show_default=True, help="For one.")
def main(
    formats: tuple[str, ...], count: int, seed: int, first: int, case: int | None, keep: Path | None, seconds: float
) -> None:
    """See the command's help text above."""
    found = 0
    for name in formats or sorted(FORMATS):
        if case is None:
            found += _fuzz(name, seed=seed, first=first, count=count, keep=keep, limits=Limits(seconds=seconds))
        else:
            if keep:
                _keep(keep, name, seed, case)
            click.echo("\n".join((name, *outcome_of(FORMATS[name], input_of(name, seed, case)))))
    sys.exit(1 if found else 0)


def _fuzz(name: str, *, seed: int, first: int, count: int, keep: Path | None, limits: Limits) -> int:
    """Number of findings, each of which is told."""
    start = time.monotonic()
    result = supervise(worker_command(name, seed), first=first, count=count, limits=limits)
    outcomes = ", ".join(f"{number} {outcome}" for outcome, number in result.outcomes.most_common())
    click.echo(
        f"{name}: {count} inputs (seed {seed}, from {first}), {outcomes};"
        f" memory {result.growth_mb:+.0f} MiB; {time.monotonic() - start:.0f} s; {len(result.findings)} to mend"
    )
    for finding in result.findings:
        click.echo(f"{name} --seed {seed} --case {finding.case}: {finding.kind}\n{finding.details}")
        if keep:
            _keep(keep, name, seed, finding.case)
    return len(result.findings)


def _keep(folder: Path, name: str, seed: int, case: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}-{seed}-{case}").write_bytes(input_of(name, seed, case))


if __name__ == "__main__":
    main()
