"""One run of a report: its numbers as the words, tables, charts and pictures of the page."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from stream.common.text import to_printable
from stream.frames.reason import Reason
from stream.labour.edits import EditKind, edits_in_force
from stream.labour.run_marks import marked_pushes
from stream.outputs.marks import WEB_PAGE, MarkKind
from stream.outputs.run_log import LOG_NAME
from stream.pipeline.record import FrameState
from stream.report.charts import draw_run
from stream.report.content import level_value
from stream.report.run_chart import chart_key, chart_words, run_chart
from stream.report.values import NONE, clock, duration, moment, percent
from stream.report.wording import (
    DROPPED_COLOUR,
    EDIT_WORDS,
    MEANINGS,
    MEASURED_COLOUR,
    PART_CAUSES,
    SHADES,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from stream.labour.pushes import Push
    from stream.report.content import Part, RunContent

    Facts = dict[str, Any]


def run_section(run: RunContent, *, made: datetime) -> Facts:
    """What the template shows of a run.

    Args:
        run: its numbers.
        made: when the report is made, with the time zone that times of day are told in.
    """
    parts = [_part(run, part, number) for number, part in enumerate(run.parts, 1)]
    return {
        "heading": "Angle of progression and head-symphysis distance",
        "lines": _lines(run, made),
        "alerts": list(_alerts(run)),
        "summary": _summary(run),
        "has_course": len(run.run) > 1,
        "typical": "in this frame" if run.is_still else "median",
        "has_outlines": bool(run.pictures) and not run.why_no_outlines,
        "why_no_outlines": run.why_no_outlines,
        "parts": parts,
        "pushes": [push for part in parts for push in part["pushes"]],
        "chart": draw_run(run_chart(run), chart_words(run)),
        "chart_key": list(chart_key(run)),
        "pictures": run.pictures,
        "why_no_pictures": run.why_no_pictures,
        "shares": list(_shares(run)),
        "marks": list(_marks(run, made)),
        "edits": [_edit(run, edit, made) for edit in edits_in_force(run.run).values()],
        "facts": list(_facts(run, made)),
    }


def _lines(run: RunContent, made: datetime) -> Sequence[str]:
    """What the reader must know the recording by."""
    started = moment(run.run.started.astimezone(made.tzinfo))
    when = (
        f"Scanned {started}"
        if run.run.is_live
        else f"Replayed {started}; the recording does not say when it was scanned"
    )
    return (
        f"{to_printable(run.name)}, {duration(run.axis.end_s)}",
        when,
    )


def _alerts(run: RunContent) -> Iterator[Mapping[str, str]]:
    """What must be known before any number is read."""

    def alert(title: str, text: str) -> Mapping[str, str]:
        return {"title": title, "text": to_printable(text)}

    manifest, total = run.run.manifest, len(run.run)
    if run.changes:
        yield alert("Do not trust these numbers.", f"{run.changes}.")
    if note := run.run.made_note or run.run.source.get("note"):
        yield alert("About the pictures.", f"{note}.")
    if mark := manifest.get("engine_mark"):
        yield alert("About the network.", f"{mark}.")
    if run.run.status != "complete":
        why = f" ({manifest['error']})" if manifest.get("error") else ""
        yield alert(f"The run is {run.run.status}.", f"It holds what was measured until then{why}.")
    if not total:
        yield alert("No frame was read.", "There is nothing to report.")
    elif total == 1:
        yield alert("One frame only.", "It has no course: values are read from it alone, without repeatability.")
    if total and not run.is_measured.any():
        yield alert("Nothing could be measured.", "The table below says why; there is no value of AoP and HSD.")
    if len(run.parts) > 1:
        yield alert(
            f"This recording has {len(run.parts)} parts.",
            "It may show more than one patient: "
            + "; ".join(_said_of_cut(run, part) for part in run.parts[1:])
            + ". Values are told for each part, and never over a cut.",
        )
    if jumps := run.axis.jumps:
        said = "; ".join(f"at {clock(run.axis.time_s[jump.row])} {_said_of_jump(jump.by_s)}" for jump in jumps[:5])
        yield alert(
            "The clock of the recording jumps.",
            f"{said}{'; ...' if len(jumps) > 5 else ''}. Jumps are cut out of the time axis.",
        )
    if dropped := run.counts[FrameState.DROPPED]:
        overload = run.reasons[Reason.OVERLOAD]
        if overload > 0.1 * total:
            yield alert("The machine did not keep up.", f"{percent(dropped, total)} of the frames were dropped.")


def _said_of_cut(run: RunContent, part: Part) -> str:
    return f"at {clock(run.axis.time_s[part.rows[0]])} {PART_CAUSES[part.cause]}"


def _said_of_jump(by_s: float) -> str:
    return f"back by {duration(-by_s)}" if by_s < 0 else f"on by {duration(by_s)}"


def _summary(run: RunContent) -> str:
    """The run in a few sentences."""
    total, measured = len(run.run), int(run.is_measured.sum())
    if not total:
        return "The run ended before a frame was read."
    words = [f"{measured} of {total} frames ({percent(measured, total)}) were measured."]
    if run.reasons:
        reason, count = run.reasons.most_common(1)[0]
        words.append(f"The commonest reason against it: {_text(reason)} ({percent(count, total)}).")
    marked = sum(push.marked is not None for push in run.pushes)
    found = len(run.pushes) - marked
    if marked:
        words.append(f"{_count_of_pushes(marked)} marked.")
    if measured and not run.is_still and (found or not marked):
        words.append(f"{_count_of_pushes(found)} found." if found else "No push was found.")
    return " ".join(words)


def _count_of_pushes(count: int) -> str:
    return f"{count} {'push was' if count == 1 else 'pushes were'}"


def _text(reason: str) -> str:
    return Reason(reason).text


def _part(run: RunContent, part: Part, number: int) -> Facts:
    measured, total = run.measured_share(part.rows)
    first, last = run.axis.time_s[part.rows[0]], run.axis.time_s[part.rows[-1]]
    return {
        "name": f"Part {number}",
        "cause": PART_CAUSES[part.cause],
        "time": f"{clock(first)} to {clock(last)}",
        "measured": percent(measured, total),
        "rest": run.rest(part),
        "peak": run.peak(part),
        "slope": run.slope(part),
        "hsd": run.hsd(part),
        "why_none": "nothing could be measured" if not measured else "too few frames that agree",
        "pushes": [_push(run, push) for push in part.pushes],
    }


def _push(run: RunContent, push: Push) -> Facts:
    start, end = (run.axis.of(time, push.segment) for time in (push.start_s, push.end_s))
    inside = (run.axis.time_s >= start) & (run.axis.time_s <= end)
    return {
        "name": f"{run.pushes.index(push) + 1}{'' if push.is_whole else ' (cut off)'}",
        "time": f"{clock(start)} to {clock(end)}",
        "origin": _origin(run, push),
        "lasts": duration(end - start),
        "rest": level_value(push.rest),
        "peak": level_value(push.peak),
        "difference": level_value(push.difference, is_change=True),
        "measured": percent(push.measured, int(inside.sum())),
    }


def _origin(run: RunContent, push: Push) -> str:
    """Whether a push was found or marked; of a marked one also what was found there."""
    if push.marked is None:
        return "found"
    by = to_printable(push.marked.by or WEB_PAGE)
    if push.found_s is None:
        return f"marked by {by}; none found"
    found = " to ".join(clock(run.axis.of(time, push.segment)) for time in push.found_s)
    return f"marked by {by}; found {found}"


def _shares(run: RunContent) -> Iterator[Facts]:
    """What became of the frames: measured, refused by reason, dropped by cause."""
    total = len(run.run)
    if not total:
        return
    dropped = {Reason.OVERLOAD, Reason.REPEATED}

    def share(text: str, count: int, colour: str, meaning: str) -> Facts:
        width = f"{100 * count / total:.2f}"
        return {
            "text": text,
            "count": count,
            "percent": percent(count, total),
            "width": width,
            "colour": colour,
            "meaning": meaning,
        }

    yield share("measured", int(run.is_measured.sum()), MEASURED_COLOUR, "AoP was read from the frame.")
    shades = iter(SHADES)
    for reason, count in run.reasons.most_common():
        known = Reason(reason)
        colour = DROPPED_COLOUR if known in dropped else next(shades, SHADES[-1])
        yield share(known.text, count, colour, MEANINGS[known])


def _marks(run: RunContent, made: datetime) -> Iterator[Mapping[str, str]]:
    lone = marked_pushes(run.run.marks).lone
    for mark in run.run.marks:
        why = lone.get(mark["mark"])
        yield {
            "time": clock(run.axis.of(mark["pts_s"], mark["segment"])),
            "kind": MarkKind(mark.get("kind", MarkKind.MARK)).text + (f" (makes no push: {why})" if why else ""),
            "note": to_printable(str(mark.get("note") or "")),
            "set": to_printable(f"{mark.get('by') or WEB_PAGE}, {_when(mark['marked_utc'], made)}"),
        }


def _edit(run: RunContent, edit: Mapping[str, Any], made: datetime) -> Mapping[str, str]:
    """A person's word on a frame, beside the automatic one."""
    row = int(edit["index"])
    automatic, values = edit["automatic"], edit["values"]
    is_confirmed = edit["kind"] == EditKind.CONFIRM
    unit = "mm" if automatic.get("hsd_min_raw_mm") is not None or values.get("hsd_min_mm") is not None else "px"
    why = f"cannot be measured ({Reason(edit['reason']).text})" if edit.get("reason") else NONE
    what = EDIT_WORDS[EditKind(edit["kind"])] + (f": {edit['note']}" if edit.get("note") else "")
    return {
        "time": f"{clock(run.axis.time_s[row])}, frame {row}",
        "what": what,
        "aop": _number(automatic.get("aop_raw_deg"), "°"),
        "aop_reviewed": "confirmed" if is_confirmed else _number(values.get("aop_deg"), "°", why),
        "hsd": _number(automatic.get(f"hsd_min_raw_{unit}"), f" {unit}"),
        "hsd_reviewed": "confirmed" if is_confirmed else _number(values.get(f"hsd_min_{unit}"), f" {unit}"),
        "by": to_printable(f"{edit['by']}, {_when(edit['edited_utc'], made)}"),
    }


def _number(value: float | None, unit: str, otherwise: str = NONE) -> str:
    return otherwise if value is None else f"{value:.1f}{unit}"


def _when(utc: str, made: datetime) -> str:
    return moment(datetime.fromisoformat(utc).astimezone(made.tzinfo))


def _facts(run: RunContent, made: datetime) -> Iterator[tuple[str, str]]:
    """How the numbers came about."""
    recorded = run.run
    source, model, manifest = recorded.source, recorded.model, recorded.manifest
    yield (
        "Recording",
        to_printable(f"{run.name} ({source.get('kind')}), {source.get('width')} x {source.get('height')} px"),
    )
    yield "Frames", ", ".join(f"{run.counts[state]} {state}" for state in FrameState) + f"; {_rate(run)}"
    yield "Scale", _scale(run)
    yield "Protocol", recorded.protocol
    yield "Orientation", _orientation(run)
    yield "Model", f"{model.get('name')}, sha256 {model.get('sha256')}"
    yield "Network ran on", str(manifest.get("engine"))
    threshold = model.get("plane_threshold")
    yield "Plane threshold", f"{threshold:.3f}" if isinstance(threshold, float) else str(threshold)
    yield "Processed", f"{moment(recorded.started.astimezone(made.tzinfo))}, {recorded.status}"
    versions = manifest.get("versions") or {}
    yield "Versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    yield "Results folder", to_printable(recorded.folder.resolve().name)
    yield "Files of the run", _files(run)
    yield "Schema of the records", str((recorded.table.words("schema") or ["-"])[0])


def _files(run: RunContent) -> str:
    if not (run.run.folder / LOG_NAME).exists():
        return "not compared: the run kept no log"
    return "changed after the run" if run.changes else "as they were written, by the run's log"


def _rate(run: RunContent) -> str:
    steps = np.diff(run.axis.time_s)
    steps = steps[steps > 0]
    return f"{1 / float(np.median(steps)):.1f} a second" if len(steps) else "no rate"


def _scale(run: RunContent) -> str:
    """Millimetres per pixel, and where they come from."""
    x, y = run.numbers("spacing_x_mm"), run.numbers("spacing_y_mm")
    found = (run.run.manifest.get("results") or {}).get("watch") or {}
    origin = f"; {found['scale']}" if found.get("scale") else ""
    if x is None or y is None or not np.isfinite(x).any():
        notes = sorted({note for note in run.words("spacing_note") if note})
        return "none: HSD is in pixels" + (f" ({'; '.join(notes)})" if notes else "") + origin
    pairs = {(round(float(a), 4), round(float(b), 4)) for a, b in zip(x, y, strict=True) if np.isfinite(a)}
    said = [f"{a:g} x {b:g} mm per pixel" for a, b in sorted(pairs)]
    more = f" and {len(said) - 4} more" if len(said) > 4 else ""
    missing = int(np.count_nonzero(np.isnan(x)))
    without = f"; none on {percent(missing, len(x))} of the frames" if missing else ""
    return ", ".join(said[:4]) + more + without + origin


def _orientation(run: RunContent) -> str:
    read = [value for value in run.words("mirrored") if value is not None]
    if not read:
        return "not read"
    mirrored = sum(read)
    if mirrored in (0, len(read)):
        return "mirrored: PS on the right" if mirrored else "normal: PS on the left"
    return f"normal, and mirrored on {percent(mirrored, len(read))} of the measured frames"
