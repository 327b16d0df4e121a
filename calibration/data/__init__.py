"""Public data sets as they lie on disk after unpacking, read frame by frame.

`open_dataset` tells the layouts apart; `calibration.data.base` says what every data set gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.data.layouts import folder, iugc2024, iugc2024_kit, jnu_ifm, landmark_tables, mha_pairs, recordings
from calibration.errors import DataSetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from calibration.data.base import DataSet

__all__ = ["LAYOUTS", "open_dataset"]

_MAX_NESTING = 3
_NOT_DATA = "__MACOSX"


@dataclass(frozen=True, slots=True)
class _Layout:
    name: str
    looked_for: str
    matches: Callable[[Path], bool]
    open: Callable[[Path], DataSet]


_KNOWN = (
    _Layout("iugc2024", iugc2024.LOOKED_FOR, iugc2024.matches, iugc2024.open_iugc2024),
    _Layout("iugc2024", iugc2024_kit.LOOKED_FOR, iugc2024_kit.matches, iugc2024_kit.open_iugc2024_kit),
    _Layout("mha_pairs", mha_pairs.LOOKED_FOR, mha_pairs.matches, mha_pairs.open_mha_pairs),
    _Layout("jnu_ifm", jnu_ifm.LOOKED_FOR, jnu_ifm.matches, jnu_ifm.open_jnu_ifm),
    _Layout("landmarks", landmark_tables.LOOKED_FOR, landmark_tables.matches, landmark_tables.open_landmark_table),
    _Layout("recordings", recordings.LOOKED_FOR, recordings.matches, recordings.open_recordings),
    _Layout("folder", folder.LOOKED_FOR, folder.matches, folder.open_folder),
)
"""In the order in which they are tried: recordings come before loose pictures, which may be stills of them."""

LAYOUTS = tuple(dict.fromkeys(layout.name for layout in _KNOWN))
"""The names of the layouts."""


def open_dataset(path: Path | str, layout: str | None = None) -> DataSet:
    """Opens a data set as published: tables are read and names checked, pixels are not touched.

    Unpacking often leaves the data in a folder within a folder of the same name: where a folder is of no layout
    and holds one other folder, that one is looked into, three deep.

    Args:
        path: the folder.
        layout: one of `LAYOUTS`; found out where it is None.

    Raises:
        DataSetError: there is no such folder, it is of no layout known here, or its tables, names and files
            do not belong together.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataSetError(f"{root}: no such folder; give the one that holds the data set")
    known = [each for each in _KNOWN if layout in (None, each.name)]
    if not known:
        raise DataSetError(f"layout '{layout}' is not known; choose one of {', '.join(LAYOUTS)}")
    try:
        for place in _nested(root):
            for each in known:
                if each.matches(place):
                    return each.open(place)
    except OSError as error:
        raise DataSetError(f"{error.filename or root}: cannot be read ({error.strerror})") from error
    looked_for = "; ".join(each.looked_for for each in known)
    raise DataSetError(f"{root}: no data set that can be read; looked for {looked_for}")


def _nested(root: Path) -> Iterator[Path]:
    place = root
    for _ in range(_MAX_NESTING + 1):
        yield place
        inner = [path for path in place.iterdir() if path.is_dir() and path.name[0] != "." and path.name != _NOT_DATA]
        if len(inner) != 1:
            return
        place = inner[0]
