"""Types of the command line's values, each refused with the right form of it."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from engines.redaction import looks_like_address
from stream.common.errors import OptionError
from stream.common.text import did_you_mean

if TYPE_CHECKING:
    import click.shell_completion

    from stream.frames.frame import PixelSpacing
    from stream.frames.regions import Box
    from stream.preprocessing import PreprocessingOptions

C = TypeVar("C")
_PACKAGES = Path(__file__).resolve().parents[3]
_EMPTY = "the value is empty; give one, or leave the option out"


class OneOf(click.Choice[C]):
    """One of a few words, with a guess at what was meant where it is none of them. Of an enumeration, its values."""

    def normalize_choice(self, choice: object, ctx: click.Context | None) -> str:
        return str(choice.value if isinstance(choice, Enum) else choice)

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        words = [self.normalize_choice(choice, ctx) for choice in self.choices]
        return f"{value!r} is not one of {', '.join(words)}.{did_you_mean(str(value), words)}"


class Decoder(click.ParamType[str]):
    """`cpu`, or `cuda` with the number of another GPU than the first."""

    name = "cpu|cuda|cuda:N"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return self.name

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from stream.sources.decoding.acceleration import check_decoder  # PyAV, which a manual needs not wait for

        try:
            return check_decoder(str(value))
        except OptionError as error:
            self.fail(str(error), param, ctx)


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


class Spacing(click.ParamType["PixelSpacing"]):
    """`X,Y` in millimetres per pixel."""

    name = "X,Y"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> PixelSpacing:
        from stream.frames.frame import PixelSpacing

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


class Whole(click.IntRange):
    """A whole number of a range."""

    name = "n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            int(value)
        except ValueError:
            self.fail(f"{value!r} is no whole number", param, ctx)
        return int(super().convert(value, param, ctx))


class Number(click.FloatRange):
    """A number of a range; NaN and infinity, which Python reads as numbers, are none."""

    name = "x"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            float(value)
        except ValueError:
            self.fail(f"{value!r} is no number", param, ctx)
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number that can be counted with", param, ctx)
        return number


class Text(click.ParamType[str]):
    """A text that was really given: an unset shell variable must not choose the default in silence."""

    name = "text"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value == "":
            self.fail(_EMPTY, param, ctx)
        return str(value)


class PathOrAddress(click.ParamType[str]):
    """A file or folder of this machine, or an address such as `rtsp://host/live`; sources say what is wrong with it."""

    name = "path|address"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        return _files(incomplete)


class _FileText(Text):
    """A text that may name a file: shells complete it as one."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        return _files(incomplete)


class ModelName(_FileText):
    """A model's file, or its address on a server."""

    name = "model"


class FileOrName(_FileText):
    """A file, or the name of one that ships.

    Args:
        folders: of the files that ship, below the folder that holds the packages: `calibration/learning/configs`.
    """

    name = "file|name"

    def __init__(self, *folders: str) -> None:
        self._folders = folders

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        from click.shell_completion import CompletionItem

        shipped = sorted(path.name for folder in self._folders for path in (_PACKAGES / folder).glob("*.toml"))
        names = [CompletionItem(name) for name in shipped if name.startswith(incomplete)]
        return [*names, *_files(incomplete)]


def _files(incomplete: str) -> list[click.shell_completion.CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


class FilePath(click.Path):
    """A path that was really given: an unset shell variable must not spread files over the current folder."""

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        if value == "":
            self.fail("the path is empty; give one, or leave the option out", param, ctx)
        return super().convert(value, param, ctx)


class Folder(FilePath):
    """A folder, likewise."""


class SectorBox(click.ParamType["str | Box"]):
    """`auto`, `whole`, or a box as `800x600+100+50`."""

    name = "auto|whole|WxH+X+Y"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return self.name

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str | Box:
        from stream.preprocessing import parse_sector

        if isinstance(value, tuple):
            left, top, width, height = value
            return left, top, width, height
        return parse_sector(str(value))


@dataclass(frozen=True, slots=True)
class ScannerProfile:
    """A profile of a scanner that was read, and the file it is from."""

    path: Path
    options: PreprocessingOptions

    @classmethod
    def read(cls, path: Path) -> ScannerProfile:
        """Reads it.

        Raises:
            OptionError: it cannot be read, or says something that no profile can.
        """
        from stream.preprocessing import read_profile

        return cls(path, read_profile(path))


class Profile(FilePath):
    """The file of a scanner's profile, read."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, ScannerProfile):
            return value
        return ScannerProfile.read(Path(os.fsdecode(super().convert(value, param, ctx))))


class Noise(FilePath):
    """The filter's constants, read from a file of `partum calibrate noise`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from stream.tracking.kalman import FilterNoise
        from stream.tracking.noise_file import read_noise

        if isinstance(value, FilterNoise):
            return value
        return read_noise(Path(os.fsdecode(super().convert(value, param, ctx))))


def resolve_path(kind: click.ParamType[Any], text: str, folder: Path) -> str:
    """A value of a file in `folder`: paths are relative to that, and may begin with `~`."""
    is_path = isinstance(kind, (click.Path, PathOrAddress, ModelName)) and not looks_like_address(text)
    if not text or not (is_path or isinstance(kind, FileOrName)):
        return text
    path = folder / Path(text).expanduser()
    return str(path) if is_path or path.exists() else text
