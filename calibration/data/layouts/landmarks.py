"""`landmark.json` of IUGC 2024: the points from which the challenge's reference measurements were made."""

from __future__ import annotations

import json
import math
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from calibration.data.layouts.tables import read_text
from calibration.errors import DataSetError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    Point = tuple[float, float]


def read_landmarks(path: Path) -> dict[str, Mapping[str, Point]]:
    """Reads the landmarks of each mask, by the stem of its file name.

    Convention: published points are [y, x], as strings; they come back as (x, y), in pixels of the frame. Names
    are `ps_left` and `ps_right`, by x, for the two ends of the symphysis, and `hsd_point` and `aop_tangency` on
    the head's outline. Worked value: "ps_points": [["69", "198"], ["84", "299"]] is ps_left (198, 69) and
    ps_right (299, 84).

    Returns:
        {} where the file is empty or not there.

    Raises:
        DataSetError: it is no JSON object of such points.
    """
    if not path.exists():
        return {}
    text = read_text(path).strip()
    try:
        published = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise DataSetError(f"{path}: not sound JSON ({error}); copy it again") from error
    if not isinstance(published, dict):
        raise DataSetError(f"{path}: holds a {type(published).__name__}; expected one entry for each mask")
    return {PurePath(name).stem: _points(entry, origin=f"{path}, {name}") for name, entry in published.items()}


def _points(entry: Any, *, origin: str) -> dict[str, Point]:
    """The points of one mask."""
    try:
        ends = sorted(_point(pair) for pair in entry["ps_points"])
        left, right = ends
        return {
            "ps_left": left,
            "ps_right": right,
            "hsd_point": _point(entry["hsd_point"]),
            "aop_tangency": _point(entry["aop_tangency"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DataSetError(
            f"{origin}: expected ps_points with two points, hsd_point and aop_tangency, each [y, x]"
        ) from error


def _point(pair: Any) -> Point:
    y, x = (float(value) for value in pair)
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError("not finite")
    return x, y
