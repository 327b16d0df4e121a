"""The command line of `partum export-dicom`."""

from __future__ import annotations

from pathlib import Path

import click

from stream.app.command import command, out_option
from stream.app.options.values import FilePath, Folder, Whole
from stream.common.errors import ExtraMissing


@command(
    "export-dicom",
    help="Write RUN as DICOM: structured report, segmentation, captured frames.",
    examples=("partum export-dicom results -o results-dicom", "partum export-dicom results -o dicom --frame 120"),
    reads_config=False,
)
@click.argument("run", type=FilePath(path_type=Path))
@out_option("FOLDER", "New folder for the files.", required=True, type=Folder(path_type=Path))
@click.option("--source", metavar="SOURCE", help="Where the recording is now, if it has moved.")
@click.option("--frame", "frames", type=Whole(0), multiple=True, metavar="INDEX", help="A frame beside the best ones.")
@click.option("--anonymous", is_flag=True, help="A study of its own without a patient, also of a DICOM source.")
@click.option("--one-patient", is_flag=True, help="It shows one patient, though the picture is cut to another.")
@click.option("--unfinished", is_flag=True, help="Take a run that never ended as far as it came.")
def export_dicom_command(
    run: Path,
    out: Path,
    source: str | None,
    frames: tuple[int, ...],
    anonymous: bool,
    one_patient: bool,
    unfinished: bool,
) -> None:
    """See the command's help text above."""
    try:
        from stream.exports.dicom.export import export_dicom
    except ImportError as error:
        raise ExtraMissing(
            f"export-dicom needs highdicom, which cannot be imported ({error}); pip install 'partum[dicom]'"
        ) from error
    from stream.labour.recorded_run import RecordedRun

    done = export_dicom(
        RecordedRun(run, unfinished=unfinished),
        out,
        source=source,
        is_anonymous=anonymous,
        is_one_patient=one_patient,
        also=frames,
    )
    for note in done.notes:
        click.echo(note)
    click.echo(f"written: {len(done.files)} files in {out}")
