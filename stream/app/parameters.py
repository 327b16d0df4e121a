"""Types of the command line's values, each refused with the right form of it."""

from __future__ import annotations

import math
import os
import re
from typing import Any

import click

from stream.frames.frame import PixelSpacing


class Pace(click.ParamType[float | None]):
    """`asap` (None), `realtime` (1.0) or `xN` (N times as fast)."""

    name = "asap|realtime|xN"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return self.name

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        text = str(value)
        if text == "asap":
            return None
        if text == "realtime":
            return 1.0
        speed = float(text[1:]) if re.fullmatch(r"x\d{1,4}(\.\d+)?", text) else 0.0
        if speed <= 0:
            self.fail(f"{text!r} is no pace; give asap, realtime, or a factor such as x2 or x0.5", param, ctx)
        return speed


class Spacing(click.ParamType[PixelSpacing]):
    """`X,Y` in millimetres per pixel."""

    name = "X,Y"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> PixelSpacing:
        if isinstance(value, PixelSpacing):
            return value
        try:
            x_mm, y_mm = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no spacing; give two positive millimetres such as 0.36,0.36", param, ctx)
        try:
            return PixelSpacing.checked(x_mm, y_mm)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


class Number(click.FloatRange):
    """A number of a range; NaN and infinity, which Python reads as numbers, are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number that can be counted with", param, ctx)
        return number


class Text(click.ParamType[str]):
    """A text that was really given: an unset shell variable must not choose the default in silence."""

    name = "text"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value == "":
            self.fail("the value is empty; give one, or leave the option out", param, ctx)
        return str(value)


class Folder(click.Path):
    """A path that was really given: an unset shell variable must not spread files over the current folder."""

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        if value == "":
            self.fail("the path is empty; give one, or leave the option out", param, ctx)
        return super().convert(value, param, ctx)
