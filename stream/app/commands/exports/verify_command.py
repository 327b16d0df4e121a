"""The command line of `partum verify`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from stream.app.command import command
from stream.app.exit_codes import ExitCode
from stream.app.options.values import FilePath, Whole
from stream.common.errors import OptionError


@command(
    "verify",
    help="Compare every file of RUN with the run's log: one changed byte is found.",
    examples=("partum verify results", "partum verify results --replay", "partum verify results --frame 120"),
    reads_config=False,
)
@click.argument("run", type=FilePath(path_type=Path))
@click.option("--replay", is_flag=True, help="Measure the recording again too, and compare every number.")
@click.option("--frame", type=Whole(0), metavar="INDEX", help="Say too what the numbers of a frame rest on, as JSON.")
@click.option("--source", metavar="SOURCE", help="Where the recording is now, if it has moved.")
@click.pass_context
def verify_command(context: click.Context, run: Path, replay: bool, frame: int | None, source: str | None) -> None:
    """See the command's help text above."""
    from stream.exports.verification import verify_run
    from stream.labour.recorded_run import RecordedRun

    if source and not source.startswith("phantom:") and not Path(source).exists():
        raise OptionError(f"--source {source}: no such file or folder; name where the recording is now")
    found = verify_run(run, source=Path(source) if source else _source_of(run))
    faults = list(found.faults)
    if replay and not faults:
        from stream.exports.replay_check import replay_differences

        faults += [f"replay: {each}" for each in replay_differences(RecordedRun(run), source=source)]
    if frame is not None:
        from stream.exports.trace import trace_frame

        click.echo(json.dumps(trace_frame(RecordedRun(run, unfinished=True), frame), indent=2))
    for note in found.notes:
        click.echo(note)
    for fault in faults:
        click.echo(fault)
    if faults:
        context.exit(ExitCode.FAILED)
    click.echo(f"{run}: {found.files} files are as they were written{', and replay alike' if replay else ''}")


def _source_of(folder: Path) -> Path | None:
    """The recording that a run names; None where it is gone, or the run cannot say: then its files have changed."""
    from stream.common.errors import RunUnreadable
    from stream.labour.recorded_run import RecordedRun
    from stream.labour.run_source import source_path

    try:
        return source_path(RecordedRun(folder, unfinished=True))
    except RunUnreadable:
        return None
