"""Result files, and the tables that documents make of them."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "benchmarks" / "results"
WEIGHTS = REPOSITORY / "engines" / "weights"
LINK = "{results}"
PROTOCOLS = ("robust", "iugc2024", "fhps2023")


def read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def results(name: str) -> Any:
    return read(name)["results"]


def quantisation_report() -> Any:
    """What `partum quantize` left beside the quantised model that ships."""
    (path,) = WEIGHTS.glob("*.int8.json")
    return json.loads(path.read_text())


def source(name: str) -> str:
    """A link to the result file that a number comes from."""
    return f"[`{name}.json`]({LINK}/{name}.json)"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = list(head)
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def paragraph(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)
