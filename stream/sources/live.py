"""A feed that may come and go: connected, lost, and connected again, while the program stays up.

    connect --Feed--> pictures --> frames
       ^                 |
       +-- pause <-- lost, late, refused

Loss of signal is a state, not an error: only closing the source ends its iteration.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol, Self

from stream.errors import SourceError
from stream.frame import Frame
from stream.sources.base import SourceInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from stream.biometry import Reason
    from stream.clock import Clock
    from stream.frame import PixelSpacing

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0
"""Attempts to connect are at most so far apart, so that results resume soon after a source's return."""
JITTER = 0.25
"""Share by which a pause varies: many screens that lost one server must not come back in step."""
SILENCE_S = 1.0
"""A feed that is connected but has sent nothing for so long has no signal."""
NANOSECONDS = Fraction(1, 1_000_000_000)


class Link(StrEnum):
    """How a live source stands with its peer."""

    CONNECTING = "connecting"
    LIVE = "live"
    NO_SIGNAL = "no_signal"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStatus:
    """A moment of a live source.

    Attributes:
        link: how it stands.
        reason: why it is not live, for people; empty where it is.
        connections: how often it was connected.
        frames: frames read so far.
        lost: pictures the peer or driver says it made and that never came.
        last_frame_ns: when the last frame came, on the source's clock; None before the first.
        format: what was negotiated with the peer, for people; empty where it does not say.
    """

    link: Link
    reason: str
    connections: int
    frames: int
    lost: int
    last_frame_ns: int | None
    format: str = ""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Picture:
    """One picture of a feed.

    Attributes:
        image: (H, W) uint8.
        captured_ns: when it was captured, on the pipeline's clock, as early as the feed can know it.
        spacing: mm per pixel, where the feed says it.
        pixel_aspect: width of a pixel over its height, where the spacing is unknown; None is not known either.
        lost_before: pictures missing between the one before and this one.
        refusal: why it must not be measured, where the feed could not read it whole or its sender says so.
    """

    image: NDArray[np.uint8]
    captured_ns: int
    spacing: PixelSpacing | None = None
    pixel_aspect: float | None = 1.0
    lost_before: int = 0
    refusal: Reason | None = None


class Feed(Protocol):
    """One connection to a peer. Iterating it blocks for pictures; it ends, or raises SourceError, when they cease."""

    def __iter__(self) -> Iterator[Picture]: ...

    def close(self) -> None:
        """Ends a waiting read, from any thread, and gives everything back. Closing twice is harmless."""


class LiveSource:
    """A `stream.sources.base.FrameSource` over feeds that come and go.

    Frames are numbered without gaps over all connections; `pts` counts nanoseconds from the first frame's capture. Each
    connection, and each change of size or scale, begins a new segment.

    Args:
        uri: what the user named it by, without credentials.
        kind: `rtsp`, `udp`, `v4l2` ...
        connect: opens a feed; raises SourceError where it cannot, and returns soon once the event is set.
        clock: stamps and waits.
        spacing: mm per pixel that goes before what a feed says.
    """

    def __init__(
        self,
        uri: str,
        *,
        kind: str,
        connect: Callable[[threading.Event], Feed],
        clock: Clock,
        spacing: PixelSpacing | None = None,
    ) -> None:
        self._connect, self._clock, self._spacing = connect, clock, spacing
        self._info = SourceInfo(uri=uri, kind=kind, width=0, height=0, spacing=spacing)
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._feed: Feed | None = None
        self._status = LinkStatus(link=Link.CONNECTING, reason="", connections=0, frames=0, lost=0, last_frame_ns=None)
        self._first_ns: int | None = None
        self._last_pts = -1
        self._segment = -1
        self._shape: tuple[object, ...] = ()
        self._random = random.Random(uri)

    @property
    def info(self) -> SourceInfo:
        """What is known by now: width and height are 0 before the first frame."""
        return self._info

    @property
    def status(self) -> LinkStatus:
        """How the source stands now; safe from any thread."""
        status = self._status
        last_ns = status.last_frame_ns
        if status.link is Link.LIVE and last_ns is not None:
            silent_s = (self._clock.now_ns() - last_ns) / 1e9
            if silent_s > SILENCE_S:
                return replace(status, link=Link.NO_SIGNAL, reason=f"no picture for {silent_s:.0f} s")
        return status

    def __iter__(self) -> Iterator[Frame]:
        pause_s = FIRST_PAUSE_S
        while not self._closed.is_set():
            try:
                feed = self._connect(self._closed)
            except SourceError as error:
                self._set(link=Link.RECONNECTING if self._status.connections else Link.CONNECTING, reason=str(error))
            else:
                before = self._status.frames
                yield from self._frames(feed)
                if self._status.frames > before:
                    pause_s = FIRST_PAUSE_S
            self._wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        self._set(link=Link.CLOSED, reason="")

    def _frames(self, feed: Feed) -> Iterator[Frame]:
        """The frames of one connection; ends when it is lost."""
        with self._lock:
            self._feed = feed
        reason = "the feed ended"
        try:
            if self._closed.is_set():
                return
            self._shape = ()
            said = getattr(feed, "format", "")
            self._status = replace(self._status, connections=self._status.connections + 1, format=said)
            for picture in feed:
                yield self._frame(picture)
                if self._closed.is_set():
                    return
        except SourceError as error:
            reason = str(error)
        finally:
            with self._lock:
                self._feed = None
            feed.close()
        self._set(link=Link.RECONNECTING, reason=reason)

    def _frame(self, picture: Picture) -> Frame:
        spacing = self._spacing or picture.spacing
        shape = (picture.image.shape, spacing, picture.pixel_aspect)
        if shape != self._shape:
            self._segment += 1
            self._shape = shape
            height, width = picture.image.shape
            self._info = replace(self._info, width=width, height=height, spacing=spacing)
        if self._first_ns is None:
            self._first_ns = picture.captured_ns
        self._last_pts = max(picture.captured_ns - self._first_ns, self._last_pts + 1)
        status = self._status
        self._status = replace(
            status,
            link=Link.LIVE,
            reason="",
            frames=status.frames + 1,
            lost=status.lost + picture.lost_before,
            last_frame_ns=picture.captured_ns,
        )
        return Frame(
            image=picture.image,
            index=status.frames,
            pts=self._last_pts,
            time_base=NANOSECONDS,
            captured_ns=picture.captured_ns,
            spacing=spacing,
            pixel_aspect=picture.pixel_aspect,
            segment=self._segment,
            refusal=picture.refusal,
        )

    def close(self) -> None:
        """Ends the iteration soon, whatever it waits for; from any thread, and harmless a second time."""
        self._closed.set()
        with self._lock:
            feed = self._feed
        if feed is not None:
            feed.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _set(self, *, link: Link, reason: str) -> None:
        self._status = replace(self._status, link=link, reason=reason)

    def _wait(self, pause_s: float) -> None:
        spread = self._random.uniform(1 - JITTER, 1 + JITTER)
        self._clock.wait_until(self._clock.now_ns() + round(pause_s * spread * 1e9), self._closed)
