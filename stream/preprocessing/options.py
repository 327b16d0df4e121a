"""Preprocessing options, and the scanner profile that may hold them."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stream.common.errors import OptionError
from stream.frames.frame import PixelSpacing
from stream.preprocessing.sector.detection import Panes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stream.frames.regions import Box

AUTO, WHOLE = "auto", "whole"
LONGEST_SIDE_PX = 100_000
"""Of any screen: a longer one is a mistyped number."""
_BOX = re.compile(r"(\d+)x(\d+)\+(\d+)\+(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessingOptions:
    """Options of preprocessing.

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
    if match is None or min(int(match[1]), int(match[2])) < 16 or max(map(int, match.groups())) > LONGEST_SIDE_PX:
        raise OptionError(
            f"sector {text!r}: give auto, whole, or a box as 800x600+100+50 (width x height + left + top)"
        )
    width, height, left, top = (int(part) for part in match.groups())
    return left, top, width, height


def read_profile(path: Path) -> PreprocessingOptions:
    """A profile of a scanner: what of its screen does not change from day to day.

    TOML with any of: `screen = [1920, 1080]`, `sector = "800x600+100+50"`, `pane = "left"`, `tick_mm = 10`,
    `spacing_mm = [0.25, 0.25]`.

    Raises:
        OptionError: it cannot be read, or says something else.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors of some systems begin a file with a mark
    except OSError as error:
        raise OptionError(f"{path}: the profile cannot be read ({error.strerror}); give another --profile") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"{path}: is no text in UTF-8, as a profile is; save it as UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise OptionError(f"{path}: is no profile that can be read ({error})") from error
    unknown = sorted(table.keys() - _KEYS.keys())
    if unknown:
        raise OptionError(f"{path}: {unknown[0]!r} is none of {', '.join(sorted(_KEYS))}")
    return PreprocessingOptions(**{_KEYS[key].name: _read(path, key, value) for key, value in table.items()})


@dataclass(frozen=True, slots=True)
class _Key:
    """A key of a profile: the option it sets, what reads its value, and what that must be, for people."""

    name: str
    read: Callable[[Any], object]
    wanted: str


def _read(path: Path, key: str, value: Any) -> Any:
    try:
        return _KEYS[key].read(value)
    except OptionError as error:  # says itself what is wrong
        raise OptionError(f"{path}: {error}") from error
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise OptionError(f"{path}: {key} = {value!r}: give {_KEYS[key].wanted}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _number(value: Any) -> float:
    """A number that stands in the file as one: TOML's true is 1 in Python."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(value)
    return float(value)


def _size(value: Any) -> tuple[int, int]:
    width, height = (_number(side) for side in value)
    if not all(side.is_integer() and 1 <= side <= LONGEST_SIDE_PX for side in (width, height)):
        raise ValueError(value)
    return int(width), int(height)


def _tick(value: Any) -> float:
    if not 0.1 <= (tick_mm := _number(value)) <= 100.0:
        raise ValueError(value)
    return tick_mm


def _spacing(value: Any) -> PixelSpacing:
    x_mm, y_mm = (_number(side) for side in value)
    try:
        return PixelSpacing.checked(x_mm, y_mm)
    except ValueError as error:
        raise OptionError(f"spacing_mm: {error}") from error


_KEYS = {
    "screen": _Key("size", _size, "width and height in pixels, as [1920, 1080]"),
    "sector": _Key("sector", lambda value: parse_sector(_text(value)), 'a text such as "800x600+100+50"'),
    "pane": _Key("pane", {str(side): side for side in (Panes.LEFT, Panes.RIGHT)}.__getitem__, '"left" or "right"'),
    "tick_mm": _Key("tick_mm", _tick, "millimetres from 0.1 to 100, as 10"),
    "spacing_mm": _Key("spacing", _spacing, "millimetres per pixel in x and y, as [0.25, 0.25]"),
}
