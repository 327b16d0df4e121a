"""Makes text safe to print and draw."""

from __future__ import annotations


def to_printable(text: str) -> str:
    """The text with a mark in the place of what is not UTF-8: names of files may hold any byte.

    Worked value: a file named by the bytes 63 6C FF 69 70 is shown as `cl�ip`.
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
