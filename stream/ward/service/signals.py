"""Signals of a ward, from the first moment on: one that comes before there is a ward is passed on to it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from types import FrameType


class Stoppable(Protocol):
    """What signals are for: a `stream.ward.supervisor.Ward`."""

    def stop(self) -> None: ...

    def reload(self) -> None: ...


class WardSignals:
    """SIGTERM and SIGINT stop a ward, a second one at once; SIGHUP reads its file again. A context manager.

    Attributes:
        came: those that asked it to stop.
    """

    def __init__(self) -> None:
        self.came: list[int] = []
        self._ward: Stoppable | None = None
        self._before: dict[int, object] = {}
        self._is_reloading = False

    def __enter__(self) -> Self:
        for number, handler in ((signal.SIGTERM, self._stop), (signal.SIGINT, self._stop), (signal.SIGHUP, self._hup)):
            self._before[number] = signal.signal(number, handler)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def pass_on(self, ward: Stoppable) -> None:
        """To this one, from now on, and what came before it."""
        earlier, self._ward = len(self.came), ward
        for _ in range(earlier):
            ward.stop()
        if self._is_reloading:
            ward.reload()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.came.append(number)
        if self._ward is not None:
            self._ward.stop()

    def _hup(self, number: int, frame: FrameType | None) -> None:
        self._is_reloading = self._ward is None
        if self._ward is not None:
            self._ward.reload()
