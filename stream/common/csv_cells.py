"""Rows of CSV that every reader takes apart alike, and that no spreadsheet runs.

A spreadsheet takes text that begins with `=`, `+`, `-` or `@` for a formula, also out of quotes, and names of files and
notes of people may begin with anything. Such text gets an apostrophe before it, which spreadsheets know as the mark of
plain text. Numbers stay as they are.
"""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MARK = "'"
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001 - Japanese spreadsheets take the full-width ones too
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


def csv_line(cells: Iterable[object]) -> str:
    """One row with its line end; None is an empty cell, and text that looks like a formula is marked.

    Worked value: `("=1+2", "-3.5", None)` gives `'=1+2,-3.5,`.
    """
    text = io.StringIO()
    # Only what is in the line's end is quoted, and a name may hold a carriage return.
    csv.writer(text, lineterminator="\r\n").writerow(marked(cell) if isinstance(cell, str) else cell for cell in cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


def marked(text: str) -> str:
    """Text as it is written into a cell; `unmarked` gives back what it was, whatever that is."""
    return MARK + text if _is_taken_for_formula(text) else text


def unmarked(cell: str) -> str:
    """The text that `marked` was given."""
    text = cell.removeprefix(MARK)
    return text if text != cell and _is_taken_for_formula(text) else cell


def _is_taken_for_formula(text: str) -> bool:
    """Text that begins with marks of its own counts too: else one of them would be taken off again."""
    return text.lstrip(MARK).startswith(_FORMULA) and not _NUMBER.fullmatch(text)
