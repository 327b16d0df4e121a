"""A report as one self-contained HTML page, laid out for paper, desktop and phone."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream.report.section import run_section
from stream.report.values import moment
from stream.report.wording import PROTOCOL_TEXTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from stream.report.content import RunContent

PAGE = Path(__file__).parent / "page"


def render_report(runs: Sequence[RunContent], *, made: datetime, day: Mapping[str, Any] | None = None) -> str:
    """The page. Everything that comes from a run is escaped in it.

    Args:
        runs: in the order they are shown.
        made: now, with its time zone; times of day are told in that.
        day: what is said of several together; None for one.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html").render(
        title=runs[0].name if len(runs) == 1 else f"{len(runs)} recordings",
        style=(PAGE / "report.css").read_text(encoding="utf-8"),
        version=metadata.version("partum"),
        made=moment(made),
        runs=[run_section(run, made=made) for run in runs],
        day=day,
        protocols=[PROTOCOL_TEXTS[name] for name in dict.fromkeys(run.run.protocol for run in runs)],
    )
