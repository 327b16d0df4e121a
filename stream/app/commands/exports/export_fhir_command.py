"""The command line of `partum export-fhir`."""

from __future__ import annotations

from pathlib import Path

import click

from stream.app.command import command, out_option
from stream.app.options.values import FilePath, Whole


@command(
    "export-fhir",
    help="Write RUN as FHIR: a Bundle of Observations (R4, JSON), without a patient.",
    examples=("partum export-fhir results -o observations.json",),
    reads_config=False,
)
@click.argument("run", type=FilePath(path_type=Path))
@out_option("FILE", "JSON file to write.", required=True)
@click.option("--frame", "frames", type=Whole(0), multiple=True, metavar="INDEX", help="A frame beside the best ones.")
@click.option("--one-patient", is_flag=True, help="It shows one patient, though the picture is cut to another.")
@click.option("--unfinished", is_flag=True, help="Take a run that never ended as far as it came.")
def export_fhir_command(run: Path, out: Path, frames: tuple[int, ...], one_patient: bool, unfinished: bool) -> None:
    """See the command's help text above."""
    from stream.exports.fhir import fhir_bundle
    from stream.exports.summary import check_one_patient, check_out, summarise
    from stream.labour.recorded_run import RecordedRun
    from stream.outputs.manifest import write_json

    recorded = RecordedRun(run, unfinished=unfinished)
    check_out(out, recorded)
    if not one_patient:
        check_one_patient(recorded)
    summary = summarise(recorded, also=frames)
    bundle = fhir_bundle(summary)
    write_json(out, bundle)
    if summary.changes:
        click.echo(summary.changes, err=True)
    click.echo(f"written: {len(bundle['entry'])} Observations in {out}")
