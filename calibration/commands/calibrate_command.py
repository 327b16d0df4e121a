"""`partum calibrate`: fits constants to recordings."""

from __future__ import annotations

from pathlib import Path

import click

from stream.app.command import CommandGroup, out_option
from stream.app.options.values import Folder


@click.group(
    "calibrate",
    cls=CommandGroup,
    help="Fit constants to recordings of one's own.",
    examples=("partum calibrate noise runs/001 runs/002 -o noise.json",),
)
def calibrate_command() -> None:
    """See the group's help text above."""


@calibrate_command.command(
    "noise",
    help="Fit the filter's constants, and so the interval of repeatability, to what finished runs read between pushes.",
    examples=("partum calibrate noise runs/001 runs/002 -o noise.json",),
)
@click.argument("runs", nargs=-1, required=True, type=Folder(path_type=Path))
@out_option("FILE", "JSON file for the constants.", required=True)
def calibrate_noise_command(runs: tuple[Path, ...], out: Path) -> None:
    """See the command's help text above."""
    import numpy as np

    from calibration.fitting.recorded_noise import fit_noise, pieces_of
    from stream.labour.course import aop_course
    from stream.labour.pushes import find_pushes, resting
    from stream.labour.recorded_run import RecordedRun
    from stream.outputs.manifest import NOTICE, write_json
    from stream.tracking.noise_file import FITTED, NOISE_SCHEMA, SECTION, noise_facts
    from stream.tracking.tracker import AOP_NOISE_DEG

    pieces = []
    for folder in runs:
        table = RecordedRun(folder).table
        course = aop_course(table)
        at_rest = np.where(resting(course, find_pushes(course)), table.numbers("aop_raw_deg"), np.nan)
        pieces += pieces_of(table.numbers("pts_s"), at_rest, table.numbers("quality"), table.counts("segment"))
    fit = fit_noise(pieces)
    facts = {
        "runs": [folder.name for folder in runs],
        "readings": fit.readings,
        "log_likelihood_gain": round(fit.gain, 4),
    }
    write_json(out, {"schema": NOISE_SCHEMA, "notice": NOTICE, SECTION: noise_facts(fit.noise), "fitted_to": facts})
    for name in FITTED:
        click.echo(f"{name:<14} {getattr(fit.noise, name):6.2f}  (default {getattr(AOP_NOISE_DEG, name):.2f})")
    click.echo(f"fitted to {fit.readings} readings; written to {out}\n{NOTICE}")
