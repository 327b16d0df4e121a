"""Per-frame header fields of PLUS sequences (`Seq_Frame0012_Timestamp`)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from stream.common.errors import SourceUnreadable
from stream.sources.timestamps import Timestamps, plausible_timestamps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_FIELD = re.compile(r"Seq_Frame(\d{1,9})_(\w+)")

HeaderNumber = TypeVar("HeaderNumber", int, float)


@dataclass(slots=True)
class FrameFields:
    """The fields that matter, by the picture's number.

    Attributes:
        times_s: from any start.
        invalid: pictures that the recorder itself calls invalid.
        steps_mm: from column to column and from row to row, as stored.
    """

    times_s: dict[int, float] = field(default_factory=dict)
    invalid: set[int] = field(default_factory=set)
    steps_mm: dict[int, tuple[float, float]] = field(default_factory=dict)

    def take(self, path: Path, key: str, value: str) -> bool:
        """Keeps a field of the header; returns whether it is one of a picture.

        Raises:
            SourceUnreadable: it should hold numbers, and does not.
        """
        match = _FIELD.fullmatch(key)
        if match is None:
            return False
        index, name = int(match[1]), match[2]
        if name == "Timestamp":
            self.times_s[index] = parse_number(path, key, value, float)
        elif name == "ImageStatus" and value.upper() == "INVALID":
            self.invalid.add(index)
        elif name == "ElementSpacing":
            x_mm, y_mm, *_ = [parse_number(path, key, word, float) for word in value.split()] + [0.0, 0.0]
            self.steps_mm[index] = (x_mm, y_mm)
        return True

    def stamps(self, count: int) -> Timestamps:
        """Times of so many pictures."""
        known = min(count, max(self.times_s, default=-1) + 1)  # a broken header may claim any count
        return plausible_timestamps([self.times_s.get(index) for index in range(known)])

    def too_many(self, count: int) -> str:
        """Words for a note where there are fields of more pictures than the file holds; else ""."""
        declared = max([*self.times_s, *self.invalid, *self.steps_mm], default=-1) + 1
        return f"{count} pictures, fields of {declared}" if declared > count else ""


def parse_number(path: Path, key: str, text: str, kind: Callable[[str], HeaderNumber]) -> HeaderNumber:
    """Reads one number of a header; raises SourceUnreadable with the field and its text where it is none."""
    try:
        return kind(text)
    except ValueError as error:
        raise SourceUnreadable(
            f"{path}: its header says {key} = {text[:80]!r}, which is not a number; the header is damaged"
        ) from error
