"""Makes the clip the whole pipeline is timed on: the demonstration clip as a scanner's screen, 1920 x 1080, H.264.

    python -m benchmarks.rig.screen_clip screen.mp4

The pictures are those of `stream/demo` (one real frame of PSFHS, CC BY 4.0, brought to motion), enlarged to the size
they have on such a screen, among a menu, a clock and a ruler that were drawn.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np

from stream.sources import open_source
from stream.sources.demo import DEMO_CLIP
from stream.sources.files.video import NOTE_PREFIX

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH, HEIGHT = 1920, 1080
PICTURE_HEIGHT = 820
LEFT, TOP = 450, 130
RATE_HZ = 30
GREY = 200


def draw_screen(picture: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """A picture on a screen whose clock shows `number`; (1080, 1920) uint8."""
    height, width = picture.shape
    size = (2 * round(width * PICTURE_HEIGHT / height / 2), PICTURE_HEIGHT)
    shown = np.full((HEIGHT, WIDTH), 12, np.uint8)
    shown[TOP : TOP + PICTURE_HEIGHT, LEFT : LEFT + size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
    shown[90:1000, 20:330] = 38
    for line in range(12):
        _write(shown, f"Preset {line:02d}   Gain {line * 7 % 60}", (40, 150 + 66 * line), 0.8)
    _write(shown, "PHANTOM, NOBODY   1900-01-01", (460, 60), 1.1)
    _write(shown, f"12:{number // 1800:02d}:{number // 30 % 60:02d}", (1680, 60), 1.1)
    _write(shown, "MI 1.1  TIs 0.4", (1600, 110), 0.8)
    return shown


def _write(image: NDArray[np.uint8], text: str, at: tuple[int, int], scale: float) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, GREY, 2, cv2.LINE_AA)


def make_screen_clip(path: Path) -> None:
    """Writes the clip."""
    with av.open(str(path), "w") as container, open_source(str(DEMO_CLIP)) as source:
        container.metadata["comment"] = f"{NOTE_PREFIX} {source.info.note}; a scanner's screen, drawn"
        stream = container.add_stream(
            "libx264", rate=Fraction(RATE_HZ), options={"crf": "20", "preset": "veryfast", "g": "30"}
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in source:
            picture = av.VideoFrame.from_ndarray(draw_screen(frame.image, frame.index), format="gray")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.rig.screen_clip FILE.mp4")
    make_screen_clip(Path(sys.argv[1]))
