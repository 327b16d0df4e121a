"""`summary.csv` and `summary.parquet`: a row a recording."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from stream.batch.summary import COLUMNS
from stream.common.atomic_file import write_atomic
from stream.common.csv_cells import csv_line
from stream.common.text import to_printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stream.batch.summary import Row

CSV, PARQUET = "summary.csv", "summary.parquet"


def write_csv_summary(folder: Path, rows: Sequence[Row]) -> None:
    """Writes the table; a value that does not exist is an empty cell, and several names are a list in JSON.

    Raises:
        OutputError: it cannot be written.
    """
    lines = [csv_line(COLUMNS), *(csv_line(_csv_cell(row.get(name)) for name in COLUMNS) for row in rows)]
    write_atomic(folder / CSV, "".join(lines).encode())


def write_parquet(folder: Path, rows: Sequence[Row]) -> str:
    """Writes the same with types; a value that does not exist is null.

    Returns:
        Why it was not written, where its package is not installed; else "".

    Raises:
        OutputError: it cannot be written.
    """
    try:
        import pyarrow.parquet as pq
    except ImportError:
        return f"{PARQUET} is not written: it needs pyarrow; pip install 'partum[parquet]'"
    written = io.BytesIO()
    pq.write_table(arrow_table(rows), written)
    write_atomic(folder / PARQUET, written.getvalue())
    return ""


def arrow_table(rows: Sequence[Row]) -> Any:
    """The rows as a `pyarrow.Table` with types, of one schema whatever is in them.

    Raises:
        ImportError: pyarrow is not installed.
    """
    import pyarrow as pa

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), list: pa.list_(pa.string())}
    columns = {
        name: pa.array([_cell(row.get(name)) for row in rows], type=kinds[kind]) for name, kind in COLUMNS.items()
    }
    return pa.table(columns)


def _cell(value: object) -> object:
    if isinstance(value, list):
        return [to_printable(each) for each in value] or None
    return to_printable(value) if isinstance(value, str) else value


def _csv_cell(value: object) -> object:
    cell = _cell(value)
    return json.dumps(cell, ensure_ascii=False) if isinstance(cell, list) else cell
