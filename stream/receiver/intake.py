"""Hands the received objects to a batch, oldest first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stream.batch.finding import Found
from stream.batch.recordings import Recording

if TYPE_CHECKING:
    from stream.receiver.queue import ReceivedQueue

DIGITS = 16


class QueueIntake:
    """A `stream.batch.intake.Intake` of a queue.

    Args:
        queue: of what was received.
    """

    is_exhausted = False
    is_endless = True
    bytes_to_come = 0

    def __init__(self, queue: ReceivedQueue) -> None:
        self._queue = queue

    def poll(self, *, is_idle: bool = False) -> Found:
        """What was received since the last call."""
        return Found(
            recordings=[
                Recording(f"received {key[:DIGITS]}", str(self._queue.path_of(key))) for key in self._queue.new()
            ]
        )

    def ended(self, recording: Recording) -> None:
        """Its file stays until it was answered."""


def recording_key(recording: Recording) -> str:
    """The key in the queue of a recording that this made."""
    return Path(recording.path).stem
