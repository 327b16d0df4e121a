"""`measurements.jsonl` and `measurements.csv`: one line per frame."""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from engines.closing import close_after, close_all
from stream.common.atomic_file import write_error
from stream.common.csv_cells import csv_line
from stream.pipeline.record_fields import flatten, record_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from stream.pipeline.record import Measurement


class LineWriter:
    """A text file that only ever holds whole lines: one that could not be written whole is taken back.

    Args:
        path: of the file.
        append: lines are added behind those that are there; a last one that was cut off is taken back.
    """

    def __init__(self, path: Path, *, append: bool = False) -> None:
        self._path = path
        try:
            self._whole_bytes = path.read_bytes().rfind(b"\n") + 1 if append and path.exists() else 0
            self._file = path.open("r+b" if append and path.exists() else "wb", buffering=0)
            self._file.truncate(self._whole_bytes)
            self._file.seek(self._whole_bytes)
        except OSError as error:
            raise write_error(path, error) from error

    def add(self, text: str) -> None:
        """Adds a line.

        Raises:
            OutputError: it cannot be written; the file then ends with the line before.
        """
        data = text.encode()
        try:
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._whole_bytes)
                self._file.seek(self._whole_bytes)
            raise write_error(self._path, error) from error
        self._whole_bytes += len(data)

    def close(self) -> None:
        """Closing twice is harmless.

        Raises:
            OutputError: a disk on the network says only now that it is full.
        """
        try:
            self._file.close()
        except OSError as error:
            raise write_error(self._path, error) from error


class JsonLinesTable:
    """`measurements.jsonl`: a whole line reaches the file system before the next frame is written."""

    def __init__(self, path: Path) -> None:
        self._lines = LineWriter(path)

    def write(self, measurement: Measurement) -> None:
        self.add(record_of(measurement))

    def add(self, record: Mapping[str, object]) -> None:
        """Writes a record that was made already."""
        self._lines.add(json.dumps(record, allow_nan=False) + "\n")

    def close(self) -> None:
        self._lines.close()


class CsvTable:
    """`measurements.csv`: the same fields, points and spacing spread over columns, empty where null."""

    def __init__(self, path: Path) -> None:
        self._lines = LineWriter(path)
        self._has_header = False

    def write(self, measurement: Measurement) -> None:
        self.add(record_of(measurement))

    def add(self, record: Mapping[str, object]) -> None:
        """Writes a record that was made already."""
        row = flatten(record)
        header = "" if self._has_header else csv_line(row)
        self._has_header = True
        self._lines.add(header + csv_line(row.values()))

    def close(self) -> None:
        self._lines.close()


class RecordTables:
    """`measurements.jsonl` and `measurements.csv` in a folder, of one record for each frame."""

    def __init__(self, folder: Path) -> None:
        self._lines = JsonLinesTable(folder / "measurements.jsonl")
        try:
            self._columns = CsvTable(folder / "measurements.csv")
        except BaseException as error:
            close_after(error, self._lines.close)
            raise

    def write(self, measurement: Measurement) -> None:
        record = record_of(measurement)
        self._lines.add(record)
        self._columns.add(record)

    def close(self) -> None:
        close_all(self._lines.close, self._columns.close)
