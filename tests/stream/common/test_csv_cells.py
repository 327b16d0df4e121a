"""Cells of CSV: no text runs as a formula, and every text is read back as it was."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from calibration.data.layouts.tables import read_table
from stream.common.csv_cells import csv_line, marked, unmarked

TEXTS = [
    *("=1+2", "+1 loop.mp4", "-x", "@list", "\ttab", "\rreturn", "＝full width", "=HYPERLINK('x')"),  # noqa: RUF001
    *("'=1", "''=1", "'", "''", "'quoted'", "", " =1", "loop.mp4", "a;=1", 'a"b,c', "a\r\nb", "a\rb", "a\nb"),
    *("-5", "+1.5e-3", "-.5", "5", "'-5", "-5-", "-1_000", "-inf"),
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_read_back_as_it_was_and_begins_no_formula(text: str) -> None:
    line = csv_line([text, None, -1.5, text])
    ((first, empty, number, last),) = csv.reader(io.StringIO(line, newline=""))
    assert (unmarked(first), unmarked(last)) == (text, text)
    assert (empty, number) == ("", "-1.5")
    assert line.endswith("\n")
    assert not line.endswith("\r\n")
    if first.startswith(("=", "+", "-", "@", "\t", "\r", "＝")):  # noqa: RUF001
        float(first)  # a number is what it is


def test_only_what_needs_it_is_marked() -> None:
    assert marked("=1") == "'=1"
    assert marked("'=1") == "''=1"
    for text in ("loop.mp4", "-5", "'quoted'", "", " x"):
        assert marked(text) == text


def test_what_reads_tables_of_data_sets_takes_the_mark_off(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(csv_line(("name", "label")) + csv_line(("=1.png", "1")) + csv_line(("'=2.png", "-1")))
    assert read_table(table, ["name"]) == [{"name": "=1.png", "label": "1"}, {"name": "'=2.png", "label": "-1"}]
