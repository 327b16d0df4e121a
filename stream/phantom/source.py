"""`phantom:` sources: simulated transperineal recordings with exact ground truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stream.frames.frame import Frame, PixelSpacing
from stream.phantom.course import Course, CourseOptions
from stream.phantom.options import parse_phantom_uri
from stream.phantom.render import draw_speckle, render_clean, render_speckle
from stream.phantom.truth import scene_masks, scene_truth
from stream.sources.base import SourceInfo
from stream.sources.recording_base import RecordingSource

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from stream.common.clock import Clock
    from stream.phantom.scene import Scene
    from stream.phantom.truth import PhantomTruth

NOTE = "SIMULATED PHANTOM"


class PhantomSource(RecordingSource):
    """A simulated recording: frame i is a pure function of the options and of i.

    `image`, `truth`, `mask` and `scene` may be asked for any frame, in any order, from any thread, also after
    `close()`. Iteration goes on where an earlier one stopped; each frame is a fresh array.
    """

    def __init__(self, uri: str = "phantom:", *, clock: Clock) -> None:
        self._options = parse_phantom_uri(uri)
        options = self._options
        self._clock = clock
        self._course = Course(
            CourseOptions(
                seed=options.seed,
                duration_s=float(options.duration_s),
                aop_deg=options.aop_deg,
                pushes=options.pushes,
                offplane=options.offplane,
                mirrored=options.mirrored,
            )
        )
        self._speckle = draw_speckle(np.random.default_rng((options.seed, 2)), options.size_px)
        side_mm = self._course.scene(0.0).sector.field_mm / options.size_px
        super().__init__(
            SourceInfo(
                uri=uri,
                kind="phantom",
                width=options.size_px,
                height=options.size_px,
                frame_count=options.frame_count,
                frame_rate_hz=options.rate_hz,
                spacing=PixelSpacing(side_mm, side_mm),
                note=NOTE,
            )
        )

    def _read(self) -> Generator[Frame, None, None]:
        for index in range(self._options.frame_count):
            yield Frame(
                image=self.image(index),
                index=index,
                pts=index,
                time_base=1 / self._options.rate_hz,
                captured_ns=self._clock.now_ns(),
                spacing=self.info.spacing,
            )

    def scene(self, index: int) -> Scene:
        """Everything that is there in a frame.

        Raises:
            IndexError: there is no such frame.
        """
        if not 0 <= index < self._options.frame_count:
            raise IndexError(f"phantom frame {index}: there are frames 0 to {self._options.frame_count - 1}")
        return self._course.scene(float(index / self._options.rate_hz), noise_seed=index)

    def image(self, index: int) -> NDArray[np.uint8]:
        """The picture of a frame: (H, W) uint8, a fresh array. Raises IndexError as `scene` does."""
        scene = self.scene(index)
        if self._options.speckle:
            return render_speckle(scene, self._speckle, self._options.size_px)
        return render_clean(scene, self._options.size_px)

    def truth(self, index: int) -> PhantomTruth:
        """The exact measurement of a frame, landmarks in its pixels. Raises IndexError as `scene` does."""
        return scene_truth(self.scene(index), self._options.size_px)

    def mask(self, index: int) -> NDArray[np.uint8]:
        """What a frame shows: (H, W) uint8, 0, 1 PS, 2 FH, exact. Raises IndexError as `scene` does."""
        return scene_masks(self.scene(index), self._options.size_px)
