"""Result files of `partum bench stream` and `peers`: strict JSON, a table in Markdown, and pictures beside it."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

from benchmarks.reporting.environment import describe_machine
from stream.measurement.protocols import DEFAULT_PROTOCOL
from stream.outputs.manifest import NOTICE, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

INK, DIM, FIRST, SECOND = "#222222", "#8a8a8a", "#0072b2", "#e69f00"
STAGES = ("read", "wait", "watch", "infer", "hand_off", "measure")
STAGE_COLOURS = ("#56b4e9", "#bbbbbb", "#009e73", "#0072b2", "#cccccc", "#e69f00")
BUSY = 0.15
"""Share of the cores that others keep busy, above which numbers are said not to be honest."""


def content_of(schema: str, results: Mapping[str, Any], *, others_busy: float | None) -> dict[str, Any]:
    """What is written: the results with the machine they were made on, and whether it was left alone."""
    return {
        "schema": schema,
        "notice": NOTICE,
        "machine": describe_machine(),
        "others_busy": others_busy,
        "busy": others_busy is not None and others_busy > BUSY,
        "results": results,
    }


def write_report(path: Path, content: Mapping[str, Any], table: str) -> None:
    """Writes `path` (JSON) and the table beside it (Markdown)."""
    write_json(path, dict(content))
    path.with_suffix(".md").write_text(table, encoding="utf-8")


def stream_table(content: Mapping[str, Any]) -> str:
    """The numbers of a stream as Markdown."""
    results, machine = content["results"], content["machine"]
    options = results["options"]
    rate = f"{options['rate_hz']:g} Hz, open loop" if options["rate_hz"] else "as fast as possible"
    lines = [
        f"# {options['source'].rpartition('/')[2]}, {rate}, {options['streams']} stream(s)",
        "",
        f"{results['engine']}; {machine['processor']}, {machine['cores']} cores; {machine['measured_utc']}.",
        "The machine was busy with other work: do not trust these numbers." if content["busy"] else "",
        "",
        "| | |",
        "|---|---|",
        f"| frames per second | {results['frames_per_second']} |",
        f"| CPU ms a frame | {results['cpu_ms_per_frame']} |",
        f"| of that, all but the network | {results['cpu_ms_per_frame_without_network']} |",
        *(f"| of that, {name} | {spent} |" for name, spent in results.get("cpu_ms_by_thread", {}).items()),
        f"| cold start: engine / first result | {results['cold_start_ms']['load_engine']} /"
        f" {results['cold_start_ms']['first_result']} ms |",
        f"| memory before / after / peak | {results['resident_mb']['before']} / {results['resident_mb']['after']} /"
        f" {results['resident_mb']['peak']} MiB |",
    ]
    latency = results.get("latency_ms")
    if latency:
        ages = [repeat["age_before_next_ms"]["p99"] for repeat in results["repeats"]]
        in_time = np.median([repeat["in_time_share"] for repeat in results["repeats"]])
        dropped = np.median([repeat["dropped_share"] for repeat in results["repeats"]])
        lines += [
            f"| latency from scheduled arrival p50 / p90 / p99 / p99.9 / max |"
            f" {latency['p50']} / {latency['p90']} / {latency['p99']} / {latency['p99.9']} / {latency['max']} ms |",
            f"| age of what is shown, p99 | {np.median(ages):.1f} ms |",
            f"| in time | {in_time:.3%} |",
            f"| dropped | {dropped:.3%} |",
        ]
    lines += ["", "| stage | p50 ms | p99 ms |", "|---|---|---|"]
    lines += [f"| {stage} | {times['p50']} | {times['p99']} |" for stage, times in results["stage_ms"].items()]
    carried = results.get("capacity")
    if carried:
        lines += ["", "| streams | frames/s | p99 ms | dropped |", "|---|---|---|---|"]
        lines += [
            f"| {row['streams']} | {row['frames_per_second']} | {row['p99_ms']} | {row['dropped_share']:.3%} |"
            for row in carried["tried"]
        ]
        lines += ["", f"Carried: {carried['streams']} stream(s)."]
    return "\n".join(lines) + f"\n\n{NOTICE}\n"


def draw_stream(content: Mapping[str, Any], path: Path) -> None:
    """The distribution of latencies, what the median and the slowest of 100 are made of, and the streams carried."""
    results = content["results"]
    capacity = results.get("capacity")
    figure = Figure(figsize=(11 if capacity else 8, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3 if capacity else 2)
    _draw_distribution(axes[0], results)
    _draw_stages(axes[1], results["stage_ms"])
    if capacity:
        _draw_capacity(axes[2], capacity["tried"])
    figure.savefig(path, dpi=130)


def _plain_log_axis(axis: Any) -> None:
    """Ticks at 1, 2, 5, 10, 20 ... with those numbers beside them."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_minor_locator(NullLocator())


def _draw_distribution(axes: Any, results: Mapping[str, Any]) -> None:
    edges = np.array(results["histogram"]["edges_ms"])
    counts = np.array(results["histogram"]["counts"], float)
    shares = 1 - np.cumsum(counts) / counts.sum()
    axes.step(edges[1:] if len(edges) > len(counts) else edges, np.maximum(shares, 0.5 / counts.sum()), color=FIRST)
    axes.set(xscale="log", yscale="log", xlabel="latency, ms", ylabel="share of frames that take longer")
    _plain_log_axis(axes.xaxis)
    for share in (0.5, 0.1, 0.01, 0.001):
        axes.axhline(share, color=DIM, lw=0.5)
    axes.set_title("latency", loc="left", fontsize=10)


def _draw_stages(axes: Any, stages: Mapping[str, Mapping[str, float]]) -> None:
    for row, share in enumerate(("p50", "p99")):
        left = 0.0
        for stage, colour in zip(STAGES, STAGE_COLOURS, strict=True):
            spent = stages.get(stage, {}).get(share, 0.0)
            axes.barh(row, spent, left=left, color=colour, label=stage.replace("_", " ") if row == 0 else None)
            left += spent
    axes.set_yticks([0, 1], ["p50", "p99 of each"])
    axes.set_xlabel("ms")
    axes.set_ylim(2.4, -0.6)
    axes.legend(fontsize=7, ncols=3, loc="lower center", frameon=False, columnspacing=0.8, handlelength=1.0)
    axes.set_title("stages", loc="left", fontsize=10)


def _draw_capacity(axes: Any, tried: Sequence[Mapping[str, Any]]) -> None:
    streams = [row["streams"] for row in tried]
    axes.plot(streams, [row["frames_per_second"] for row in tried], "o-", color=FIRST)
    axes.set_xlabel("streams")
    axes.set_ylabel("frames per second, all", color=FIRST)
    axes.set_ylim(bottom=0)
    other = axes.twinx()
    other.plot(streams, [row["p99_ms"] for row in tried], "s--", color=SECOND)
    other.set_ylabel("p99 ms", color=SECOND)
    other.set_ylim(bottom=0)
    axes.set_xticks(streams)
    axes.set_title("streams", loc="left", fontsize=10)


def model_table(content: Mapping[str, Any]) -> str:
    """The engines as Markdown."""
    machine = content["machine"]
    lines = [
        f"# Engines on {machine['processor']}, {machine['cores']} cores",
        "",
        f"{machine['measured_utc']}. AoP: change by `{DEFAULT_PROTOCOL}` against the float32 model in OpenVINO, 95th"
        " percentile.",
        "The machine was busy with other work: do not trust these numbers." if content["busy"] else "",
        "",
        "| engine | p50 / p90 / p99, ms | frames/s by batch | AoP moves by | of the machine's limit |",
        "|---|---|---|---|---|",
    ]
    for label, row in content["engines"].items():
        latency, delta, limit = (
            row.get("latency_ms"),
            row["agreement"]["aop_delta_deg"][DEFAULT_PROTOCOL],
            row.get("roofline"),
        )
        times = f"{latency['p50']} / {latency['p90']} / {latency['p99']}" if latency else "refused"
        rates = ", ".join(f"{batch}: {rate:.0f}" for batch, rate in row.get("frames_per_second", {}).items())
        moved = f"{delta['p95']:.2f} degrees" if delta else ""
        share = f"{limit['share_of_limit']:.0%}, {limit['limited_by']}" if limit else ""
        lines.append(f"| {label} | {times} | {rates} | {moved} | {share} |")
    lines += ["", *(f"Left out: {backend}: {reason}" for backend, reason in content["left_out"].items())]
    return "\n".join(lines) + f"\n\n{NOTICE}\n"


def draw_engines(content: Mapping[str, Any], path: Path) -> None:
    """How far each engine moves AoP against how long it takes for a frame."""
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for marker, (label, row) in zip(cycle("osD^vP*X"), content["engines"].items(), strict=False):
        latency, delta = row.get("latency_ms"), row["agreement"]["aop_delta_deg"][DEFAULT_PROTOCOL]
        if latency and delta:
            axes.plot(latency["p50"], delta["p95"], marker, label=label, clip_on=False)
    axes.set(xlabel="one frame, median, ms", ylabel="AoP moves by,\n95th percentile, degrees", xlim=(0, None))
    axes.set_ylim(bottom=0)
    figure.legend(fontsize=8, loc="outside right upper")
    figure.savefig(path, dpi=130)


def peers_table(content: Mapping[str, Any]) -> str:
    """The peers as Markdown."""
    results, machine = content["results"], content["machine"]
    lines = [
        f"# The pipeline beside what one would otherwise write, on {results['clip']}",
        "",
        f"{machine['processor']}, {machine['cores']} cores; {machine['measured_utc']}.",
        "The machine was busy with other work: do not trust these numbers." if content["busy"] else "",
        "",
        "| | frames per second | partum is so many times as fast |",
        "|---|---|---|",
    ]
    for name, rate in results["frames_per_second"].items():
        times = results["times_as_fast_as"].get(name)
        lines.append(f"| {name} | {rate:g} | {f'{times:g}' if times else ''} |")
    lines += ["", "| measuring one mask of 512 x 512 | CPU ms |", "|---|---|"]
    lines += [f"| {name} | {spent} |" for name, spent in results["measuring_cpu_ms_512"].items()]
    return "\n".join(lines) + f"\n\n{NOTICE}\n"
