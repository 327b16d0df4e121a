"""What the signals that end a program do to one that has something to finish."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@contextmanager
def stopped_by_signals(stops: Sequence[Callable[[], None]]) -> Iterator[Sequence[int]]:
    """The first SIGINT (Ctrl-C), SIGTERM or SIGHUP (the terminal is gone) closes the sources.

    What is under way is still written. A second one does what it would have done without this; one that the caller
    ignores (`nohup`) stays ignored. Yields the signals that came. `stops` may grow: who adds to it then looks whether a
    signal has come already.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came  # signals reach the main thread only
        return
    handled = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in handled}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, frame: object) -> None:
        came.append(number)
        restore()
        for stop in stops:
            stop()

    for number in before:
        signal.signal(number, handle)
    try:
        yield came
    finally:
        restore()
