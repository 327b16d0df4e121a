"""Texts for people: safe to print and draw, and with a guess at what was meant."""

from __future__ import annotations

import traceback
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def to_printable(text: str) -> str:
    """The text with a mark in the place of what is not UTF-8: names of files may hold any byte.

    Worked value: a file named by the bytes 63 6C FF 69 70 is shown as `cl�ip`.
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def on_one_line(text: str) -> str:
    r"""The same, with escapes in the place of what moves the cursor of a terminal or turns its writing round.

    Worked value: a file named `a`, a new line and `b` is shown as `a\nb`.
    """
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in to_printable(text))


def place_of(error: BaseException) -> str:
    """Where an error was raised, without its words: `grey.py, line 120`."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "an unknown place"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """What was probably meant: ` Did you mean 'replay'?`, or nothing."""
    nearest = get_close_matches(word, list(known), n=1)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""
