"""Plausibility of a recording's timestamps."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from statistics import median, median_low
from typing import TYPE_CHECKING

from stream.frames.timeline import JUMP_S
from stream.sources.base import RATE_NOTE

if TYPE_CHECKING:
    from collections.abc import Sequence

PLAUSIBLE_PERIOD_S = (0.001, 10.0)
"""From one picture of a scan to the next. Stamps in milliseconds or microseconds lie outside."""

SLACK = 0.5
"""Periods by which steady stamps may be off."""


@dataclass(frozen=True, slots=True)
class Timestamps:
    """When the pictures of a recording were taken.

    Attributes:
        times_s: of each picture, finite, None where it has none; empty where nothing is known.
        period_s: the usual time from picture to picture; None where nothing is known.
        note: what was wrong with what the file says, and what is assumed; or "".
    """

    times_s: tuple[float | None, ...] = ()
    period_s: float | None = None
    note: str = ""


def plausible_timestamps(times_s: Sequence[float | None], *, period_s: float | None = None) -> Timestamps:
    """The stamps of a recording, without those that are no numbers; none where they do not tell time.

    Convention: the usual period is the median of the steps forward, times the share of them among those that do not
    go back. Where it is not plausible, or as many steps go back as forward, nothing is believed, and `period_s` counts;
    where that is not plausible either, nothing is known.
    A lone stamp out of order among steady ones is replaced by what they say. Where others still go back, by more than
    half a period but not so far that a new segment begins, pictures come at the usual period.
    Worked value: 0, 0.04, nan, 0.12, 0.16 are believed, but the third, with a period of 0.04; 5, 5, 5 are not.
    0.9, 0.04, 0.08, 0.12 become 0, 0.04, 0.08, 0.12.

    Args:
        times_s: of each picture, in seconds; None where it has none.
        period_s: what the file says of all pictures; None where it says nothing.
    """
    least, most = PLAUSIBLE_PERIOD_S
    if period_s is not None and not least <= period_s <= most:
        words = f"{period_s:g} s from frame to frame is not plausible"
        return Timestamps(note=f"{words}: {RATE_NOTE}") if not times_s else plausible_timestamps(times_s)
    finite = tuple(time_s if time_s is not None and math.isfinite(time_s) else None for time_s in times_s)
    known = [time_s for time_s in finite if time_s is not None]
    steps = [after - before for before, after in itertools.pairwise(known)]
    forward = [step for step in steps if step > 0]
    assumed = "" if period_s else f": {RATE_NOTE}"
    if len(times_s) < 2 or not steps:
        return Timestamps((), period_s, "" if period_s or len(times_s) == 1 else RATE_NOTE)
    standing = sum(step == 0 for step in steps)
    if len(forward) <= len(steps) - len(forward) - standing:
        return Timestamps((), period_s, f"time stamps that do not move forward{assumed}")
    middle = median_low if min(steps) < 0 else median  # a stamp too late makes a long step
    usual = middle(forward) * len(forward) / (len(forward) + standing)
    if not least <= usual <= most:
        return Timestamps((), period_s, f"time stamps {usual:g} s apart are not plausible{assumed}")
    lost = sum(time_s is not None and not math.isfinite(time_s) for time_s in times_s)
    mended, outliers = _without_outliers(finite, usual)
    if _goes_back(mended, usual):
        return Timestamps((), usual, f"time stamps that go back: {1 / usual:.4g} frames/s assumed")
    told = [f"{lost} of {len(times_s)} time stamps are no numbers"] if lost else []
    if outliers:
        told.append(f"{outliers} of {len(times_s)} time stamps out of order, replaced")
    return Timestamps(mended, usual, "; ".join(told))


def _without_outliers(times_s: Sequence[float | None], period_s: float) -> tuple[tuple[float | None, ...], int]:
    """The stamps, each lone one out of order replaced by what its neighbours say; and how many those are."""
    mended = list(times_s)
    known = [index for index, time_s in enumerate(times_s) if time_s is not None]
    count = 0
    for place, index in enumerate(known):
        is_first, is_last = place == 0, place == len(known) - 1
        near = known[1:3] if is_first else known[-3:-1] if is_last else [known[place - 1], known[place + 1]]
        if len(near) < 2:
            continue
        before, after = ((near_index, mended[near_index] or 0.0) for near_index in near)
        steps, step_s = after[0] - before[0], after[1] - before[1]
        if abs(step_s - steps * period_s) > SLACK * period_s:
            continue
        time_s = mended[index] or 0.0
        is_late = not is_last and time_s > (before if is_first else after)[1]
        is_early = not is_first and time_s < (after if is_last else before)[1]
        if is_late or is_early:
            mended[index] = before[1] + (index - before[0]) * step_s / steps
            count += 1
    return tuple(mended), count


def _goes_back(times_s: Sequence[float | None], period_s: float) -> bool:
    """Whether a step goes back, by more than jitter, and not so far that a new segment begins."""
    known = [time_s for time_s in times_s if time_s is not None]
    return any(SLACK * period_s < before - after <= JUMP_S for before, after in itertools.pairwise(known))
