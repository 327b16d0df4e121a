"""CSV tables as the public sets have them: UTF-8 or GB18030, with lists of frame numbers in their cells."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING

from calibration.errors import DataSetError
from stream.common.csv_cells import unmarked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_EMPTY = frozenset({"", "none", "null", "nan", "[]"})


def read_text(path: Path) -> str:
    """Reads a text that is UTF-8, with or without a mark, or else GB18030.

    Raises:
        DataSetError: it is not there, cannot be opened, or is in neither encoding.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataSetError(f"{path}: missing; unpack the data set again") from error
    except OSError as error:
        raise DataSetError(f"{path}: cannot be opened ({error.strerror})") from error
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataSetError(f"{path}: neither UTF-8 nor GB18030 text; copy or save it again")


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Reads a CSV file: one dictionary a row, blanks around names and values taken off, empty rows left out.

    Args:
        path: of the file.
        columns: that it must have.

    Raises:
        DataSetError: it cannot be read, lacks a column, or a row has more cells than the header.
    """
    rows = csv.reader(read_text(path).splitlines())
    header = [name.strip() for name in next(rows, [])]
    missing = [column for column in columns if column not in header]
    if missing:
        found = ", ".join(header) or "nothing"
        raise DataSetError(f"{path}: lacks the column {', '.join(missing)}; its header holds {found}")
    table = []
    for row in rows:
        cells = [unmarked(cell.strip()) for cell in row]
        if not any(cells):
            continue
        if len(cells) > len(header):
            raise DataSetError(
                f"{path}: line {rows.line_num} has {len(cells)} cells, its header {len(header)};"
                " put lists of numbers in quotes"
            )
        table.append(dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True)))
    return table


def key_rows(rows: Sequence[Mapping[str, str]], column: str, *, origin: Path) -> dict[str, Mapping[str, str]]:
    """The rows by the value of one column.

    Raises:
        DataSetError: two rows have the same value.
    """
    table: dict[str, Mapping[str, str]] = {}
    for row in rows:
        if row[column] in table:
            raise DataSetError(f"{origin}: names {column} {row[column]} twice; keep one row for each")
        table[row[column]] = row
    return table


def whole_number(text: str, *, origin: str) -> int:
    """Reads a whole number, also as a spreadsheet may write it (`9.0`).

    Raises:
        DataSetError: it is none, or negative.
    """
    match = re.fullmatch(r"(\d+)(\.0*)?", text.strip())
    if match is None:
        raise DataSetError(f"{origin}: '{text}' is not a whole number; mend the table")
    return int(match[1])


def frame_numbers(text: str, *, frame_count: int, origin: str) -> frozenset[int]:
    """Reads a cell with frame numbers, counted from 0 and in any order.

    Convention: `ALL` is every frame; `NONE`, `null`, `nan`, `[]` and an empty cell are no frame; else numbers
    with commas, semicolons or blanks between them, in brackets or not. Worked value: `[0, 19, 9]` is {0, 9, 19}.

    Args:
        text: the cell.
        frame_count: of the video.
        origin: table, row and column, for messages.

    Raises:
        DataSetError: something in it is no number, or a frame lies behind the video's end.
    """
    cell = text.strip()
    if cell.lower() in _EMPTY:
        return frozenset()
    if cell.lower() == "all":
        return frozenset(range(frame_count))
    words = re.split(r"[,;\s]+", cell.strip("[]() "))
    numbers = frozenset(whole_number(word, origin=origin) for word in words)
    if max(numbers) >= frame_count:
        raise DataSetError(
            f"{origin}: names frame {max(numbers)}, but the video has {frame_count} frames, counted from 0"
        )
    return numbers
