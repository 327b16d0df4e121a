"""A live feed that is reconnected while the program stays up.

    connect --Feed--> pictures --> frames
       ^                 |
       +-- pause <-- lost, late, refused

Loss of signal is a state, not an error: only closing the source ends its iteration.
"""

from __future__ import annotations

import logging
import random
import threading
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol, Self

from engines.redaction import redact_text
from stream.common.errors import SourceDenied, SourceError
from stream.frames.frame import Frame, SegmentCause
from stream.frames.reason import Reason
from stream.frames.segments import change_between
from stream.frames.typed_spacing import TypedSpacing
from stream.sources.base import SourceInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from stream.common.clock import Clock
    from stream.frames.frame import PixelSpacing

_log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0
"""Attempts to connect are at most so far apart, so that results resume soon after a source's return."""
DENIED_PAUSE_S, LONGEST_DENIED_PAUSE_S = 60.0, 600.0
"""After a refused password: cameras lock an account that is tried too often."""
JITTER = 0.25
"""Share by which a pause varies: many screens that lost one server must not come back in step."""
SILENCE_S = 1.0
"""A feed that is connected but has sent nothing for so long has no signal."""
PICTURE_TIMEOUT_S = 5.0
"""A peer that sends, but no picture for so long, is connected anew."""
NANOSECONDS = Fraction(1, 1_000_000_000)


class LinkState(StrEnum):
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
        lost: pictures, or packets of them, that the peer or driver numbered and that never came.
        damaged: frames that were refused because they are not whole.
        skipped: messages that could not be read, and were stepped over.
        last_frame_ns: when the last frame came, on the source's clock; None before the first.
        format: what was negotiated with the peer, for people; empty where it does not say.
        note: what must be known of its times or its scale, for people; empty where there is nothing.
    """

    link: LinkState
    reason: str
    connections: int
    frames: int
    lost: int
    last_frame_ns: int | None
    damaged: int = 0
    skipped: int = 0
    format: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LivePicture:
    """One picture of a feed.

    Attributes:
        image: (H, W) uint8.
        captured_ns: when it was captured, on the pipeline's clock, as early as the feed can know it.
        spacing: mm per pixel, where the feed says it.
        spacing_note: why it is not taken, where the feed says one.
        pixel_aspect: width of a pixel over its height, where the spacing is unknown; None is not known either.
        lost_before: pictures missing between the one before and this one.
        refusal: why it must not be measured: `DAMAGED` where the feed could not read it whole, `OVERLOAD` where it was
            not decoded because newer ones are waiting. It then tells nothing of size and scale.
    """

    image: NDArray[np.uint8]
    captured_ns: int
    spacing: PixelSpacing | None = None
    spacing_note: str = ""
    pixel_aspect: float | None = 1.0
    lost_before: int = 0
    refusal: Reason | None = None


class Feed(Protocol):
    """One connection to a peer. Iterating it blocks for pictures; it ends, or raises SourceError, when they cease.

    `format` and `note` are those of `LinkStatus`, `skipped` counts since this connection began.
    """

    @property
    def format(self) -> str: ...

    @property
    def note(self) -> str: ...

    @property
    def skipped(self) -> int: ...

    def __iter__(self) -> Iterator[LivePicture]: ...

    def close(self) -> None:
        """Ends a waiting read, from any thread, and gives everything back. Closing twice is harmless."""


class LiveSource:
    """A `stream.sources.base.FrameSource` over feeds that come and go.

    Frames are numbered without gaps over all connections; `pts` counts nanoseconds from the first frame's capture. Each
    connection, and each change of size or scale, begins a new segment.

    Args:
        uri: what the user named it by, without credentials.
        kind: `rtsp`, `udp`, `v4l2` ...
        connect: opens a feed; raises where it cannot, and returns soon once the event is set.
        clock: stamps and waits.
        spacing: mm per pixel that goes before what a feed says, for pictures of the size of the first.
        chance: spreads the pauses; seeded by the system where none is given, so that no two sources keep step.
        address: as the user typed it, so that none of its secrets comes back in what a peer or a library says.
    """

    def __init__(
        self,
        uri: str,
        *,
        kind: str,
        connect: Callable[[threading.Event], Feed],
        clock: Clock,
        spacing: PixelSpacing | None = None,
        chance: random.Random | None = None,
        address: str = "",
    ) -> None:
        self._connect, self._clock, self._address = connect, clock, address
        self._typed = TypedSpacing(spacing)
        self._info = SourceInfo(uri=uri, kind=kind, width=0, height=0, spacing=spacing)
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._feed: Feed | None = None
        self._status = LinkStatus(
            link=LinkState.CONNECTING, reason="", connections=0, frames=0, lost=0, last_frame_ns=None
        )
        self._first_ns: int | None = None
        self._last_pts = -1
        self._before: Frame | None = None
        self._segment, self._cause = -1, SegmentCause.START
        self._skipped_before = 0
        self._random = chance or random.Random()

    @property
    def info(self) -> SourceInfo:
        """What is known by now: width and height are 0 before the first frame."""
        return self._info

    @property
    def status(self) -> LinkStatus:
        """How the source stands now, with no secret of the address in it; safe from any thread."""
        status = self._standing()
        reason, note, said = (
            redact_text(words, self._address) for words in (status.reason, status.note, status.format)
        )
        return replace(status, reason=reason, note=note, format=said)

    def _standing(self) -> LinkStatus:
        status, feed = self._status, self._feed
        if feed is not None:
            reason = status.reason if status.link is LinkState.LIVE else status.reason or feed.note
            status = replace(status, skipped=self._skipped_before + feed.skipped, reason=reason)
        last_ns = status.last_frame_ns
        if status.link is LinkState.LIVE and last_ns is not None:
            silent_s = (self._clock.now_ns() - last_ns) / 1e9
            if silent_s > SILENCE_S:
                return replace(status, link=LinkState.NO_SIGNAL, reason=f"no picture for {silent_s:.0f} s")
        return status

    def __iter__(self) -> Iterator[Frame]:
        pause_s, denied_pause_s = FIRST_PAUSE_S, DENIED_PAUSE_S
        while not self._closed.is_set():
            before = self._status.frames
            error = yield from self._connection()
            if self._closed.is_set():
                break
            if self._status.frames > before:
                pause_s, denied_pause_s = FIRST_PAUSE_S, DENIED_PAUSE_S
            link, reason = (
                LinkState.RECONNECTING if self._status.connections else LinkState.CONNECTING,
                _words_of(error),
            )
            if isinstance(error, SourceDenied):
                self._set(link=link, reason=f"{reason}; the next attempt is in {denied_pause_s:.0f} s")
                self._wait(denied_pause_s)
                denied_pause_s = min(2 * denied_pause_s, LONGEST_DENIED_PAUSE_S)
                continue
            self._set(link=link, reason=reason)
            self._wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        self._set(link=LinkState.CLOSED, reason=self._status.reason)

    def _connection(self) -> Generator[Frame, None, Exception | None]:
        """Connects and yields frames until the connection is lost; returns why, None where the feed just ended."""
        try:
            feed = self._connect(self._closed)
        except Exception as error:  # noqa: BLE001 - whatever stands in the way of a feed is a state, not the run's end
            return error
        with self._lock:
            self._feed, self._skipped_before = feed, self._status.skipped
        try:
            if self._closed.is_set():
                return None
            self._begin(feed)
            for picture in feed:
                yield self._frame(picture, feed)
                if self._closed.is_set():
                    return None
        except Exception as error:  # noqa: BLE001 - likewise
            return error
        finally:
            with self._lock:
                self._feed = None
                status = self._status
                reason = status.reason or ("" if status.frames else feed.note)
                self._status = replace(status, skipped=self._skipped_before + feed.skipped, reason=reason)
            feed.close()
        return None

    def _begin(self, feed: Feed) -> None:
        """Takes a new connection for what comes from here on."""
        self._before = None
        status = self._status
        self._status = replace(status, connections=status.connections + 1, format=feed.format, note=feed.note)

    def _frame(self, picture: LivePicture, feed: Feed) -> Frame:
        if self._first_ns is None:
            self._first_ns = picture.captured_ns
        self._last_pts = max(picture.captured_ns - self._first_ns, self._last_pts + 1)
        status = self._status
        self._status = replace(
            status,
            link=LinkState.LIVE,
            reason="",
            frames=status.frames + 1,
            lost=status.lost + picture.lost_before,
            damaged=status.damaged + (picture.refusal is Reason.DAMAGED),
            last_frame_ns=self._clock.now_ns(),
            format=feed.format,
            note=feed.note,
        )
        frame = Frame(
            image=picture.image,
            index=status.frames,
            pts=self._last_pts,
            time_base=NANOSECONDS,
            captured_ns=picture.captured_ns,
            spacing=picture.spacing,
            spacing_note=picture.spacing_note,
            pixel_aspect=picture.pixel_aspect,
            refusal=picture.refusal,
        )
        return self._placed(frame) if frame.refusal is None else self._refused(frame)

    def _placed(self, frame: Frame) -> Frame:
        """The frame with its scale, in its segment; a new one where its geometry is not that of the one before."""
        spacing = self._typed.for_picture(frame.image.shape, frame.pixel_aspect, frame.spacing)
        frame = replace(frame, spacing=spacing, spacing_note="" if spacing else frame.spacing_note)
        if self._before is not None:
            cause = change_between(self._before, frame)
        else:
            cause = SegmentCause.CONNECTION if self._segment >= 0 else SegmentCause.START
        if cause is not None:
            self._segment, self._cause = self._segment + 1, cause
            height, width = frame.image.shape
            self._info = replace(self._info, width=width, height=height, spacing=spacing)
        self._before = replace(frame, segment=self._segment, segment_cause=self._cause)
        return self._before

    def _refused(self, frame: Frame) -> Frame:
        """A frame that tells nothing of its geometry stays in the segment that is running."""
        before = self._before
        if before is None:
            return replace(frame, spacing=None, segment=max(self._segment, 0), segment_cause=self._cause)
        image = frame.image if frame.image.shape == before.image.shape else before.image
        return replace(
            before, image=image, index=frame.index, pts=frame.pts, captured_ns=frame.captured_ns, refusal=frame.refusal
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

    def _set(self, *, link: LinkState, reason: str) -> None:
        self._status = replace(self._status, link=link, reason=reason)

    def _wait(self, pause_s: float) -> None:
        spread = self._random.uniform(1 - JITTER, 1 + JITTER)
        self._clock.wait_until(self._clock.now_ns() + round(pause_s * spread * 1e9), self._closed)


def _words_of(error: Exception | None) -> str:
    """Why there are no pictures, in one line for people."""
    if error is None:
        return "the feed ended"
    if not isinstance(error, SourceError):
        _log.debug("a feed was lost", exc_info=error)
        return " ".join(f"{type(error).__name__}: {error}".split())
    return str(error)
