"""Reads the depth ruler beside the sector: tick pitch and millimetres per tick.

Convention: ticks are small bright marks in one column (or, for the ruler of width, one row) at y = y0 + k pitch; some
may be missing. The pitch is a least-squares line through their centres of brightness. What a step stands for is told
by how deep the picture would be: of 1, 5, 10 and 50 mm the one that gives a depth of `DEPTH_MM`; longer ticks
every fifth or tenth step stand for 10, 50 or 100 mm and settle what depth leaves open. Worked value: a sector 743 px
high with ticks every 38.7 px is 19.2 steps deep: 96 mm or 192 mm, so not settled; with every fifth tick longer a step
of 5 mm would make those 25 mm, so it is 10 mm, and the spacing 0.2584 mm a pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.frames.frame import PixelSpacing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

STEPS_MM = (1.0, 5.0, 10.0, 50.0)
LONG_STEPS_MM = (10.0, 50.0, 100.0)
DEPTH_MM = (90.0, 250.0)
"""Depths at which the pelvis is scanned through the perineum."""
LEAST_TICKS = 4
AROUND, BEYOND, SPAN = 0.25, 0.06, 0.4
"""A ruler stands within this share of the sector's size of its side, reaches this far beyond it, and is so long."""
LEAST_PITCH_PX = 5.0
ASPECTS = (0.6, 1.6)
"""Two rulers whose pitches differ by more than this do not measure the same picture."""
TICK_LEVELS = 40
"""A tick is so much brighter than the ground beside it."""
MOST_STEPS = 48
MOST_HIGH_PX, MOST_HIGH = 4, 0.006
"""A tick is at most so high, in pixels and as a share of the picture: letters are higher."""
MOST_RESIDUAL_PX = 0.6
LEAST_FILLED = 0.35
"""Share of the ruler's places that must hold a tick: a picture that was made smaller has lost some."""
LONGER = 1.4
"""A long tick is at least this many times as long as most."""
LEAST_CONFIDENCE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticks:
    """A row of ticks along one axis.

    Attributes:
        pitch_px: from one to the next.
        first_px: the place of the first.
        count: how many were found.
        residual_px: standard deviation of their places about the line.
        across_px: where the row lies on the other axis, from and to.
        long_every: every n-th is longer; None where all are alike.
        length_px: from the first to the last.
    """

    pitch_px: float
    first_px: float
    count: int
    residual_px: float
    across_px: tuple[int, int]
    long_every: int | None
    length_px: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruler:
    """What was read beside a sector.

    Attributes:
        spacing: mm per pixel.
        confidence: 0 to 1: how well the ticks fit, and how surely their step is known.
        step_mm: from tick to tick.
        depth: the ticks of the depth axis.
        width: those of the other axis, where there are any.
    """

    spacing: PixelSpacing
    confidence: float
    step_mm: float
    depth: Ticks
    width: Ticks | None


def read_ruler(
    still: NDArray[np.uint8],
    sector: NDArray[np.uint8],
    *,
    pixel_aspect: float | None = 1.0,
    step_mm: float | None = None,
) -> Ruler | None:
    """The scale by the ruler; None where there is none, or where its step is not settled.

    Args:
        still: (H, W) uint8, the whole screen, at best the least that each pixel was in several pictures.
        sector: (H, W) uint8, 255 where the ultrasound is.
        pixel_aspect: width of a pixel over its height, where no ruler of width says it; None is not known.
        step_mm: from tick to tick, where it is known.
    """
    beside = np.asarray(cv2.bitwise_and(still, still, mask=cv2.bitwise_not(sector)), np.uint8)
    left, top, box_width, box_height = cv2.boundingRect(sector)
    depth = find_ticks(
        _around(beside, cv2.boundingRect(sector), aside=AROUND, along=BEYOND), least_px=SPAN * box_height
    )
    if depth is None:
        return None
    turned = (top, left, box_height, box_width)
    width = find_ticks(_around(beside.T, turned, aside=AROUND, along=BEYOND), least_px=SPAN * box_width)
    found = settled_step(box_height / depth.pitch_px, depth.long_every)
    step, sureness = (step_mm, 1.0) if step_mm else found or (None, 0.0)
    if step is None:
        return None
    y_mm = step / depth.pitch_px
    x_mm = y_mm * pixel_aspect if pixel_aspect is not None else None
    if width is not None:
        if not ASPECTS[0] < width.pitch_px / depth.pitch_px < ASPECTS[1]:
            return None
        x_mm = step / width.pitch_px
    if x_mm is None:
        return None
    fit = 1.0 - min(1.0, depth.residual_px / MOST_RESIDUAL_PX) * 0.5
    confidence = sureness * fit * min(1.0, depth.count / 6)
    if confidence < LEAST_CONFIDENCE:
        return None
    spacing = PixelSpacing(x_mm=x_mm, y_mm=y_mm)
    return Ruler(spacing=spacing, confidence=round(confidence, 3), step_mm=step, depth=depth, width=width)


def _around(beside: NDArray[np.uint8], box: Sequence[int], *, aside: float, along: float) -> NDArray[np.uint8]:
    """The picture with all black that is further from the sector's box than a ruler down its side would be."""
    left, top, width, height = box
    columns = slice(max(0, round(left - aside * width)), round(left + (1 + aside) * width))
    rows = slice(max(0, round(top - along * height)), round(top + (1 + along) * height))
    near = np.zeros(beside.shape, np.uint8)
    near[rows, columns] = beside[rows, columns]
    return near


def settled_step(steps_deep: float, long_every: int | None) -> tuple[float, float] | None:
    """The step in millimetres and how sure it is, 0 to 1; None where several would do.

    Args:
        steps_deep: height of the sector in steps.
        long_every: every n-th tick is longer.
    """
    fitting = [step for step in STEPS_MM if DEPTH_MM[0] <= steps_deep * step <= DEPTH_MM[1]]
    if long_every is not None:
        marked = [step for step in fitting if any(math.isclose(step * long_every, each) for each in LONG_STEPS_MM)]
        if len(marked) == 1:
            return marked[0], 1.0
    return (fitting[0], 0.9) if len(fitting) == 1 else None


def find_ticks(beside: NDArray[np.uint8], *, least_px: float = 0.0) -> Ticks | None:
    """The best row of ticks down the picture; None where there is none.

    Args:
        beside: (H, W) uint8, black where the sector is. Transpose it to look for a ruler of width.
        least_px: from the first tick to the last.
    """
    height, width = beside.shape
    most_high = max(MOST_HIGH_PX, round(MOST_HIGH * height))
    ground = cv2.morphologyEx(beside, cv2.MORPH_OPEN, np.ones((2 * most_high + 3, 1), np.uint8))
    marks = np.asarray((cv2.subtract(beside, ground) > TICK_LEVELS).astype(np.uint8))
    count, _, facts, _ = cv2.connectedComponentsWithStats(marks, connectivity=8)
    ticks = [
        (int(left), int(top), int(wide), int(high))
        for left, top, wide, high, area in facts[1:count]
        if high <= most_high and wide <= max(4, width // 24) and area >= 0.6 * wide * high
    ]
    rows = [row for side in (0, 1) for row in _aligned(ticks, side)]
    fitted = [found for row in rows if (found := _fit(beside, row)) is not None]
    long_enough = [found for found in fitted if found.length_px >= least_px]
    return max(long_enough, key=lambda found: (found.count, -found.residual_px), default=None)


Tick = tuple[int, int, int, int]
"""Left, top, width, height."""


def _aligned(ticks: Sequence[Tick], side: int) -> list[list[Tick]]:
    """Ticks that begin (side 0) or end (side 1) in one column, in rows of at least four."""
    columns: dict[int, list[Tick]] = {}
    for tick in ticks:
        columns.setdefault(tick[0] + side * (tick[2] - 1), []).append(tick)
    rows = []
    for column, here in columns.items():
        row = sorted(here + columns.get(column + 1, []), key=lambda tick: tick[1])
        if len(row) >= LEAST_TICKS:
            rows.append(row)
    return rows


def _fit(beside: NDArray[np.uint8], row: Sequence[Tick]) -> Ticks | None:
    """The pitch on whose places the most ticks lie, and most places are taken; the greatest of equals."""
    places = np.array([_centre(beside, tick) for tick in row])
    best: Ticks | None = None
    for pitch in _candidates(places):
        found = _on_places(places, pitch)
        if found is None or (best is not None and found[0].sum() <= best.count):
            continue
        kept, numbers = found
        slope, first = np.polyfit(numbers, places[kept], 1)
        residual = float(np.std(places[kept] - (first + slope * numbers)))
        if residual > MOST_RESIDUAL_PX:
            continue
        ticks = [tick for tick, is_kept in zip(row, kept, strict=True) if is_kept]
        best = Ticks(
            pitch_px=float(slope),
            first_px=float(first),
            count=len(ticks),
            residual_px=residual,
            across_px=(min(tick[0] for tick in ticks), max(tick[0] + tick[2] for tick in ticks)),
            long_every=_long_every(ticks, numbers),
            length_px=float(places[kept][-1] - places[kept][0]),
        )
    return best


def _candidates(places: NDArray[np.float64]) -> list[float]:
    """Pitches worth a try, the greatest first: neighbours' distances, and the ruler's length in so many steps.

    A long distance gives the pitch the more exactly the more steps it has, which two neighbours do not.
    """
    long = {last - first for first in places[:3] for last in places[-3:] if last > first}
    near = {step / divisor for step in np.diff(places) for divisor in (1, 2, 3, 4, 5)}
    by_length = {length / steps for length in long for steps in range(LEAST_TICKS - 1, MOST_STEPS)}
    return sorted({round(float(pitch), 2) for pitch in near | by_length if pitch >= LEAST_PITCH_PX}, reverse=True)


def _on_places(places: NDArray[np.float64], pitch: float) -> tuple[NDArray[np.bool_], NDArray[np.float64]] | None:
    """Which ticks lie on the places of a pitch, and their numbers; None where too few do."""
    tolerance = min(0.2 * pitch, max(0.75, 0.02 * pitch))
    steps = (places[None, :] - places[:, None]) / pitch  # a row for each tick taken as the origin
    near = np.abs(steps - np.rint(steps)) * pitch <= tolerance
    origin = int(near.sum(axis=1).argmax())
    best = near[origin]
    if best.sum() < max(LEAST_TICKS, math.ceil(0.8 * len(places))):
        return None
    numbers = np.rint(steps[origin, best])
    numbers -= numbers.min()
    is_single = len(set(numbers.tolist())) == len(numbers)
    return (best, numbers) if is_single and len(numbers) >= LEAST_FILLED * (numbers.max() + 1) else None


def _centre(beside: NDArray[np.uint8], tick: Tick) -> float:
    """A tick's place along the ruler: the centre of brightness of its rows and of one on either side."""
    left, top, wide, high = tick
    start = max(0, top - 1)
    profile = beside[start : top + high + 1, left : left + wide].astype(np.float64).mean(axis=1)
    profile -= profile.min()
    total = float(profile.sum())
    return start + (float(profile @ np.arange(len(profile))) / total if total else (len(profile) - 1) / 2)


def _long_every(ticks: Sequence[Tick], numbers: NDArray[np.float64]) -> int | None:
    """The distance, in steps, of the ticks that are longer than most."""
    lengths = np.array([tick[2] for tick in ticks], float)
    is_long = lengths >= LONGER * np.median(lengths)
    apart = set(np.diff(numbers[is_long]).astype(int).tolist())
    return apart.pop() if is_long.sum() >= 2 and len(apart) == 1 and not is_long.all() else None
