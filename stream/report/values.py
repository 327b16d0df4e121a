"""A value with both its intervals, and times, as they are written for people."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

NONE = "\N{EN DASH}"
"""Where there is no value."""
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A number with its unit and its 95 % intervals.

    Attributes:
        unit: as it follows the number, with a space before it where one belongs there.
        absolute: where an expert would put it; None where it is not known.
        repeatability: what the same scan would give again; None likewise.
        is_change: has a sign.
    """

    value: float
    unit: str
    absolute: Interval | None = None
    repeatability: Interval | None = None
    is_change: bool = False

    def shown(self, digits: int) -> str:
        """The value with its unit."""
        return f"{self._number(self.value, digits)}{self.unit}"

    def range(self, interval: Interval, digits: int) -> str:
        """An interval with the unit once."""
        return f"{self._number(interval[0], digits)} to {self._number(interval[1], digits)}{self.unit}"

    def _number(self, number: float, digits: int) -> str:
        shown = f"{number:+.{digits}f}" if self.is_change else f"{number:.{digits}f}"
        return shown.replace("-", "\N{MINUS SIGN}")


def duration(seconds: float) -> str:
    """A length of time: `12 s`, `4 min 10 s`, `1 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def clock(seconds: float) -> str:
    """A time within a recording: `0:07`, `12:34`, `1:02:03`."""
    whole = max(0, math.floor(seconds + 1e-6))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def percent(count: int, total: int) -> str:
    """A share of frames; one that is not 0 and not all never looks as if it were."""
    if not total:
        return NONE
    share = 100 * count / total
    if 0 < share < 1:
        return "< 1 %"
    return "> 99 %" if 99 < share < 100 else f"{share:.0f} %"


def moment(time: datetime) -> str:
    """A time of day with its date and zone: `26 Nov 2026, 09:12 (UTC+01:00)`."""
    zone = time.strftime("%z")
    return f"{time.day} {time.strftime('%b %Y, %H:%M')} (UTC{f'{zone[:3]}:{zone[3:]}' if int(zone or 0) else ''})"
