"""`summary.csv` and `summary.parquet`: a row a recording."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from stream.batch.summary import COLUMNS
from stream.common.atomic_file import write_atomic
from stream.common.text import to_printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stream.batch.summary import Row

CSV, PARQUET = "summary.csv", "summary.parquet"


def write_csv_summary(folder: Path, rows: Sequence[Row]) -> None:
    """Writes the table; a value that does not exist is an empty cell.

    Raises:
        OutputError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(COLUMNS), lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(folder / CSV, to_printable(text.getvalue()).encode())


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

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    columns = {
        name: pa.array([_cell(row.get(name)) for row in rows], type=kinds[kind]) for name, kind in COLUMNS.items()
    }
    return pa.table(columns)


def _cell(value: object) -> object:
    return to_printable(value) if isinstance(value, str) else value
