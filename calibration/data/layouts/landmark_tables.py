"""IUGC 2025 and the AoP part of FU_Biometry: pictures with a table of three landmarks each, and no masks.

IUGC 2025: a table beside the pictures with the columns `Filename`, `PS1`, `PS2` and `FH1` (or `AOP Tangency`), each
point as `(x, y)`. FU_Biometry: `AOP_train.csv` with `image_path`, below the set's folder, and `point_1_xy` to
`point_3_xy`, each as `[x, y]`. Points are in pixels of the picture.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from calibration.data.layouts.pictures import PICTURE_SUFFIXES, LabelledPicture, PictureSet
from calibration.data.layouts.tables import key_rows, read_table, read_text
from calibration.errors import DataSetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    Point = tuple[float, float]

LOOKED_FOR = "a table with Filename, PS1, PS2, FH1 (IUGC 2025) or image_path, point_1_xy ... (FU_Biometry)"
_COLUMNS = (
    ("Filename", "PS1", "PS2", "FH1"),
    ("Filename", "PS1", "PS2", "AOP Tangency"),
    ("image_path", "point_1_xy", "point_2_xy", "point_3_xy"),
)
"""Picture, one end of the PS, the other end, tangent point on the head."""
_FOLDERS = ("", "csv", "images", "image", "AOP")


def matches(path: Path) -> bool:
    """Whether a folder has this layout."""
    return _table_of(path) is not None


def open_landmark_table(path: Path) -> PictureSet:
    """Lists the pictures that the table names.

    Raises:
        DataSetError: a picture is missing or named twice, or a point is none.
    """
    found = _table_of(path)
    if found is None:
        raise DataSetError(f"{path}: no table of landmarks; looked for {LOOKED_FOR}")
    table, columns = found
    pictures = []
    for name, row in key_rows(read_table(table, columns), columns[0], origin=table).items():
        place = _picture_of(path, table, name)
        points = [_point(row[column], origin=f"{table}, {name}, {column}") for column in columns[1:]]
        left, right = sorted(points[:2])
        pictures.append(
            LabelledPicture(
                name=place.stem,
                group=place.stem,
                image_path=place,
                landmarks={"ps_left": left, "ps_right": right, "aop_tangency": points[2]},
            )
        )
    return PictureSet(path, "landmarks", pictures)


def published_layout(path: Path) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """The columns of a set's own table of landmarks, and the pictures' names in it by their stems.

    Of a set without such a table the columns are those of IUGC 2025, and there are no names.
    """
    found = _table_of(path) if path.is_dir() else None
    if found is None:
        return _COLUMNS[0], {}
    table, columns = found
    rows = key_rows(read_table(table, columns), columns[0], origin=table)
    return columns, {_picture_of(path, table, name).stem: name for name in rows}


def point_text(point: Point, columns: Sequence[str]) -> str:
    """A point as the table with these columns writes it: `(x, y)`, in FU_Biometry `[x, y]`."""
    text = f"{point[0]:.2f}, {point[1]:.2f}"
    return f"[{text}]" if columns == _COLUMNS[-1] else f"({text})"


def _table_of(path: Path) -> tuple[Path, tuple[str, ...]] | None:
    """The table of landmarks in a folder, and its columns."""
    for folder in (path / name for name in _FOLDERS):
        for table in sorted(folder.glob("*.csv")) if folder.is_dir() else ():
            try:
                header = [name.strip() for name in read_text(table).partition("\n")[0].strip().split(",")]
            except DataSetError:
                continue  # of another data set, or no text: whoever reads it says so
            for columns in _COLUMNS:
                if set(columns) <= set(header) and "point_4_xy" not in header:
                    return table, columns
    return None


def _picture_of(path: Path, table: Path, name: str) -> Path:
    """The file of a picture: as the table says below the set or beside the table, or in one of the usual folders."""
    parts = [part for part in re.split(r"[\\/]", name) if part not in ("", ".", "..")]
    if not parts:
        raise DataSetError(f"{table}: names a picture '{name}'; mend the table")
    places = [path.joinpath(*parts), table.parent.joinpath(*parts)]
    places += [path / folder / parts[-1] for folder in _FOLDERS]
    for place in places:
        if place.is_file() and place.suffix.lower() in PICTURE_SUFFIXES:
            return place
    raise DataSetError(f"{table}: there is no picture {name}; unpack the set again")


def _point(text: str, *, origin: str) -> Point:
    """Reads `(x, y)` or `[x, y]`.

    Raises:
        DataSetError: it is no point.
    """
    words = re.split(r"[,;\s]+", text.strip(" ()[]"))
    try:
        x, y = (float(word) for word in words)
    except ValueError:
        x = y = math.nan
    if not (math.isfinite(x) and math.isfinite(y)):
        raise DataSetError(f"{origin}: '{text}' is no point; expected (x, y)")
    return x, y


def aop_of(landmarks: Mapping[str, Point]) -> float | None:
    """AoP in degrees, [0, 180], by the three landmarks of a normal picture.

    Convention: the angle at the right end of the PS between its left end and the tangent point; None where one is
    missing or two coincide. Worked value: (0, 0), (1, 0) and (1, 1) give 90.
    """
    points = [landmarks.get(name) for name in ("ps_left", "ps_right", "aop_tangency")]
    if any(point is None for point in points):
        return None
    left, right, tangent = (point for point in points if point is not None)
    first, second = (math.atan2(end[1] - right[1], end[0] - right[0]) for end in (left, tangent))
    if right in (left, tangent):
        return None
    return math.degrees(abs((first - second + math.pi) % (2 * math.pi) - math.pi))
