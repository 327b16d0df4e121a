"""The interface of a sink: takes every measurement of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from stream.pipeline.record import Measurement


class Sink(Protocol):
    """Takes every measurement of a run, in order, and makes a file of them.

    Whatever ends the run, `close()` leaves a file that can be read and holds all that was written before.
    Both methods raise `stream.common.errors.OutputError`.
    """

    def write(self, measurement: Measurement) -> None: ...

    def close(self) -> None:
        """Finishes the file. Closing twice is harmless."""
