"""Detects view changes between pictures: mirrored, turned, zoomed, cut.

    picture --sector, thumbnail, local contrast--> Look --likeness with the looks before--> Change

Pictures are compared as thumbnails of their local contrast, so that gain, brightness and what surrounds the sector do
not count. From one picture of a scan to the next that contrast correlates by 0.7 and more, also on a probe that slides;
with its own mirror image by less than 0.5, but for phantoms made to be symmetric. So a flip shows in the first picture
after it: that picture is like the mirror image of the one before, and not like that one itself.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

THUMBNAIL_PX = 64
"""Longer side of a thumbnail."""
CONTRAST_SIGMA_PX, CONTRAST_KERNEL = 5.0, (21, 21)
"""What is smoother than this is brightness; the rest, over its own spread, is local contrast."""
LEAST_SPREAD = 4.0
"""Grey levels added to that spread, so that noise on black is not taken for structure."""
SHIFT_PX, SLIDE_PX = 4, 16
"""So far pictures are shifted against each other in search of their likeness: from one to the next, and where that is
not found, on a probe that slides fast."""
ALIKE = 0.87
"""Likeness (normalised cross-correlation) of pictures between which nothing but movement is looked for."""
CLEAR, CLEAR_GAIN = 0.45, 0.22
CLOSE, CLOSE_GAIN = 0.7, 0.1
"""A picture is another one flipped, turned or zoomed where it is so much like that, and by so much more like it than
like the other as it was; for a zoom also where it is closely like that, by less. Of pictures that are neither, the gain
was at most 0.1 (flips; 0.2 at 3 pictures a second; zooms, at a likeness of 0.62); of a picture and its own mirror image
0.3 and more."""
UNLIKE = 0.35
"""Pictures less alike than this, in a stream that was steady until then, are two recordings joined by a cut."""
STEADY, STEADY_LOOKS = 0.85, 3
"""A stream is steady whose last so many pictures were so much like the ones before."""
CUT_WITHIN_S = 0.15
"""Pictures further apart in time may differ as much by themselves."""
LOOKS_KEPT = 6
"""A picture is compared with the one before, and with the oldest of so many: a display may blend one into the next."""
FLAT = 0.05
"""Standard deviation of local contrast below which there is nothing to compare."""
BLENDED = 0.6
"""Pictures less alike than this are looked at for a flip that was blended in."""
SLOW_EVERY_S, SLOW_OVER_S = 0.25, 1.5
"""So often a picture is compared with one from so long ago, for a zoom that went slowly."""
ZOOMS = (0.5, 0.54, 0.58, 0.62, 0.67, 0.72, 0.77, 0.82, 0.87, 0.91, 0.95)
"""Zooms that are tried, and their inverses."""


class ViewChange(StrEnum):
    """What became of the picture."""

    NONE = "none"
    MIRRORED = "mirrored"
    """Left is right."""
    UPSIDE_DOWN = "upside_down"
    """Above is below; left stays left."""
    TURNED = "turned"
    """By 180 degrees."""
    ZOOMED = "zoomed"
    CUT = "cut"


FLIPS = {
    ViewChange.MIRRORED: np.s_[:, ::-1],
    ViewChange.UPSIDE_DOWN: np.s_[::-1, :],
    ViewChange.TURNED: np.s_[::-1, ::-1],
}


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """The part of the small copy around the sector, (H, W) uint8, and the local contrast of the sector's thumbnail.

    `centred` is the contrast less its mean, and `norm` the length of that.
    """

    part: NDArray[np.uint8]
    contrast: NDArray[np.float32]
    centred: NDArray[np.float32]
    norm: float

    @classmethod
    def of(cls, part: NDArray[np.uint8], contrast: NDArray[np.float32]) -> Self:
        centred = contrast - contrast.mean()
        return cls(part, contrast, centred, float(np.linalg.norm(centred)))


class ViewChangeDetector:
    """Compares each new picture of one stream with those before it.

    Convention: likeness is the normalised cross-correlation of local contrast, -1 to 1, the best over shifts of
    `SHIFT_PX`. A change is told in the first picture after it; one that a display blends in over up to `LOOKS_KEPT`
    pictures, when it is complete. A zoom of 8 % and more is told. A flip is told of the sector alone and of the whole
    screen, where the sector then lies elsewhere.

    Args:
        inside: (H, W) uint8, 255 where the sector is in the small copies of the screen that are looked at.
    """

    def __init__(self, inside: NDArray[np.uint8]) -> None:
        left, top, width, height = cv2.boundingRect(inside)
        self._box = np.s_[top : top + height, left : left + width]
        self._inside = np.ascontiguousarray(inside[self._box])
        self._factor = THUMBNAIL_PX / max(width, height)
        self._looks: deque[_View] = deque(maxlen=LOOKS_KEPT)
        self._likenesses: deque[float] = deque(maxlen=STEADY_LOOKS)
        self._time_s = 0.0
        self._ago: deque[tuple[float, _View]] = deque()

    def forget(self) -> None:
        """Begins anew: what was seen before says nothing of what comes."""
        self._looks.clear()
        self._likenesses.clear()
        self._ago.clear()

    def update(self, small: NDArray[np.uint8], time_s: float) -> ViewChange:
        """Takes a new picture and returns what happened since those before it.

        Args:
            small: (H, W) uint8, the small copy of the screen.
            time_s: when it was taken.
        """
        part = small[self._box]
        inside = np.asarray(cv2.bitwise_and(part, self._inside), np.uint8)
        look = _View.of(part.copy(), _contrast(_shrunk(inside, self._factor)))
        change = self._change(look, small, time_s - self._time_s)
        if change is ViewChange.NONE and self._is_zoomed_slowly(look, time_s):
            change = ViewChange.ZOOMED
        if change is not ViewChange.NONE:
            self.forget()
        self._looks.append(look)
        self._time_s = time_s
        return change

    def _change(self, look: _View, small: NDArray[np.uint8], passed_s: float) -> ViewChange:
        if not self._looks:
            return ViewChange.NONE
        last, oldest = self._looks[-1], self._looks[0]
        likeness = _likeness(look, last, enough=ALIKE)
        was_steady = len(self._likenesses) == STEADY_LOOKS and min(self._likenesses) >= STEADY
        self._likenesses.append(likeness)
        if likeness < ALIKE:
            likeness = _likeness(look, last, shift_px=SLIDE_PX)
        if likeness < ALIKE:
            change = self._transformed(last, look, small, likeness, zooms=True)
            if change is not ViewChange.NONE:
                return change
            if likeness < UNLIKE and was_steady and passed_s <= CUT_WITHIN_S:
                return ViewChange.CUT
        since_oldest = 1.0 if oldest is last else _likeness(look, oldest, enough=BLENDED)
        if since_oldest < BLENDED:
            return self._transformed(oldest, look, small, since_oldest, zooms=False)
        return ViewChange.NONE

    def _is_zoomed_slowly(self, look: _View, time_s: float) -> bool:
        """Whether the picture is one from a while ago, zoomed: looked at now and then."""
        if self._ago and time_s - self._ago[-1][0] < SLOW_EVERY_S:
            return False
        self._ago.append((time_s, look))
        while time_s - self._ago[0][0] > SLOW_OVER_S:
            self._ago.popleft()
        before = self._ago[0][1]
        likeness = _likeness(look, before, enough=BLENDED)
        if likeness >= BLENDED:
            return False
        likeness = _likeness(look, before, shift_px=SLIDE_PX)
        score = max(_zoom_likenesses(*(_shrunk(each.part, self._factor) for each in (before, look))))
        return score >= CLOSE and score - likeness >= CLEAR_GAIN

    def _transformed(
        self, before: _View, now: _View, small: NDArray[np.uint8], likeness: float, *, zooms: bool
    ) -> ViewChange:
        """The flip or zoom by which a picture came from another, which it is like by `likeness` as it is."""
        screen = _bordered(_contrast(_shrunk(small, self._factor)), SHIFT_PX)
        scores = {
            change: _best_match(screen, np.ascontiguousarray(before.contrast[view])) for change, view in FLIPS.items()
        }
        if zooms:
            scores[ViewChange.ZOOMED] = max(
                _zoom_likenesses(*(_shrunk(each.part, self._factor) for each in (before, now)))
            )
        best = max(scores, key=lambda change: scores[change])
        score, gain = scores[best], scores[best] - likeness
        is_clear = score >= CLEAR and gain >= CLEAR_GAIN
        is_close = best is ViewChange.ZOOMED and score >= CLOSE and gain >= CLOSE_GAIN
        return best if is_clear or is_close else ViewChange.NONE


def _shrunk(image: NDArray[np.uint8], factor: float) -> NDArray[np.float32]:
    height, width = image.shape
    size = max(8, round(width * factor)), max(8, round(height * factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def _contrast(thumbnail: NDArray[np.float32]) -> NDArray[np.float32]:
    """What differs from its surroundings, over how much things differ there."""
    detail = thumbnail - cv2.GaussianBlur(thumbnail, CONTRAST_KERNEL, CONTRAST_SIGMA_PX)
    spread = np.sqrt(cv2.GaussianBlur(detail * detail, CONTRAST_KERNEL, CONTRAST_SIGMA_PX))
    return np.asarray(detail / (spread + LEAST_SPREAD), np.float32)


def _likeness(one: _View, other: _View, *, shift_px: int = SHIFT_PX, enough: float = 1.0) -> float:
    """The best correlation of one with the other's inner part, shifted by up to so much in any direction.

    Where it is `enough` without a shift, none is tried: most pictures are so much like the one before.
    """
    norm = one.norm * other.norm
    unshifted = float(np.vdot(one.centred, other.centred)) / norm if norm > 0 else 0.0
    if unshifted >= enough:
        return unshifted
    margin = min(shift_px // 2, min(one.contrast.shape) // 4)
    height, width = other.contrast.shape
    inner = other.contrast[margin : height - margin, margin : width - margin]
    return _best_match(_bordered(one.contrast, shift_px - margin), inner)


def _best_match(around: NDArray[np.float32], part: NDArray[np.float32]) -> float:
    """The best correlation of a part with any place of what is around it; 0 for a part that is flat."""
    if float(part.std()) < FLAT:
        return 0.0
    return float(cv2.matchTemplate(around, part, cv2.TM_CCOEFF_NORMED).max())


def _bordered(contrast: NDArray[np.float32], width_px: int) -> NDArray[np.float32]:
    return np.asarray(cv2.copyMakeBorder(contrast, *(width_px,) * 4, cv2.BORDER_CONSTANT, value=0.0), np.float32)


def _zoom_likenesses(before: NDArray[np.float32], now: NDArray[np.float32]) -> Iterator[float]:
    """How much one thumbnail is like the other made smaller, for each zoom in either direction."""
    for larger, smaller in ((now, before), (before, now)):
        around = _bordered(_contrast(larger), SHIFT_PX)
        for zoom in ZOOMS:
            shrunk = cv2.resize(smaller, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
            yield _best_match(around, _contrast(np.asarray(shrunk, np.float32)))
