"""Preprocesses every frame of a stream: duplicates, contact, sector, text, scale, segments.

    frame --repeated, frozen, black, in air?--> new --flipped, zoomed, sector elsewhere?--> segment --> frame, reason

Nothing behind this sees a pixel from outside the sector, so nothing can show, serve or write one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from stream.common.errors import OptionError
from stream.frames.frame import BLANK, SegmentCause
from stream.frames.reason import Reason
from stream.preprocessing.contact import is_in_air
from stream.preprocessing.duplicates import SAME_AFTER_CODING, DuplicateDetector
from stream.preprocessing.options import AUTO, WHOLE, PreprocessingOptions
from stream.preprocessing.sector.detection import Panes, Sector, small_copy, small_size
from stream.preprocessing.sector.tracker import GATHER_LIVE, SectorTracker
from stream.preprocessing.segment_state import ENDS, SegmentFact, SegmentState
from stream.preprocessing.view_change import ViewChange, ViewChangeDetector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from stream.frames.frame import Frame
    from stream.preprocessing.view import View

LOOK_AHEAD = 24
"""Frames of a recording that its sector is found over before it is played."""
CAUSES = {
    ViewChange.MIRRORED: SegmentCause.ORIENTATION,
    ViewChange.UPSIDE_DOWN: SegmentCause.ORIENTATION,
    ViewChange.TURNED: SegmentCause.ORIENTATION,
    ViewChange.ZOOMED: SegmentCause.DEPTH,
    ViewChange.CUT: SegmentCause.CUT,
}
"""Why a segment begins with a picture that changed so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessorState:
    """What preprocessing knows of a stream, for the web page and for files.

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


class Preprocessor(Protocol):
    """The interface of preprocessing, as the pipeline calls it."""

    @property
    def state(self) -> PreprocessorState: ...

    def process(self, frame: Frame) -> tuple[Frame, Reason | None]: ...


class FramePreprocessor:
    """Preprocesses every frame of one stream, in order.

    Args:
        options: what the user says of the screen.
        is_live: a live feed: pictures may repeat, freeze and go black, and the sector is found while it runs. A
            recording's pictures are all new, and its sector is found by `look_ahead`.
        same_levels: see `stream.preprocessing.duplicates.DuplicateDetector`.
    """

    def __init__(
        self,
        options: PreprocessingOptions | None = None,
        *,
        is_live: bool = True,
        same_levels: float = SAME_AFTER_CODING,
    ) -> None:
        self._options = options or PreprocessingOptions()
        self._duplicates = DuplicateDetector(same_levels=same_levels) if is_live else None
        self._tracker = SectorTracker(gather=GATHER_LIVE if is_live else 1, pane=self._options.pane)
        self._segment_state = SegmentState(self._options)
        self._detector: ViewChangeDetector | None = None
        self._has_begun = False

    @property
    def state(self) -> PreprocessorState:
        """What is known by now; safe from any thread."""
        segment_state, sector = self._segment_state, self._segment_state.sector
        if sector is None:
            is_whole = self._options.sector == WHOLE
            return PreprocessorState(sector="whole picture, as asked" if is_whole else "", scale=segment_state.scale)
        return PreprocessorState(
            sector=sector.shape, confidence=sector.confidence, scale=segment_state.scale, masked=segment_state.masked
        )

    @property
    def view(self) -> View | None:
        """How the frame processed last was cut and masked; None where it was passed on whole, or not at all."""
        return self._segment_state.view

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
        tracker, first = SectorTracker(gather=LOOK_AHEAD, pane=self._options.pane), None
        for frame, _ in zip(frames, range(LOOK_AHEAD), strict=False):
            first = first or frame
            if frame.image.shape != first.image.shape or tracker.update(
                frame.image, small_copy(frame.image), regions=frame.regions
            ):
                break
        if first is None or not self._has_its_size(first):
            return
        if tracker.sector is not None or tracker.detect():
            tracker.gather = 1
            self._tracker = tracker
            self._segment_state.take(first)
            self._hold_locked()

    def process(self, frame: Frame) -> tuple[Frame, Reason | None]:
        """The frame as it may be passed on, and why it must not go to the network; None where it may.

        Raises:
            OptionError: the first screen is not the one that the box or the profile was written for.
        """
        has_its_size = self._has_its_size(frame)
        cause = self._segment_state.take(frame)
        if cause is not None:
            self._begun(cause)
        if not has_its_size:
            return self._segment_state.blank_frame(frame, BLANK.copy()), Reason.NO_SECTOR
        reason = self._known_before(frame)
        if reason is None:
            reason = self._placed(frame)
        if self._options.sector == WHOLE:
            return self._segment_state.full_frame(frame), reason
        if self._segment_state.sector is None:
            return self._segment_state.blank_frame(frame, BLANK.copy()), reason
        return self._segment_state.cropped_frame(frame, is_new=reason is None), reason

    def _begun(self, cause: SegmentCause) -> None:
        """What was seen of the pictures before a segment says nothing of those after."""
        self._detector = None
        if SegmentFact.SECTOR in ENDS[cause]:
            self._tracker.reset()

    def _known_before(self, frame: Frame) -> Reason | None:
        """What speaks against a frame without a look at what changed in it; None where only that can tell."""
        if frame.refusal is not None:  # a damaged picture says nothing of the sector, nor of what repeats
            return frame.refusal
        is_known = self._segment_state.sector is not None
        if is_known and is_in_air(self._segment_state.cut(frame.image), self._segment_state.inside):
            return Reason.NO_CONTACT  # hardly moves, and may be all but black
        if self._duplicates is None:
            return None
        return self._duplicates.classify(frame, self._segment_state.cut(frame.image) if is_known else frame.image)

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
        elif self._options.sector != WHOLE and self._segment_state.sector is None:
            self._hold_box(frame)
        if self._segment_state.sector is not None:
            self._segment_state.follow_ruler(frame.image)
            if self._segment_state.sector is None:  # another depth: the sector has changed with its scale
                self._begun(SegmentCause.DEPTH)
        if self._segment_state.sector is None and self._options.sector != WHOLE:
            return Reason.TWO_PANES if self._tracker.panes is Panes.TWO else Reason.NO_SECTOR
        return None if self._segment_state.is_upright else Reason.UPSIDE_DOWN

    def _follow_changes(self, frame: Frame, small: NDArray[np.uint8]) -> None:
        """Begins a segment where the picture was flipped, turned, zoomed or cut."""
        if self._detector is None:
            inside = self._tracker.inside if self._tracker.sector is not None else self._box_inside(frame)
            if inside is None:
                return
            self._detector = ViewChangeDetector(inside)
        change = self._detector.update(small, frame.pts_s)
        if change is ViewChange.NONE:
            return
        self._segment_state.begin(CAUSES[change])
        if change in (ViewChange.UPSIDE_DOWN, ViewChange.TURNED):
            self._segment_state.is_upright = not self._segment_state.is_upright
        if SegmentFact.SECTOR in ENDS[CAUSES[change]]:
            self._begun(CAUSES[change])

    def _box_inside(self, frame: Frame) -> NDArray[np.uint8] | None:
        """The small copy's part that is watched where the user said what to take; None where that is being found."""
        if self._options.sector == AUTO:
            return None
        width, height = small_size((frame.image.shape[0], frame.image.shape[1]))
        sector = self._segment_state.sector
        if sector is None:
            return np.full((height, width), 255, np.uint8) if self._options.sector == WHOLE else None
        return np.asarray(cv2.resize(sector.mask, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)

    def _follow_sector(self, frame: Frame, small: NDArray[np.uint8]) -> None:
        is_found = self._tracker.update(frame.image, small, regions=frame.regions)
        if self._tracker.lost is not None:
            self._detector = None
            self._segment_state.begin(self._tracker.lost)
        if is_found:
            self._hold_locked()

    def _hold_locked(self) -> None:
        """Takes the sector that was just locked."""
        tracker = self._tracker
        assert tracker.sector is not None
        self._segment_state.hold(tracker.sector, tracker.darkest, tracker.brightest, count=tracker.count)
        self._detector = None

    def _hold_box(self, frame: Frame) -> None:
        """Takes the user's box for the sector."""
        assert not isinstance(self._options.sector, str)
        left, top, width, height = self._options.sector
        mask = np.zeros(frame.image.shape, np.uint8)
        mask[top : top + height, left : left + width] = 255
        sector = Sector(mask=mask, box=(left, top, width, height), confidence=1.0, shape="box, as given")
        self._segment_state.hold(sector, frame.image, frame.image, count=1)
