"""The eye of a stream: what of each picture is ultrasound, whether it is new, and how large its pixels are.

    frame --repeated, frozen, black, in air?--> new --flipped, zoomed, sector elsewhere?--> stretch --> frame, reason

Nothing behind this sees a pixel from outside the sector, so nothing can show, serve or write one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from stream.common.errors import OptionError
from stream.frames.frame import SegmentCause
from stream.measurement.biometry import Reason
from stream.preprocessing.contact import is_in_air
from stream.preprocessing.duplicates import SAME_AFTER_CODING, Repeats
from stream.preprocessing.options import AUTO, WHOLE, WatchOptions
from stream.preprocessing.sector.detection import Panes, Sector, small_copy, small_size
from stream.preprocessing.sector.tracker import GATHER_LIVE, SectorLock
from stream.preprocessing.segment_state import ENDS, Fact, Stretch
from stream.preprocessing.view_change import Change, ChangeDetector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from stream.frames.frame import Frame

LOOK_AHEAD = 24
"""Frames of a recording that its sector is found over before it is played."""
BLANK = np.zeros((1, 1), np.uint8)
"""What is passed on of a picture whose sector is not known."""
CAUSES = {
    Change.MIRRORED: SegmentCause.ORIENTATION,
    Change.UPSIDE_DOWN: SegmentCause.ORIENTATION,
    Change.TURNED: SegmentCause.ORIENTATION,
    Change.ZOOMED: SegmentCause.DEPTH,
    Change.CUT: SegmentCause.CUT,
}
"""Why a stretch begins with a picture that changed so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the watch knows of a stream, for the screen and for files.

    Attributes:
        sector: its shape, or how it was given; empty while it is not known.
        confidence: of the sector, 0 to 1.
        scale: where the pixel spacing comes from, or why there is none any more; empty where there never was one.
        masked: lines of text that are masked in the sector.
    """

    sector: str = ""
    confidence: float | None = None
    scale: str = ""
    masked: int = 0


class Looks(Protocol):
    """What a pipeline wants of a watch."""

    @property
    def seen(self) -> Seen: ...

    def look(self, frame: Frame) -> tuple[Frame, Reason | None]: ...


class Watch:
    """Looks at every frame of one stream, in order.

    Args:
        options: what the user says of the screen.
        is_live: a live feed: pictures may repeat, freeze and go black, and the sector is found while it runs. A
            recording's pictures are all new, and its sector is found by `look_ahead`.
        same_levels: see `stream.preprocessing.duplicates.Repeats`.
    """

    def __init__(
        self,
        options: WatchOptions | None = None,
        *,
        is_live: bool = True,
        same_levels: float = SAME_AFTER_CODING,
    ) -> None:
        self._options = options or WatchOptions()
        self._repeats = Repeats(same_levels=same_levels) if is_live else None
        self._lock = SectorLock(gather=GATHER_LIVE if is_live else 1, pane=self._options.pane)
        self._stretch = Stretch(self._options)
        self._detector: ChangeDetector | None = None
        self._has_begun = False

    @property
    def seen(self) -> Seen:
        """What is known by now; safe from any thread."""
        stretch, sector = self._stretch, self._stretch.sector
        if sector is None:
            is_whole = self._options.sector == WHOLE
            return Seen(sector="whole picture, as asked" if is_whole else "", scale=stretch.scale)
        return Seen(sector=sector.shape, confidence=sector.confidence, scale=stretch.scale, masked=stretch.masked)

    def look_ahead(self, frames: Iterable[Frame]) -> None:
        """Finds the sector of a recording in its first frames, so that it is known from the first one on.

        Raises:
            OptionError: the first screen is not the one that the box or the profile was written for.
        """
        if self._options.sector != AUTO:
            beginning = next(iter(frames), None)
            if beginning is not None:
                self._has_its_size(beginning)
            return
        lock, first = SectorLock(gather=LOOK_AHEAD, pane=self._options.pane), None
        for frame, _ in zip(frames, range(LOOK_AHEAD), strict=False):
            first = first or frame
            if frame.image.shape != first.image.shape or lock.place(
                frame.image, small_copy(frame.image), regions=frame.regions
            ):
                break
        if first is None or not self._has_its_size(first):
            return
        if lock.sector is not None or lock.settle():
            lock.gather = 1
            self._lock = lock
            self._stretch.take(first)
            self._hold_locked()

    def look(self, frame: Frame) -> tuple[Frame, Reason | None]:
        """The frame as it may be passed on, and why it must not go to the network; None where it may.

        Raises:
            OptionError: the first screen is not the one that the box or the profile was written for.
        """
        has_its_size = self._has_its_size(frame)
        cause = self._stretch.take(frame)
        if cause is not None:
            self._begun(cause)
        if not has_its_size:
            return self._stretch.blank(frame, BLANK.copy()), Reason.NO_SECTOR
        reason = self._known_before(frame)
        if reason is None:
            reason = self._placed(frame)
        if self._options.sector == WHOLE:
            return self._stretch.whole(frame), reason
        if self._stretch.sector is None:
            return self._stretch.blank(frame, BLANK.copy()), reason
        return self._stretch.shown(frame, is_new=reason is None), reason

    def _begun(self, cause: SegmentCause) -> None:
        """What was seen of the pictures before a stretch says nothing of those after."""
        self._detector = None
        if Fact.SECTOR in ENDS[cause]:
            self._lock.let_go()

    def _known_before(self, frame: Frame) -> Reason | None:
        """What speaks against a frame without a look at what changed in it; None where only that can tell."""
        if frame.refusal is not None:  # a damaged picture says nothing of the sector, nor of what repeats
            return frame.refusal
        is_known = self._stretch.sector is not None
        if is_known and is_in_air(self._stretch.cut(frame.image), self._stretch.inside):
            return Reason.NO_CONTACT  # hardly moves, and may be all but black
        if self._repeats is None:
            return None
        return self._repeats.look(frame, self._stretch.cut(frame.image) if is_known else frame.image)

    def _has_its_size(self, frame: Frame) -> bool:
        """Whether the screen is the one that the box and the profile were written for.

        The user is told at the first frame. A screen that changes its size later must not end a long run: its frames
        are refused.
        """
        height, width = frame.image.shape
        size, sector = self._options.size, self._options.sector
        is_first, self._has_begun = not self._has_begun, True
        wrong = ""
        if size is not None and size != (width, height):
            wrong = f"the profile is for a screen of {size[0]}x{size[1]}; this one is {width}x{height}"
        elif not isinstance(sector, str) and (sector[0] + sector[2] > width or sector[1] + sector[3] > height):
            box = f"{sector[2]}x{sector[3]}+{sector[0]}+{sector[1]}"
            wrong = f"the sector {box} reaches out of the picture, {width}x{height}"
        if wrong and is_first:
            raise OptionError(wrong)
        return not wrong

    def _placed(self, frame: Frame) -> Reason | None:
        """What speaks against a new frame once what changed in it, and where its sector is, is known."""
        small = small_copy(frame.image)
        self._follow_changes(frame, small)
        if self._options.sector == AUTO:
            self._follow_sector(frame, small)
        elif self._options.sector != WHOLE and self._stretch.sector is None:
            self._hold_box(frame)
        if self._stretch.sector is not None:
            self._stretch.follow_ruler(frame.image)
            if self._stretch.sector is None:  # another depth: the sector has changed with its scale
                self._begun(SegmentCause.DEPTH)
        if self._stretch.sector is None and self._options.sector != WHOLE:
            return Reason.TWO_PANES if self._lock.panes is Panes.TWO else Reason.NO_SECTOR
        return None if self._stretch.is_upright else Reason.UPSIDE_DOWN

    def _follow_changes(self, frame: Frame, small: NDArray[np.uint8]) -> None:
        """Begins a stretch where the picture was flipped, turned, zoomed or cut."""
        if self._detector is None:
            inside = self._lock.inside if self._lock.sector is not None else self._box_inside(frame)
            if inside is None:
                return
            self._detector = ChangeDetector(inside)
        change = self._detector.look(small, frame.pts_s)
        if change is Change.NONE:
            return
        self._stretch.begin(CAUSES[change])
        if change in (Change.UPSIDE_DOWN, Change.TURNED):
            self._stretch.is_upright = not self._stretch.is_upright
        if Fact.SECTOR in ENDS[CAUSES[change]]:
            self._begun(CAUSES[change])

    def _box_inside(self, frame: Frame) -> NDArray[np.uint8] | None:
        """The small copy's part that is watched where the user said what to take; None where that is being found."""
        if self._options.sector == AUTO:
            return None
        width, height = small_size((frame.image.shape[0], frame.image.shape[1]))
        sector = self._stretch.sector
        if sector is None:
            return np.full((height, width), 255, np.uint8) if self._options.sector == WHOLE else None
        return np.asarray(cv2.resize(sector.mask, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)

    def _follow_sector(self, frame: Frame, small: NDArray[np.uint8]) -> None:
        is_locked = self._lock.place(frame.image, small, regions=frame.regions)
        if self._lock.lost is not None:
            self._detector = None
            self._stretch.begin(self._lock.lost)
        if is_locked:
            self._hold_locked()

    def _hold_locked(self) -> None:
        """Takes the sector that was just locked."""
        lock = self._lock
        assert lock.sector is not None
        self._stretch.hold(lock.sector, lock.darkest, lock.brightest, count=lock.count)
        self._detector = None

    def _hold_box(self, frame: Frame) -> None:
        """Takes the user's box for the sector."""
        assert not isinstance(self._options.sector, str)
        left, top, width, height = self._options.sector
        mask = np.zeros(frame.image.shape, np.uint8)
        mask[top : top + height, left : left + width] = 255
        sector = Sector(mask=mask, box=(left, top, width, height), confidence=1.0, shape="box, as given")
        self._stretch.hold(sector, frame.image, frame.image, count=1)
