"""Closes several resources in order, whatever fails on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def close_all(*steps: Callable[[], object]) -> None:
    """Calls every step in order, also those after one that fails.

    Raises:
        BaseException: the first error of all; its notes say what failed after it.
    """
    first: BaseException | None = None
    for step in steps:
        try:
            step()
        except BaseException as error:  # noqa: BLE001 - kept, and raised again when the rest is closed
            if first is None:
                first = error
            else:
                first.add_note(f"then, while closing: {error!r}")
    if first is not None:
        try:
            raise first
        finally:
            del first  # an error that its own traceback knows would keep what it saw alive


def close_after(error: BaseException, *steps: Callable[[], object]) -> None:
    """Calls every step on the way out of `error`, which the caller raises again; its notes say what failed too."""
    try:
        close_all(*steps)
    except BaseException as later:  # noqa: BLE001 - the error that came first is the one to report
        error.add_note(f"then, while closing: {later!r}")
