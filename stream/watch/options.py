"""What the user says of the screen that is watched, on the command line or in a profile of a scanner."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stream.errors import OptionError
from stream.frame import PixelSpacing
from stream.watch.sector import Panes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

AUTO, WHOLE = "auto", "whole"
MOST_SIDE_PX = 100_000
_BOX = re.compile(r"(\d+)x(\d+)\+(\d+)\+(\d+)")

Box = tuple[int, int, int, int]
"""Left, top, width, height."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """How pictures are looked at.

    Attributes:
        sector: `auto` finds it; `whole` takes, shows and writes pictures as they are; a box is taken as it is given.
        pane: which of two panes side by side.
        tick_mm: from tick to tick of the ruler, where it does not say so itself.
        spacing: mm per pixel of the screen, where its source does not say it.
        typed: mm per pixel as typed for this run, in the place of what the source says; sources hand it on.
        size: width and height of the screen that the rest was written for; None for any.
        crop: cut the pictures to the sector, where it fills little of the screen.
    """

    sector: str | Box = AUTO
    pane: Panes | None = None
    tick_mm: float | None = None
    spacing: PixelSpacing | None = None
    typed: PixelSpacing | None = None
    size: tuple[int, int] | None = None
    crop: bool = True


def parse_sector(text: str) -> str | Box:
    """Reads `auto`, `whole`, or a box as `800x600+100+50`: width, height, left, top.

    Raises:
        OptionError: it does not read so.
    """
    if text in (AUTO, WHOLE):
        return text
    match = _BOX.fullmatch(text)
    if match is None or int(match[1]) < 16 or int(match[2]) < 16:
        raise OptionError(
            f"sector {text!r}: give auto, whole, or a box as 800x600+100+50 (width x height + left + top)"
        )
    width, height, left, top = (int(part) for part in match.groups())
    return left, top, width, height


def read_profile(path: Path) -> WatchOptions:
    """A profile of a scanner: what of its screen does not change from day to day.

    TOML with any of: `screen = [1920, 1080]`, `sector = "800x600+100+50"`, `pane = "left"`, `tick_mm = 10`,
    `spacing_mm = [0.25, 0.25]`.

    Raises:
        OptionError: it cannot be read, or says something else.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise OptionError(f"{path}: is no profile that can be read ({error})") from error
    known = {"screen", "sector", "pane", "tick_mm", "spacing_mm"}
    unknown = sorted(table.keys() - known)
    if unknown:
        raise OptionError(f"{path}: {unknown[0]!r} is none of {', '.join(sorted(known))}")
    readers: Mapping[str, Callable[[Any], Any]] = {
        "sector": lambda value: parse_sector(str(value)),
        "pane": Panes,
        "tick_mm": _positive,
        "spacing_mm": lambda value: PixelSpacing.checked(*map(_positive, _pair(value))),
        "screen": lambda value: _size(*_pair(value)),
    }
    found: dict[str, Any] = {}
    for key, value in table.items():
        try:
            found[key] = readers[key](value)
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            raise OptionError(f"{path}: {key}: {error}") from error
    return WatchOptions(
        sector=found.get("sector", AUTO),
        pane=found.get("pane"),
        tick_mm=found.get("tick_mm"),
        spacing=found.get("spacing_mm"),
        size=found.get("screen"),
    )


def _pair(value: Any) -> tuple[Any, Any]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{value!r} is no list of two numbers")
    return value[0], value[1]


def _size(width: Any, height: Any) -> tuple[int, int]:
    for side in (width, height):
        if type(side) is not int or not 1 <= side <= MOST_SIDE_PX:
            raise ValueError(f"a screen of {width!r} x {height!r} pixels; give whole numbers from 1 to {MOST_SIDE_PX}")
    return width, height


def _positive(value: Any) -> float:
    if type(value) not in (int, float) or not 0.001 <= value <= 1000.0:
        raise ValueError(f"{value!r} is no length in millimetres")
    return float(value)
