"""One line per frame: JSON Lines with every field, and the same flattened to CSV."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from stream.common.atomic_file import unwritable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from stream.pipeline.record import Measurement


class WholeLines:
    """A text file that only ever holds whole lines: one that could not be written whole is taken back."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._whole_bytes = 0
        try:
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise unwritable(path, error) from error

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
            raise unwritable(self._path, error) from error
        self._whole_bytes += len(data)

    def close(self) -> None:
        """Closing twice is harmless.

        Raises:
            OutputError: a disk on the network says only now that it is full.
        """
        try:
            self._file.close()
        except OSError as error:
            raise unwritable(self._path, error) from error


class JsonLines:
    """`measurements.jsonl`: a whole line reaches the file system before the next frame is written."""

    def __init__(self, path: Path) -> None:
        self._lines = WholeLines(path)

    def write(self, measurement: Measurement) -> None:
        self._lines.add(json.dumps(measurement.record(), allow_nan=False) + "\n")

    def close(self) -> None:
        self._lines.close()


class Csv:
    """`measurements.csv`: the same fields, points and spacing spread over columns, empty where null."""

    def __init__(self, path: Path) -> None:
        self._lines = WholeLines(path)
        self._has_header = False

    def write(self, measurement: Measurement) -> None:
        row = flatten(measurement.record())
        text = io.StringIO()
        writer = csv.DictWriter(text, list(row), lineterminator="\n")
        if not self._has_header:
            writer.writeheader()
            self._has_header = True
        writer.writerow(row)
        self._lines.add(text.getvalue())

    def close(self) -> None:
        self._lines.close()


LANDMARKS = ("ps_superior", "ps_inferior", "tangent", "hsd_min_foot", "hsd_perp_foot")


def flatten(record: Mapping[str, object]) -> dict[str, object]:
    """Spreads the two nested fields of a record over columns, the same ones for every record."""
    flat: dict[str, object] = {}
    for name, value in record.items():
        if name == "landmarks_px":
            points = value if isinstance(value, dict) else {}
            for landmark in LANDMARKS:
                x, y = points.get(landmark) or (None, None)
                flat |= {f"{landmark}_x_px": x, f"{landmark}_y_px": y}
        elif name == "spacing_mm":
            x, y = value if isinstance(value, list) else (None, None)
            flat |= {"spacing_x_mm": x, "spacing_y_mm": y}
        elif name == "origin_px":
            flat |= dict(zip(("origin_x_px", "origin_y_px"), value if isinstance(value, list) else (), strict=True))
        else:
            flat[name] = value
    return flat
