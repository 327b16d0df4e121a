"""Landmark scores of IUGC 2025 and FU_Biometry: mean radial error, angle error."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from calibration.data.layouts.landmark_tables import aop_of, point_text
from stream.common.csv_cells import csv_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from stream.frames.regions import Point
    from stream.measurement.biometry import Biometry

POINTS = ("ps_left", "ps_right", "aop_tangency")


def found_landmarks(biometry: Biometry) -> dict[str, Point]:
    """The three points of a measurement by their published names; {} where nothing was measured."""
    points = biometry.landmarks
    if points is None:
        return {}
    left, right = sorted((points.ps_superior, points.ps_inferior))
    return {"ps_left": left, "ps_right": right, "aop_tangency": points.tangent}


def landmark_table(
    measurements: Iterable[tuple[str, Biometry]], columns: Sequence[str], names: Mapping[str, str]
) -> bytes:
    """A benchmark's table of found landmarks, CSV; a frame in which none were found has empty cells.

    Args:
        measurements: each frame's name and measurement.
        columns: picture, left and right end of the PS, tangent point, as the benchmark calls them.
        names: of the pictures by the frames' names, where the benchmark's differ.
    """
    lines = [csv_line(columns)]
    for name, biometry in measurements:
        found = found_landmarks(biometry)
        points = (point_text(found[each], columns) if found else "" for each in POINTS)
        lines.append(csv_line([names.get(name, name), *points]))
    return "".join(lines).encode("utf-8")


def radial_errors(found: Mapping[str, Point], drawn: Mapping[str, Point]) -> dict[str, float]:
    """Distances in pixels between found and drawn points, of those that both have."""
    return {name: math.dist(found[name], drawn[name]) for name in POINTS if name in found and name in drawn}


def angle_error(found: Biometry, drawn: Mapping[str, Point]) -> float | None:
    """Measured AoP minus that of the drawn points, degrees; None where either is missing."""
    truth = aop_of(drawn)
    return None if truth is None or found.aop_deg is None else found.aop_deg - truth
