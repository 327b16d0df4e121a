"""`index.html`: a page of all recordings with picture, numbers, course and links; it needs no server and no network."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from stream.batch.summary import COMPLETE, PICTURE, read_summary
from stream.common.atomic_file import write_atomic
from stream.common.text import on_one_line
from stream.outputs.manifest import NOTICE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stream.batch.store import ResultStore
    from stream.batch.summary import Row

PER_PAGE = 500
"""Recordings; what is more goes on further pages."""
LINKS = {
    "overlay.mp4": "film",
    "overlay.png": "picture",
    "trend.png": "plot",
    "measurements.csv": "table",
    "run.json": "how it was made",
}
_WIDTH, _HEIGHT = 300, 72
"""Of a course, in its own units: it is drawn as wide as there is room."""
_MARKS_DEG = (90, 120, 150)
_STYLE = Path(__file__).with_name("page.css")
_POLICY = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'"


def write_page(store: ResultStore, rows: Sequence[Row]) -> None:
    """Writes the page, and those that follow it.

    Raises:
        OutputError: it cannot be written.
    """
    failed_first = sorted(rows, key=lambda row: row["state"] == COMPLETE)
    parts = [failed_first[start : start + PER_PAGE] for start in range(0, len(rows), PER_PAGE)] or [[]]
    for number, part in enumerate(parts):
        write_atomic(store.folder / _file(number), _page(store, rows, part, number, len(parts)).encode())


def _file(number: int) -> str:
    return f"index-{number + 1}.html" if number else "index.html"


def _page(store: ResultStore, rows: Sequence[Row], part: Sequence[Row], number: int, count: int) -> str:
    complete = sum(row["state"] == COMPLETE for row in rows)
    measured = sum(bool(row.get("measured")) for row in rows)
    frames = sum(row.get("frames") or 0 for row in rows)
    title = f"{len(rows)} recording{'' if len(rows) == 1 else 's'}"
    pages = "".join(
        f'<a href="{_file(other)}"{" aria-current=page" if other == number else ""}>{other + 1}</a>'
        for other in range(count)
    )
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            f"<title>Partum: {title}</title><style>{_STYLE.read_text(encoding='utf-8')}</style></head>",
            f"<body><header><h1>{title}</h1>",
            f"<p>{complete} done, {len(rows) - complete} failed, {measured} with a measurement, {frames} frames."
            ' All numbers: <a href="summary.csv">summary.csv</a></p>',
            f'<p class="use">{NOTICE}</p>',
            f"<nav aria-label=Pages>{pages}</nav>" if count > 1 else "",
            '</header><main class="grid">',
            *(_card(store, row) for row in part),
            "</main></body></html>\n",
        ]
    )


def _card(store: ResultStore, row: Row) -> str:
    folder = store.folder / row["name"] if row.get("name") else None
    source = _shown(str(row["source"]))
    said = str(row.get("error") or "").removeprefix(f"{row['source']}: ")
    error = f'<p class="error">{_shown(said)}</p>' if said else ""
    picture, kind = _picture(folder, source), ""
    if row["state"] != COMPLETE:
        kind = ' class="failed"' if picture else ' class="failed bare"'
    elif not picture:
        picture = '<div class="blank">no picture</div>'
    return (
        f"<article{kind}>{picture}"
        f'<div class="facts"><h2>{source}</h2>{error}{_numbers(row)}</div>'
        f'<div class="wide">{_course(folder)}{_details(row)}{_links(folder)}</div></article>'
    )


def _picture(folder: Path | None, source: str) -> str:
    """The best frame; "" where there is none."""
    if folder is None or not (folder / PICTURE).is_file():
        return ""
    path = quote(f"{folder.name}/{PICTURE}")
    return f'<a href="{path}"><img src="{path}" loading="lazy" alt="Best frame of {source}, with outlines"></a>'


def _numbers(row: Row) -> str:
    if not row.get("frames"):
        return ""
    shown = [_number("AoP", row, "aop", "deg", "°")]
    unit = "mm" if row.get("hsd_min_mm") is not None else "px"
    shown.append(_number("HSD", row, "hsd_min", unit, f" {unit}"))
    share = 100 * (row.get("measured_share") or 0)
    counts = f"{row['measured']} of {row['frames']} frames measured ({share:.0f} %)"
    if row["frames"] == 1:
        counts = "measured" if row["measured"] else "not measured"
    return f'<div class="numbers">{"".join(shown)}</div><p>{counts}</p>'


def _number(label: str, row: Row, quantity: str, unit: str, sign: str) -> str:
    value = row.get(f"{quantity}_{unit}")
    if value is None:
        return f"<span>{label} <b>&ndash;</b></span>"
    shown = [f"{label} <b>{value:.1f}{sign}</b>"]
    for name, word in (("absolute_", "absolute"), ("", "repeatability")):
        low, high = row.get(f"{quantity}_{name}lo95_{unit}"), row.get(f"{quantity}_{name}hi95_{unit}")
        if low is not None and high is not None:
            shown.append(f'<span class="dim">{low:.1f} to {high:.1f}{sign} {word}</span>')
    return f"<span>{' '.join(shown)}</span>"


def _details(row: Row) -> str:
    said = {"Frames not measured": _reasons(row), "Note": row.get("note")}
    lines = "".join(f'<p class="dim">{label}: {_shown(text)}</p>' for label, text in said.items() if text)
    names = "".join(f"<li>{_shown(name)}</li>" for name in row.get("same_content") or ())
    return f'{lines}<p class="dim">Same content:</p><ul class="dim">{names}</ul>' if names else lines


def _reasons(row: Row) -> str:
    """`not_standard_plane 14; cut_by_sector 2` in words: `not standard plane (14), cut by sector (2)`."""
    pairs = [each.rpartition(" ") for each in str(row.get("reasons") or "").split("; ") if each]
    if row.get("frames") == 1:
        return ", ".join(reason.replace("_", " ") for reason, _, _ in pairs)
    return ", ".join(f"{reason.replace('_', ' ')} ({count})" for reason, _, count in pairs)


def _shown(text: str) -> str:
    return escape(on_one_line(text))


def _links(folder: Path | None) -> str:
    if folder is None:
        return ""
    links = "".join(
        f'<a href="{quote(f"{folder.name}/{file}")}">{word}</a>'
        for file, word in LINKS.items()
        if (folder / file).is_file()
    )
    return f'<div class="links">{links}</div>' if links else ""


def _course(folder: Path | None) -> str:
    """AoP over time as a line in its 95 % interval of repeatability; the axis is the same for all recordings."""
    facts = read_summary(folder) if folder else None
    points = (facts or {}).get("course") or []
    shown = [point for point in points if point[1] is not None]
    if len(points) < 2 or not shown:
        return ""
    first, last = points[0][0], points[-1][0]
    scale = _WIDTH / max(last - first, 1e-9)
    lines = bands = ""
    for run in _runs(points):
        at = [((time - first) * scale, _y(value), _y(low), _y(high)) for time, value, low, high in run]
        at = at if len(at) > 1 else [*at, (at[0][0] + 1.5, *at[0][1:])]  # one point alone is seen too
        lines += "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y, _, _ in at)
        outline = [(x, high) for x, _, _, high in at] + [(x, low) for x, _, low, _ in reversed(at)]
        bands += "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in outline) + "Z"
    values = [point[1] for point in shown]
    words = f"AoP over {last - first:.0f} s, from {min(values):.0f} to {max(values):.0f}°; band: repeatability"
    marks = [(mark, _y(mark)) for mark in _MARKS_DEG]
    return "".join(
        [
            '<figure><div class="axis">',
            *(f'<span style="top:{100 * y / _HEIGHT:.0f}%">{mark}°</span>' for mark, y in marks),
            f'</div><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{words}">',
            *(f'<path class="mark" d="M0 {y:.1f}H{_WIDTH}"/>' for _, y in marks),
            f'<path class="band" d="{bands}"/><path class="line" d="{lines}"/></svg>',
            f'<figcaption class="dim">{words}</figcaption></figure>',
        ]
    )


def _y(degrees: float) -> float:
    from stream.outputs.pictures.drawing import TREND_RANGE_DEG  # slow to import, and the page comes last

    low, high = TREND_RANGE_DEG
    return _HEIGHT - (min(max(degrees, low), high) - low) / (high - low) * _HEIGHT


def _runs(points: Sequence[Sequence[float | None]]) -> Iterator[list[Sequence[float]]]:
    """Unbroken stretches of the course."""
    run: list[Sequence[float]] = []
    for point in points:
        if point[1] is not None:
            run.append(point)  # type: ignore[arg-type]
        elif run:
            yield run
            run = []
    if run:
        yield run
