"""Time stamps of a recording, all known at once, and whether they can be believed."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from stream.sources.base import RATE_NOTE

if TYPE_CHECKING:
    from collections.abc import Sequence

PLAUSIBLE_PERIOD_S = (0.001, 10.0)
"""From one picture of a scan to the next. Stamps in milliseconds or microseconds lie outside."""


@dataclass(frozen=True, slots=True)
class Stamps:
    """When the pictures of a recording were taken.

    Attributes:
        times_s: of each picture, finite, None where it has none; empty where nothing is known.
        period_s: the usual time from picture to picture; None where nothing is known.
        note: what was wrong with what the file says, and what is assumed; or "".
    """

    times_s: tuple[float | None, ...] = ()
    period_s: float | None = None
    note: str = ""


def believed(times_s: Sequence[float | None], *, period_s: float | None = None) -> Stamps:
    """The stamps of a recording, without those that are no numbers; none where they do not tell time.

    Convention: the usual period is the median of the steps forward, times the share of them among those that do not
    go back. Where it is not plausible, or as many steps go back as forward, nothing is believed, and `period_s` counts;
    where that is not plausible either, nothing is known.
    Worked value: 0, 0.04, nan, 0.12, 0.16 are believed, but the third, with a period of 0.04; 5, 5, 5 are not.

    Args:
        times_s: of each picture, in seconds; None where it has none.
        period_s: what the file says of all pictures; None where it says nothing.
    """
    least, most = PLAUSIBLE_PERIOD_S
    if period_s is not None and not least <= period_s <= most:
        words = f"{period_s:g} s from frame to frame is not plausible"
        return Stamps(note=f"{words}: {RATE_NOTE}") if not times_s else believed(times_s)
    finite = tuple(time_s if time_s is not None and math.isfinite(time_s) else None for time_s in times_s)
    known = [time_s for time_s in finite if time_s is not None]
    steps = [after - before for before, after in itertools.pairwise(known)]
    forward = [step for step in steps if step > 0]
    assumed = "" if period_s else f": {RATE_NOTE}"
    if len(times_s) < 2 or not steps:
        return Stamps((), period_s, "" if period_s or len(times_s) == 1 else RATE_NOTE)
    standing = sum(step == 0 for step in steps)
    if len(forward) <= len(steps) - len(forward) - standing:
        return Stamps((), period_s, f"time stamps that do not move forward{assumed}")
    usual = median(forward) * len(forward) / (len(forward) + standing)
    if not least <= usual <= most:
        return Stamps((), period_s, f"time stamps {usual:g} s apart are not plausible{assumed}")
    lost = sum(time_s is not None and not math.isfinite(time_s) for time_s in times_s)
    return Stamps(finite, usual, f"{lost} of {len(times_s)} time stamps are no numbers" if lost else "")
