"""`manifest.csv`: group and scanner of pictures whose data set does not say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from calibration.data.layouts.tables import key_rows, read_table
from calibration.errors import DataSetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_FILE = "manifest.csv"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a picture comes from; empty where unknown.

    Attributes:
        group: of pictures that are alike.
        look: kind of scanner or picture.
    """

    group: str = ""
    look: str = ""


class PictureOrigins:
    """The origins of pictures by name; of none where there is no table."""

    def __init__(self, origins: Mapping[str, Origin]) -> None:
        self._origins = origins

    def look_of(self, name: str) -> str:
        return self._origins.get(name, Origin()).look

    def group_of(self, name: str) -> str | None:
        """The group of a picture; None where the table does not name one."""
        return self._origins.get(name, Origin()).group or None


def read_manifest(folder: Path) -> PictureOrigins:
    """Reads `manifest.csv` of a folder, or of the one above it.

    Columns: `id` or `name`; if wanted `group` or `neardup_group`, and `look` or `device_look`. Others are
    passed over.

    Raises:
        DataSetError: the table cannot be read, has no column of names, or names a picture twice.
    """
    for path in (folder / _FILE, folder.absolute().parent / _FILE):
        if path.is_file():
            return _read(path)
    return PictureOrigins({})


def _read(path: Path) -> PictureOrigins:
    rows = read_table(path, ())
    name = _column(rows, ("id", "name"))
    if rows and name is None:
        raise DataSetError(f"{path}: lacks a column of names; call it id or name")
    group, look = _column(rows, ("group", "neardup_group")), _column(rows, ("look", "device_look"))
    named = key_rows(rows, name, origin=path) if name else {}
    return PictureOrigins(
        {key: Origin(row[group] if group else "", row[look] if look else "") for key, row in named.items()}
    )


def _column(rows: Sequence[Mapping[str, str]], names: Sequence[str]) -> str | None:
    return next((name for name in names if rows and name in rows[0]), None)
