"""The summary table printed when a run ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stream.common.text import on_one_line
from stream.outputs.manifest import NOTICE
from stream.pipeline.throughput import overload_message

if TYPE_CHECKING:
    from stream.app.run import SourceRun


NOT_FOLLOWED = "  (too few that agree to be followed)"


def print_summary(run: SourceRun) -> None:
    """The short table a run ends with, on stdout."""
    options, statistics, engine = run.options, run.statistics, run.engine
    table = Table(
        title=escape(
            on_one_line(f"{'demonstration clip' if options.source is None else run.source.info.uri}, {engine.name}")
        ),
        title_justify="left",
        show_header=False,
    )
    for line in filter(None, (engine.spec.warning, statistics.cut_note)):
        table.add_row("attention", escape(line))
    for line in statistics.engine_changes:
        table.add_row("engine", escape(on_one_line(line)))
    if run.source.info.note:
        table.add_row("note", escape(on_one_line(run.source.info.note)))
    table.add_row("frames in", str(statistics.frames_in))
    table.add_row("measured", str(statistics.states["measured"]))
    table.add_row("refused", str(statistics.states["refused"]))
    for reason, count in statistics.reasons.most_common():
        table.add_row(f"  {reason}", str(count))
    table.add_row("dropped", str(statistics.states["dropped"]))
    for cause, count in statistics.drops.most_common():
        table.add_row(f"  {cause}", str(count))
    if overload := overload_message(statistics, run.board.snapshot().remedies):
        table.add_row("overload", overload)
    for name, label, unit in (
        ("aop_deg", "AoP, median", "°"),
        ("hsd_min_mm", "HSD (shortest), median", " mm"),
        ("hsd_min_px", "HSD (shortest), median", " px"),
    ):
        found = statistics.typical(name)
        if found and not (unit == " px" and statistics.typical("hsd_min_mm")):
            value, low, high = found
            table.add_row(label, f"{value:.1f}{unit}")
            if name == "aop_deg":
                table.add_row("  absolute, 95 %", _absolute(statistics.typical_absolute))
            table.add_row("  repeatability, 95 %", f"{low:.1f} to {high:.1f}{unit}")
    alone = statistics.aop_raw_deg.quantile(0.5)
    if alone is not None and statistics.typical("aop_deg") is None:
        is_one = statistics.states["measured"] == 1
        label, why = ("AoP of this frame", "") if is_one else ("AoP of single frames, median", NOT_FOLLOWED)
        table.add_row(label, f"{alone:.1f}°{why}")
        table.add_row("  absolute, 95 %", _absolute(statistics.typical_raw_absolute))
    # As fast as possible, frames wait for the slowest stage: that time is part of their latency.
    queued = "" if options.pace or options.live else "  (as fast as possible: waiting included)"
    spread = [statistics.latency_ms.quantile(share) for share in (0.5, 0.9, 0.99)]
    if None not in spread:
        table.add_row("latency p50 / p90 / p99", " / ".join(f"{value:.1f}" for value in spread) + f" ms{queued}")
    if run.board.marks_s:
        table.add_row("marks", f"{len(run.board.marks_s)} in marks.jsonl")
    table.add_row("results", escape(on_one_line(str(run.out))))
    console = Console()
    console.print(table)
    console.print(NOTICE)


def _absolute(bounds: tuple[float, float] | None) -> str:
    """The absolute interval of AoP in words."""
    return "unknown: this model has no fit of it" if bounds is None else f"{bounds[0]:.1f} to {bounds[1]:.1f}°"
