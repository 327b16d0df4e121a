"""Reads runs, and writes their report as HTML and PDF."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.common.atomic_file import write_atomic
from stream.common.errors import OptionError, OutputError
from stream.exports.summary import check_out
from stream.labour.recorded_run import open_runs
from stream.labour.run_network import RunNetwork
from stream.report.content import RunContent
from stream.report.day import day_section, timed_runs
from stream.report.document import render_report
from stream.report.pdf import find_browser, print_pdf

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

PDF = ".pdf"


def write_report(
    folders: Sequence[Path],
    out: Path,
    *,
    made: datetime,
    pdf: bool = False,
    times: Sequence[str] = (),
    source: str | None = None,
    unfinished: bool = False,
) -> Sequence[Path]:
    """Writes the report of a run, or of several together; returns the files.

    Args:
        folders: of the runs.
        out: of the HTML.
        made: now, with its time zone.
        pdf: print it too, beside `out`.
        times: when each was scanned.
        source: of a single run, where its pictures are now.
        unfinished: runs that never ended are taken as far as they came.

    Raises:
        OptionError: options that contradict each other, a time that is none, a run given twice, or `out` is a file of a
            run itself.
        RunUnreadable: a folder holds no run that can be read, or `source` is not what the run measured.
        SourceError: `source` cannot be read.
        ExtraMissing: there is no browser to print with.
        OutputError: the report cannot be written.
    """
    if out.suffix.lower() == PDF:
        raise OptionError(
            f"--out {out}: name the HTML file, such as {out.with_suffix('.html')}; --pdf prints beside it"
        )
    if source is not None and len(folders) > 1:
        raise OptionError("--source: goes with a single run")
    if out.is_dir():
        raise OutputError(f"{out}: is a folder; name the HTML file, such as {out / 'report.html'}")
    if pdf:
        find_browser()  # said before minutes are spent
    recorded = open_runs(folders, unfinished=unfinished)
    check_out(out, *recorded)
    runs = [RunContent(run) for run in recorded]
    timed = timed_runs(runs, times, made=made)
    for run in runs:
        network = RunNetwork(run.run)
        try:
            run.load_pictures(network, source)
        finally:
            network.close()
    html = render_report([each.run for each in timed], made=made, day=day_section(timed) if len(timed) > 1 else None)
    write_atomic(out, html.encode())
    if not pdf:
        return (out,)
    printed = out.with_suffix(PDF)
    print_pdf(html, printed)
    return out, printed
