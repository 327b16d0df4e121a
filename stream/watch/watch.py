"""The eye of a stream: what of each picture is ultrasound, whether it is new, and how large its pixels are.

    frame --crop to the sector, mask its surroundings and its text--> frame --repeated, frozen, black, in air?--> sight

Nothing behind this sees a pixel from outside the sector, so nothing can show, serve or write one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from stream.errors import OptionError
from stream.watch.air import is_in_air
from stream.watch.burnt_in import BurntIn
from stream.watch.lock import GATHER_LIVE, SectorLock
from stream.watch.options import AUTO, WHOLE, WatchOptions
from stream.watch.repeats import SAME_AFTER_CODING, Repeats
from stream.watch.scale import RulerWatch
from stream.watch.sector import Panes, Sector
from stream.watch.sight import REFUSED_BY_SOURCE, Sight

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from stream.frame import Frame, PixelSpacing

CROP_BELOW = 0.6
"""A sector whose box fills less than this share of the screen is cut out of it; the network then sees it larger."""
LOOK_AHEAD = 24
"""Frames of a recording that its sector is found over before it is played."""
BLANK = np.zeros((1, 1), np.uint8)
"""What is passed on of a picture whose sector is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the watch knows of a stream, for the screen and for files.

    Attributes:
        sector: its shape, or how it was given; empty while it is not known.
        confidence: of the sector, 0 to 1.
        scale: where the pixel spacing comes from; empty where it is not known.
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

    def look(self, frame: Frame) -> tuple[Frame, Sight]: ...


class Watch:
    """Looks at every frame of one stream, in order.

    Args:
        options: what the user says of the screen.
        is_live: a live feed: pictures may repeat, freeze and go black, and the sector is found while it runs. A
            recording's pictures are all new, and its sector is found by `look_ahead`.
        same_levels: see `stream.watch.repeats.Repeats`.
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
        self._ruler = RulerWatch(step_mm=self._options.tick_mm)
        self._sector: Sector | None = None
        self._text: BurntIn | None = None
        self._changes = 0
        self._has_begun = False
        self._source_scale = ""

    @property
    def seen(self) -> Seen:
        """What is known by now; safe from any thread."""
        sector, text, ruler = self._sector, self._text, self._ruler.ruler
        scale = self._source_scale
        if not scale and ruler is not None:
            scale = f"ruler, {ruler.step_mm:g} mm ticks ({ruler.confidence:.2f})"
        if sector is None:
            is_whole = self._options.sector == WHOLE
            return Seen(sector="whole picture, as asked" if is_whole else "", scale=scale)
        masked = len(text.boxes) if text else 0
        return Seen(sector=sector.shape, confidence=sector.confidence, scale=scale, masked=masked)

    def look_ahead(self, frames: Iterable[Frame]) -> None:
        """Finds the sector of a recording in its first frames, so that it is known from the first one on."""
        if self._options.sector == WHOLE:
            return
        lock = SectorLock(gather=LOOK_AHEAD, pane=self._options.pane)
        frame = None
        for frame, _ in zip(frames, range(LOOK_AHEAD), strict=False):
            if self._options.sector != AUTO:
                break
            if lock.place(frame.image):
                break
        if frame is None or not self._has_its_size(frame):
            return
        if self._options.sector != AUTO:
            self._take_box(frame)
        elif lock.sector is not None or lock.settle():
            lock.gather = 1
            self._lock = lock
            self._take(frame)

    def look(self, frame: Frame) -> tuple[Frame, Sight]:
        """The frame as it may be passed on, and what it is.

        Raises:
            OptionError: the first screen is not the one that the box or the profile was written for.
        """
        if not self._has_its_size(frame):
            return self._blank(frame), Sight.NO_SECTOR
        if frame.spacing is None and self._options.spacing is not None:
            frame = replace(frame, spacing=self._options.spacing)
        self._source_scale = "source" if frame.spacing is not None else ""
        is_whole = self._options.sector == WHOLE
        is_known = self._sector is not None and self._sector.mask.shape == frame.image.shape
        if is_whole:
            return frame, self._known_before(frame, is_known=False)
        sight = self._known_before(frame, is_known=is_known)
        if sight is not Sight.NEW:
            return (self._shown(frame) if is_known else self._blank(frame)), sight
        if not self._place(frame):
            two = self._lock.panes is Panes.TWO
            return self._blank(frame), Sight.TWO_PANES if two else Sight.NO_SECTOR
        return self._shown(frame, is_new=True), Sight.NEW

    def _known_before(self, frame: Frame, *, is_known: bool) -> Sight:
        """What a frame is without a look for its sector; new, where only that can tell."""
        if frame.refusal is not None:  # a damaged picture says nothing of the sector, nor of what repeats
            return REFUSED_BY_SOURCE[frame.refusal]
        if is_known and is_in_air(self._cut(frame.image), self._inside):
            return Sight.NO_CONTACT  # hardly moves, and may be all but black
        if self._repeats is None:
            return Sight.NEW
        return self._repeats.look(frame, self._cut(frame.image) if is_known else frame.image)

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

    def _place(self, frame: Frame) -> bool:
        """Whether the sector is known in this new frame; notes where it came, went, or was found elsewhere."""
        if self._options.sector != AUTO:
            if self._sector is None or self._sector.mask.shape != frame.image.shape:
                self._take_box(frame)
        elif self._lock.place(frame.image):
            self._take(frame)
        elif self._lock.sector is None:
            self._sector = self._text = None
        if self._sector is None:
            return False
        if frame.spacing is None and self._ruler.look(frame.image):
            self._changes += 1
            if self._ruler.ruler is None and self._options.sector == AUTO:
                self._lock.let_go()  # another depth: the sector has changed with its scale
        return True

    def _take_box(self, frame: Frame) -> None:
        """Takes the user's box for the sector."""
        assert not isinstance(self._options.sector, str)
        left, top, width, height = self._options.sector
        mask = np.zeros(frame.image.shape, np.uint8)
        mask[top : top + height, left : left + width] = 255
        sector = Sector(mask=mask, box=(left, top, width, height), confidence=1.0, shape="box, as given")
        self._hold(sector, frame, frame.image, frame.image, count=1)

    def _take(self, frame: Frame) -> None:
        """Takes the sector that was just locked."""
        lock = self._lock
        assert lock.sector is not None
        self._hold(lock.sector, frame, lock.darkest, lock.brightest, count=lock.count)

    def _hold(
        self,
        sector: Sector,
        frame: Frame,
        darkest: NDArray[np.uint8],
        brightest: NDArray[np.uint8],
        *,
        count: int,
    ) -> None:
        self._changes += self._sector is not None
        self._sector = sector
        height, width = frame.image.shape
        left, top, box_width, box_height = sector.box
        if not self._options.crop or box_width * box_height >= CROP_BELOW * width * height:
            left, top, box_width, box_height = 0, 0, width, height
        self._window = np.s_[top : top + box_height, left : left + box_width]
        self._origin = left, top
        self._inside = np.ascontiguousarray(sector.mask[self._window])
        self._ruler.begin(darkest, sector.mask, frame.pixel_aspect)
        self._text = BurntIn(self._masked(darkest), self._masked(brightest), count=count)

    def _cut(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return image[self._window]

    def _masked(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The sector's pixels of a picture, in memory of their own."""
        return np.asarray(cv2.bitwise_and(image[self._window], self._inside), np.uint8)

    def _shown(self, frame: Frame, *, is_new: bool = False) -> Frame:
        """The frame with the sector alone, its text masked, and its scale."""
        image = self._masked(frame.image)
        assert self._text is not None
        if is_new:
            self._text.add(image)
        self._text.mask(image)
        return replace(
            frame,
            image=image,
            spacing=frame.spacing or self._spacing,
            segment=frame.segment + self._changes,
            origin=(frame.origin[0] + self._origin[0], frame.origin[1] + self._origin[1]),
        )

    @property
    def _spacing(self) -> PixelSpacing | None:
        return self._ruler.ruler.spacing if self._ruler.ruler else None

    def _blank(self, frame: Frame) -> Frame:
        return replace(frame, image=BLANK.copy(), segment=frame.segment + self._changes)
