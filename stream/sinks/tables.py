"""One line per frame: JSON Lines with every field, and the same flattened to CSV."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

from stream.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import TextIO

    from stream.measurement import Measurement


class JsonLines:
    """`measurements.jsonl`: a whole line reaches the file system before the next frame is written."""

    def __init__(self, path: Path) -> None:
        self._file = _open(path)

    def write(self, measurement: Measurement) -> None:
        try:
            self._file.write(json.dumps(measurement.record(), allow_nan=False) + "\n")
        except OSError as error:
            raise _unwritable(self._file.name, error) from error

    def close(self) -> None:
        self._file.close()


class Csv:
    """`measurements.csv`: the same fields, points and spacing spread over columns, empty where null."""

    def __init__(self, path: Path) -> None:
        self._file = _open(path)
        self._writer: csv.DictWriter[str] | None = None

    def write(self, measurement: Measurement) -> None:
        row = flatten(measurement.record())
        try:
            if self._writer is None:
                self._writer = csv.DictWriter(self._file, list(row), lineterminator="\n")
                self._writer.writeheader()
            self._writer.writerow(row)
        except OSError as error:
            raise _unwritable(self._file.name, error) from error

    def close(self) -> None:
        self._file.close()


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
        else:
            flat[name] = value
    return flat


def _open(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8", newline="", buffering=1)
    except OSError as error:
        raise _unwritable(str(path), error) from error


def _unwritable(path: str, error: OSError) -> OutputError:
    return OutputError(f"{path}: cannot be written ({error.strerror}); free space or choose another --out")
