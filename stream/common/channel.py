"""Bounded queue between two threads, with its overflow policy and exact counts."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Item = TypeVar("Item")


class Overflow(Enum):
    """What a full channel does with the next item."""

    BLOCK = "block"
    """The sender waits: nothing is lost. For recordings."""
    DROP_OLDEST = "drop_oldest"
    """The oldest waiting item makes room: the receiver always gets the freshest. For live feeds."""


@dataclass(frozen=True, slots=True)
class ChannelStats:
    """Exact counts: `sent == received + dropped + depth` at every moment."""

    sent: int
    received: int
    dropped: int
    depth: int
    peak_depth: int


class ChannelClosed(Exception):
    """The other side is gone: nobody will receive what is sent."""


class Channel(Generic[Item]):
    """Hands items from one thread to another, in order, at most `capacity` waiting.

    `close()` is the sender's: the receiver still gets what waits, then its loop ends. `cancel()` is for
    either side: what waits is thrown away (and counted as dropped), both loops end at once.

    Args:
        capacity: how many items may wait, at least 1.
        overflow: what a full channel does.
        on_drop: told of every item the overflow drops, in the sender's thread, in order.
    """

    def __init__(
        self,
        capacity: int,
        *,
        overflow: Overflow = Overflow.BLOCK,
        on_drop: Callable[[Item], None] | None = None,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"a channel holds at least 1 item, got capacity {capacity}")
        self._capacity, self._overflow, self._on_drop = capacity, overflow, on_drop
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._sent = self._received = self._dropped = self._peak = 0

    def send(self, item: Item) -> None:
        """Adds an item, waiting or dropping the oldest where the channel is full.

        Raises:
            ChannelClosed: the channel was cancelled or closed.
        """
        with self._changed:
            if self._overflow is Overflow.BLOCK:
                self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity)
            if self._closed:
                raise ChannelClosed
            if len(self._items) == self._capacity:
                oldest = self._items.popleft()
                self._dropped += 1
                # Told under the lock, so that no receiver can pass a later item before the drop is known.
                if self._on_drop:
                    self._on_drop(oldest)
            self._items.append(item)
            self._sent += 1
            self._peak = max(self._peak, len(self._items))
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Item]:
        """Yields items as they come, until the channel is closed and empty, or cancelled."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or bool(self._items))
                if not self._items:
                    return
                item = self._items.popleft()
                self._received += 1
                self._changed.notify_all()
            yield item

    def close(self) -> None:
        """Ends sending; what waits is still received. Harmless when repeated."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def cancel(self) -> None:
        """Ends both sides at once; what waits is counted as dropped. Harmless when repeated."""
        with self._changed:
            self._closed = True
            self._dropped += len(self._items)
            self._items.clear()
            self._changed.notify_all()

    @property
    def stats(self) -> ChannelStats:
        """A consistent snapshot of the counters."""
        with self._changed:
            return ChannelStats(self._sent, self._received, self._dropped, len(self._items), self._peak)
