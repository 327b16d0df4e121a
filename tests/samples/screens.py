"""Whole screens of a scanner that never was: a simulated sector among menus, a clock, a ruler, and names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.common.clock import MonotonicClock
from stream.phantom.source import PhantomSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH, HEIGHT = 1920, 1080
NAME = "DOE, JANE 1985-04-12"
INSIDE = "ROSSI M. 4711"


def scan(count: int, *, size: int = 768, seed: int = 3) -> list[NDArray[np.uint8]]:
    """Pictures of a simulated scan at 25 Hz, (size, size), black around the fan."""
    uri = f"phantom:?duration={count / 25}&size={size}&seed={seed}"
    with PhantomSource(uri, clock=MonotonicClock()) as source:
        return [np.asarray(frame.image) for frame in source]


@dataclass(frozen=True, kw_only=True)
class Screen:
    """How a screen is laid out.

    Attributes:
        left, top: of the picture.
        name: written above and beside the sector.
        inside: written in the sector, at `inside_at` from the picture's corner.
        tick_px: distance of the ruler's ticks, right of the picture; None for no ruler.
        major: every n-th tick is longer.
        second_pane: another picture to the right.
        menu: a panel at the left with lines of text.
    """

    left: int = 560
    top: int = 150
    name: str = NAME
    inside: str = ""
    inside_at: tuple[int, int] = (330, 470)
    tick_px: float | None = None
    tick_from: float = 8.0
    major: int = 5
    second_pane: NDArray[np.uint8] | None = None
    menu: bool = True
    extra: list[str] = field(default_factory=list)

    def draw(self, picture: NDArray[np.uint8], number: int = 0) -> NDArray[np.uint8]:
        """The screen with a picture in it; the clock shows `number`."""
        screen = np.zeros((HEIGHT, WIDTH), np.uint8)
        height, width = picture.shape
        screen[self.top : self.top + height, self.left : self.left + width] = picture
        if self.second_pane is not None:
            other_height, other_width = self.second_pane.shape
            left = self.left + width + 12
            screen[self.top : self.top + other_height, left : left + other_width] = self.second_pane
        if self.menu:
            screen[90:1000, 20:330] = np.maximum(screen[90:1000, 20:330], 38)
            for line in range(12):
                write(screen, f"Preset {line:02d}  Gen {line * 7}", (40, 150 + 66 * line), 0.8, 170)
        write(screen, self.name, (420, 60), 1.1, 235)
        write(screen, f"12:{number // 60:02d}:{number % 60:02d}", (1680, 60), 1.1, 235)
        write(screen, "MI 1.1  TIs 0.4", (1600, 110), 0.8, 200)
        for line, text in enumerate(self.extra):
            write(screen, text, (1500, 900 + 40 * line), 0.9, 230)
        if self.inside:
            x, y = self.inside_at
            write(screen, self.inside, (self.left + x, self.top + y), 0.9, 250)
        if self.tick_px is not None:
            self._rule(screen, self.left + width + 30, height)
        return screen

    def _rule(self, screen: NDArray[np.uint8], x: int, height: int) -> None:
        assert self.tick_px is not None
        number, at = 0, self.tick_from
        while at < height - 4:
            length = 16 if number % self.major == 0 else 8
            y = self.top + at
            cover = np.clip(1.0 - np.abs(np.arange(HEIGHT) - y), 0, 1)[:, None] * 210  # sub-pixel, as scalers leave it
            screen[:, x : x + length] = np.maximum(screen[:, x : x + length], cover.astype(np.uint8))
            number, at = number + 1, at + self.tick_px


def write(screen: NDArray[np.uint8], text: str, at: tuple[int, int], scale: float, level: int) -> None:
    """Text with its lower left corner at `at`."""
    cv2.putText(screen, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, level, 2, cv2.LINE_AA)
