"""Facts of the running segment: where its sector is, its text mask, its pixel spacing.

One object owns these facts. Each holds for a segment of pictures and ends with it; `ENDS` says what ends with what.

    frame as its source gave it --take--> does a segment begin?  --begin, hold--> facts --cut, shown--> frame passed on
"""

from __future__ import annotations

from dataclasses import replace
from enum import Flag, auto
from typing import TYPE_CHECKING

import numpy as np

from stream.frames.frame import SegmentCause
from stream.frames.regions import spacing_within
from stream.frames.segments import TYPED_SCALE_ENDS, SegmentCounter, change_between
from stream.preprocessing.ruler_tracker import RulerTracker
from stream.preprocessing.sector.detection import is_zoomed
from stream.preprocessing.text_masking import TextMasker
from stream.preprocessing.view import View

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from stream.frames.frame import Frame, PixelSpacing
    from stream.preprocessing.options import PreprocessingOptions
    from stream.preprocessing.sector.detection import Sector

CROP_BELOW = 0.6
"""A sector whose box fills less than this share of the screen is cut out of it; the network then sees it larger."""


class SegmentFact(Flag):
    """A kind of fact that belongs to a segment."""

    SECTOR = auto()
    """Where the ultrasound is, and with it the text in it and the ruler beside it."""
    TYPED_SCALE = auto()
    """Millimetres per pixel as the user typed them, or as a profile of the scanner has them."""
    SOURCE_SCALE = auto()
    """Those that the source says, until it says others."""
    UPRIGHT = auto()
    """That the probe is at the top."""


ENDS: Mapping[SegmentCause, SegmentFact] = {
    SegmentCause.START: SegmentFact(0),
    SegmentCause.CONNECTION: SegmentFact.SECTOR | SegmentFact.UPRIGHT,
    SegmentCause.LOOP: SegmentFact(0),
    SegmentCause.TIME: SegmentFact(0),
    SegmentCause.SIZE: SegmentFact.SECTOR | SegmentFact.UPRIGHT,
    SegmentCause.ASPECT: SegmentFact.SECTOR | SegmentFact.UPRIGHT,
    SegmentCause.SCALE: SegmentFact.SECTOR,
    SegmentCause.DEPTH: SegmentFact.SECTOR | SegmentFact.SOURCE_SCALE,
    SegmentCause.SECTOR: SegmentFact.SECTOR,
    SegmentCause.PANE: SegmentFact.SECTOR,
    SegmentCause.ORIENTATION: SegmentFact.SECTOR,
    SegmentCause.CUT: SegmentFact(0),
}
"""What ends where a segment begins, beside tracks and orientation, which always do; a typed scale ends by
`TYPED_SCALE_ENDS`. A recording that is played again is the same recording; a cut leaves the screen as it was."""

TYPED_SCALE_ENDED = {
    SegmentCause.SIZE: "the picture's size changed: the scale that was typed was for the size before",
    SegmentCause.ASPECT: "the shape of the pixels changed: the scale that was typed was for the pixels before",
    SegmentCause.DEPTH: "the depth changed: the scale that was typed was for the depth before",
    SegmentCause.CUT: "the picture became another one: the scale that was typed was for the one before",
}
RULER_HIDDEN = "the ruler cannot be read any more"
SOURCE_SCALE_ENDED = "the picture was zoomed, and its source still says the scale from before"


class SegmentState:
    """The facts of the running segment.

    Args:
        options: what the user says of the screen.

    Attributes:
        sector: where the ultrasound is; None while it is not known.
        is_upright: whether the probe is at the top.
    """

    def __init__(self, options: PreprocessingOptions) -> None:
        self._options = options
        self._segments = SegmentCounter()
        self._last: Frame | None = None
        self.sector: Sector | None = None
        self.is_upright = True
        self._text: TextMasker | None = None
        self._ruler = RulerTracker(step_mm=options.tick_mm)
        self._typed_ended = ""
        self._typed_sector: NDArray[np.uint8] | None = None
        self._distrusted: object = None
        self._spacing: PixelSpacing | None = None
        self._words = self._note = ""

    @property
    def scale(self) -> str:
        """Where the millimetres per pixel come from, or why there are none any more; "" where there never were."""
        return self._words if self._spacing is not None else self._note

    @property
    def masked(self) -> int:
        """Lines of text that are masked in the sector."""
        return len(self._text.boxes) if self._text else 0

    def take(self, frame: Frame) -> SegmentCause | None:
        """Takes a frame as its source gave it, before anything else; returns why a segment begins with it, if so."""
        last, self._last = self._last, frame
        is_new = self._segments.take(frame)
        if last is None:
            return None
        changed = change_between(last, frame)
        if not is_new and changed is None:
            return None
        cause = changed or (SegmentCause.TIME if frame.segment_cause is SegmentCause.START else frame.segment_cause)
        if not is_new:
            self._segments.begin(cause)
        elif frame.segment_cause is SegmentCause.START:
            self._segments.explain(cause)
        for each in {cause, frame.segment_cause} if is_new else {cause}:
            self._end(each)
        return cause

    def begin(self, cause: SegmentCause) -> None:
        """Begins a segment with the frame that was taken last, for what was seen in its picture."""
        self._segments.begin(cause)
        self._end(cause)

    def _end(self, cause: SegmentCause) -> None:
        ended = ENDS[cause]
        if SegmentFact.SECTOR in ended:
            self.sector = self._text = None
            self._ruler.end()
        if SegmentFact.UPRIGHT in ended:
            self.is_upright = True
        if cause in TYPED_SCALE_ENDS:
            self._typed_ended = TYPED_SCALE_ENDED[cause]
        if cause is SegmentCause.LOOP:
            self._typed_ended, self._distrusted, self.is_upright = "", None, True
        if SegmentFact.SOURCE_SCALE in ended and self._last is not None:
            self._distrusted = _said_scale(self._last)

    def hold(self, sector: Sector, darkest: NDArray[np.uint8], brightest: NDArray[np.uint8], *, count: int) -> None:
        """Takes the sector that was found.

        Args:
            sector: in the frame that was taken last.
            darkest: (H, W) uint8, the least each pixel of the screen was in the pictures it was found over.
            brightest: the greatest.
            count: how many those were.
        """
        assert self._last is not None
        self.sector = sector
        if self._typed_sector is None or self._typed_sector.shape != sector.mask.shape:
            self._typed_sector = sector.mask
        elif is_zoomed(sector.mask, self._typed_sector):
            self._typed_ended = self._typed_ended or TYPED_SCALE_ENDED[SegmentCause.DEPTH]
        height, width = sector.mask.shape
        left, top, box_width, box_height = sector.box
        if not self._options.crop or box_width * box_height >= CROP_BELOW * width * height:
            left, top, box_width, box_height = 0, 0, width, height
        inside = np.ascontiguousarray(sector.mask[top : top + box_height, left : left + box_width])
        inside.flags.writeable = False
        self._view = View(window=(left, top, box_width, box_height), inside=inside, text=())
        self._ruler.begin(darkest, sector.mask, self._last.pixel_aspect)
        self._text = TextMasker(self._view.sector_of(darkest), self._view.sector_of(brightest), count=count)

    def follow_ruler(self, image: NDArray[np.uint8]) -> None:
        """Looks at the ruler in a new picture; begins a segment where it says another depth."""
        if self._ruler.update(image):
            self.begin(SegmentCause.DEPTH)

    @property
    def view(self) -> View | None:
        """How the frame taken last was cut and masked; None while no sector is known."""
        if self.sector is None or self._text is None:
            return None
        return replace(self._view, text=tuple(self._text.boxes))

    @property
    def inside(self) -> NDArray[np.uint8]:
        """(H, W) uint8 of the sector's window, 255 in the sector; once that is known."""
        return self._view.inside

    def cut(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The sector's window of a picture."""
        return self._view.cut(image)

    def cropped_frame(self, frame: Frame, *, is_new: bool) -> Frame:
        """The frame taken last, with the sector alone, its text masked, its scale, and its segment."""
        assert self._text is not None
        image = self._view.sector_of(frame.image)
        if is_new:
            self._text.add(image)
        self._text.mask(image)
        origin = frame.origin[0] + self._view.window[0], frame.origin[1] + self._view.window[1]
        return self._told(frame, image=image, origin=origin, field_of_view=self.inside)

    def full_frame(self, frame: Frame) -> Frame:
        """The frame taken last as it is, with its scale and its segment."""
        return self._told(frame)

    def blank_frame(self, frame: Frame, picture: NDArray[np.uint8]) -> Frame:
        """The frame taken last with another picture in the place of its own."""
        return self._told(frame, image=picture)

    def _told(self, frame: Frame, **changed: object) -> Frame:
        self._spacing, self._words, self._note = self._scale_of(frame)
        told = replace(frame, spacing=self._spacing, spacing_note=self._note, **changed)  # type: ignore[arg-type]
        return self._segments.numbered(told)

    def _scale_of(self, frame: Frame) -> tuple[PixelSpacing | None, str, str]:
        """The scale, where it comes from, and why there is none."""
        note = self._typed_ended if self._typed is not None else ""
        if self._options.typed is not None and not self._typed_ended:
            return frame.spacing or self._options.typed, "typed", ""
        if frame.spacing != self._options.typed or frame.regions:
            spacing, why = spacing_within(self._box(frame), frame.regions, frame.spacing)
            if spacing is not None and self._distrusted == _said_scale(frame):
                spacing, why = None, SOURCE_SCALE_ENDED
            if spacing is not None:
                return spacing, "source", ""
            note = note or why or frame.spacing_note
        if self._options.spacing is not None and not self._typed_ended:
            return self._options.spacing, "profile", ""
        ruler = self._ruler.ruler if self.sector is not None else None
        if ruler is not None:
            return ruler.spacing, f"ruler, {ruler.step_mm:g} mm ticks ({ruler.confidence:.2f})", ""
        return None, "", note or (RULER_HIDDEN if self._ruler.is_hidden else "")

    @property
    def _typed(self) -> PixelSpacing | None:
        return self._options.typed or self._options.spacing

    def _box(self, frame: Frame) -> tuple[int, int, int, int]:
        """Of what is measured, in the picture the source gave."""
        height, width = frame.image.shape
        left, top, box_width, box_height = self.sector.box if self.sector is not None else (0, 0, width, height)
        return frame.origin[0] + left, frame.origin[1] + top, box_width, box_height


def _said_scale(frame: Frame) -> tuple[object, ...]:
    return frame.spacing, frame.regions
