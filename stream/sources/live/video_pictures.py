"""Pictures of a coded live stream: decoded, checked, grey, timed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stream.common.errors import SourceUnreadable
from stream.frames.reason import Reason
from stream.sources.decoding.checked_decoder import CheckedDecoder, PixelAspects
from stream.sources.decoding.luma import grey_image
from stream.sources.live.backlog import Backlog
from stream.sources.live.base import PICTURE_TIMEOUT_S, LivePicture
from stream.sources.live.sender_clock import SenderClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from fractions import Fraction

    import numpy as np
    from av import Packet, VideoFrame
    from av.video.codeccontext import VideoCodecContext
    from numpy.typing import NDArray

    from stream.common.clock import Clock
    from stream.sources.decoding.checked_decoder import Decoded

KEY_TIMEOUT_S = 30.0
"""Video of which no picture is clean for so long is connected anew: most servers begin with a key picture."""


IN_TIME_NS = 200_000_000
"""A reader that is no later than this has caught up."""


class VideoPictures:
    """Turns the packets of one connection into pictures.

    Args:
        context: of the stream, not yet opened.
        clock: the pipeline's.
        declared: shape of the pixels as the container says it; None where it does not.
        has_stamps: whether the packets' times are the sender's.
        check_first: called with the first picture that is decoded.

    Where this machine decodes more slowly than pictures come, those between two key pictures are left out rather than
    queued: they are passed on undecoded, as dropped.

    Attributes:
        sender: follows the stamps.
    """

    def __init__(
        self,
        context: VideoCodecContext,
        clock: Clock,
        *,
        declared: Fraction | None = None,
        has_stamps: bool = True,
        check_first: Callable[[VideoFrame], object] | None = None,
    ) -> None:
        self._decoder, self._aspects, self._clock = CheckedDecoder(context), PixelAspects(declared), clock
        self._has_stamps, self._check_first = has_stamps, check_first
        self.sender = SenderClock()
        self._last: NDArray[np.uint8] | None = None
        self._lost = 0
        self._backlog, self._is_behind, self._late_ns = Backlog(), False, 0
        self._packet_ns = self._clean_ns = self._asked_ns = clock.now_ns()

    def of(self, packet: Packet[Any], *, lost: int = 0, is_torn: bool = False) -> Iterator[LivePicture]:
        """The pictures that a packet completes.

        Args:
            packet: that has just come.
            lost: packets that were lost before it.
            is_torn: a part of it is missing.
        """
        arrived_ns = self._packet_ns = self._clock.now_ns()
        waited_ns = arrived_ns - self._asked_ns
        if self._is_left_out(packet):
            yield from self._left_out(packet, arrived_ns, waited_ns, lost)
        else:
            yield from self._decoded(packet, arrived_ns, waited_ns, lost, is_torn=is_torn)
        self._asked_ns = self._clock.now_ns()
        if self._asked_ns - self._clean_ns > KEY_TIMEOUT_S * 1e9:
            raise SourceUnreadable(f"no picture was whole for {KEY_TIMEOUT_S:.0f} s")

    def _decoded(
        self, packet: Packet[Any], arrived_ns: int, waited_ns: int, lost: int, *, is_torn: bool
    ) -> Iterator[LivePicture]:
        for decoded in self._decoder.decode(packet, lost=lost, is_torn=is_torn):
            if decoded.picture is not None and self._check_first is not None:
                self._check_first(decoded.picture)
                self._check_first = None
            captured_ns = self._captured_ns(decoded.picture, arrived_ns, waited_ns)
            picture = self._picture(decoded, captured_ns)
            if picture is None:
                continue
            self._lost = self._decoder.lost
            if picture.refusal is None:
                self._clean_ns = arrived_ns
            yield picture

    def _is_left_out(self, packet: Packet[Any]) -> bool:
        """Whether to leave a picture out: until a key picture comes in time. Key pictures are all decoded."""
        if packet.is_keyframe:
            self._is_behind = self._is_behind and self._late_ns > IN_TIME_NS
            return False
        if not self._is_behind and self._has_stamps and self._decoder.can_skip and self._backlog.is_growing:
            self._is_behind = True
            self._backlog.forget()
        return self._is_behind and self._last is not None

    def _left_out(self, packet: Packet[Any], arrived_ns: int, waited_ns: int, lost: int) -> Iterator[LivePicture]:
        self._decoder.skip(lost)
        captured_ns = self._captured_ns(packet, arrived_ns, waited_ns)
        lost_before, self._lost = self._decoder.lost - self._lost, self._decoder.lost
        assert self._last is not None
        yield LivePicture(image=self._last, captured_ns=captured_ns, lost_before=lost_before, refusal=Reason.OVERLOAD)

    def _captured_ns(self, timed: VideoFrame | Packet[Any] | None, arrived_ns: int, waited_ns: int) -> int:
        captured_ns = self.sender.captured_ns(self._stamp_ns(timed), arrived_ns, reader_waited_ns=waited_ns)
        self._late_ns = arrived_ns - captured_ns
        self._backlog.add(arrived_ns, self._late_ns, waited_ns)
        return captured_ns

    def check_time(self) -> None:
        """To be called while something else comes.

        Raises:
            SourceUnreadable: no packet of the video came for too long.
        """
        if self._clock.now_ns() - self._packet_ns > PICTURE_TIMEOUT_S * 1e9:
            raise SourceUnreadable(f"it sends, but no picture came for {PICTURE_TIMEOUT_S:.0f} s")

    @property
    def note(self) -> str:
        """What must be known of the pictures, for people."""
        if self._last is not None:
            return self.sender.note
        return f"waiting for a whole key picture{', with losses on the way' if self._decoder.lost else ''}"

    def _picture(self, decoded: Decoded, captured_ns: int) -> LivePicture | None:
        """What is passed on of a picture; None where there is nothing that could be shown."""
        picture, aspect = decoded.picture, None
        if picture is not None:
            self._last = grey_image(picture)
            aspect = None if decoded.is_damaged else self._aspects.of(decoded.aspect, picture.width, picture.height)
        if self._last is None:
            return None
        return LivePicture(
            image=self._last,
            captured_ns=captured_ns,
            pixel_aspect=aspect,
            lost_before=self._decoder.lost - self._lost,
            refusal=Reason.DAMAGED if decoded.is_damaged else None,
        )

    def _stamp_ns(self, timed: VideoFrame | Packet[Any] | None) -> int | None:
        if timed is None or timed.pts is None or timed.time_base is None or not self._has_stamps:
            return None
        return round(timed.pts * timed.time_base * 1_000_000_000)
