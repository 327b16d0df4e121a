"""What documents say of a ward, from `ward.json`: what was measured, and for how long."""

from __future__ import annotations

from collections import Counter
from typing import Any

from result_files import RESULTS, paragraph, results, source, table

COMMAND = "python -m benchmarks.experiments.ward"


def ward() -> str:
    """Every part that was measured, in a paragraph or table each; and those that were not yet."""
    if not (RESULTS / "ward.json").exists():
        return paragraph(f"Not measured yet on this version; the command is `{COMMAND}`.")
    found = results("ward")
    parts = [said(found[name]) for name, said in PARTS.items() if name in found]
    missing = [f"`{name}`" for name in PARTS if name not in found]
    if missing:
        parts.append(paragraph(f"Parts of `{COMMAND}` that were not measured yet: {', '.join(missing)}."))
    return "\n\n".join([f"From {source('ward')}, on {_cores(found)} cores.", *parts])


def _cores(found: dict[str, Any]) -> str:
    return " or ".join(sorted({str(part["measured_on"]["cores"]) for part in found.values()}))


def _cost(found: dict[str, Any]) -> str:
    own, other = found["in_process_ms"], found["own_process_ms"]
    return paragraph(
        f"A frame in the engine's own process takes {found['added_ms']:.2f} ms more than in the process that asks, at"
        f" the median of {found['frames']} frames ({other['p50']:.2f} and {own['p50']:.2f} ms; 99th percentile"
        f" {other['p99']:.1f} and {own['p99']:.1f} ms)."
    )


def _feeds(found: dict[str, Any]) -> str:
    ways = {name: way for name, way in found.items() if isinstance(way, dict) and "steps" in way}
    rows = []
    for name, way in ways.items():
        last = next((step for step in way["steps"] if step["feeds"] == way["carried"]), None)
        beyond = next((step for step in way["steps"] if step["feeds"] > way["carried"]), None)
        rows.append(
            (
                name,
                str(way["carried"]),
                "" if last is None else f"{last['worst_age_p99_ms']:.0f} ms",
                "" if beyond is None else _beyond(beyond),
                str(way["admitted"]),
            )
        )
    head = ("network", "feeds at 30 Hz", "99th percentile of ages, worst feed", "with one more", "admission lets in")
    said = paragraph(
        f"Carried is a number of feeds with which the 99th percentile of every feed's ages is within"
        f" {found['late_ms']:.0f} ms and no feed drops more than {100 * found['most_dropped']:.0f} % of its frames;"
        f" each number was looked at for {min(way['seconds'] for way in ways.values()):.0f} s."
    )
    return f"{said}\n\n{table(head, rows)}"


def _beyond(step: dict[str, Any]) -> str:
    return f"{step['worst_age_p99_ms']:.0f} ms, {100 * step['worst_dropped_share']:.1f} % dropped"


def _killed(found: dict[str, Any]) -> str:
    rows = [
        (
            name,
            *(
                f"{found[when][name]['age_ms'][share]:.0f} ms"
                for when in ("without", "with")
                for share in ("p50", "p99")
            ),
        )
        for name in found["without"]
    ]
    head = ("feed", "median age", "99th percentile", "median while one is killed", "99th percentile")
    said = paragraph(
        f"The process of one of three feeds killed every ten seconds for {found['seconds']:.0f} s,"
        f" {found['kills']} times: it showed a picture again after {found['away_s']['median']:.1f} s at the median,"
        f" {found['away_s']['longest']:.1f} s at most; the others were started again"
        f" {found['restarts_of_others']} times."
    )
    return f"{said}\n\n{table(head, rows)}"


def _day(found: dict[str, Any]) -> str:
    memory = [f"{name} {of['first']:.0f} to {of['last']:.0f} MB" for name, of in found["mb"].items()]
    files = [f"{name} {of['first']:.0f} to {of['last']:.0f}" for name, of in found["files"].items()]
    return paragraph(
        f"{found['feed_hours']:.1f} hours of feed time of four feeds at 30 Hz in {found['seconds'] / 60:.0f} minutes,"
        f" {found['pace']} times as fast as live, so that {100 * found['measured_share']:.0f} % of the frames were"
        f" measured and those without time dropped: memory of {', '.join(memory)}; open files of {', '.join(files)};"
        f" the disk held {found['disk_most_mb']:.0f} MB at most, of a quota of {found['quota_mb']:.0f}; processes were"
        f" started again {found['restarts']} times{_why(found)}."
    )


def _why(found: dict[str, Any]) -> str:
    """Reasons of restarts, without the names of feeds, and how often each."""
    counts = Counter(reason.partition(": ")[2] for reason in found.get("restart_reasons", ()))
    return f" ({', '.join(f'{reason}: {count}' for reason, count in counts.most_common())})" if counts else ""


def _lost(found: dict[str, Any]) -> str:
    first, last = found["first"], found["last"]
    memory = ", ".join(
        f"{name[:-3]} {first[name]:.0f} to {last[name]:.0f} MB"
        for name in first
        if name.endswith("_mb") and name in last
    )
    return paragraph(
        f"{found['cycles']} times over four feeds a source went and came back, in {found['seconds']:.0f} s: all were"
        f" measured again, processes were started again {found['restarts']} times{_why(found)}; memory of {memory}."
    )


PARTS = {"cost": _cost, "feeds": _feeds, "killed": _killed, "day": _day, "lost": _lost}
