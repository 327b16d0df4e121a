"""Stand-ins with exact answers: a source of shapes, an engine that reads them off the grey levels, a disk for marks."""

from __future__ import annotations

import threading
from fractions import Fraction
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np

from engines.base import Engine, EngineDescription, ModelSpec, Prediction
from stream.common.clock import Clock, MonotonicClock
from stream.frames.frame import Frame, PixelSpacing
from stream.outputs.marks import MarkKind
from stream.sources.base import SourceInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from numpy.typing import NDArray

    from stream.pipeline.record import Measurement

PS_GREY, FH_GREY, OTHER_GREY = 120, 220, 20
SIDE_PX = 128


def picture(head_x: float = 62.0, *, standard: bool = True) -> NDArray[np.uint8]:
    """A PS and a head in flat grey, (128, 128); the head's centre moves with `head_x`."""
    image = np.full((SIDE_PX, SIDE_PX), OTHER_GREY if standard else 0, np.uint8)
    cv2.ellipse(image, ((head_x, 78.0), (50.0, 64.0), 10.0), FH_GREY, -1)
    cv2.ellipse(image, ((36.0, 30.0), (26.0, 13.0), -15.0), PS_GREY, -1)
    return image


class DrawnSource:
    """Frames of `picture`, `count` of them, at 25 Hz.

    Args:
        fail_at: index of the frame in whose place `error` is raised.
        off_plane: indices of frames that are no standard plane.
        hold: called before each frame, to slow a source down or to block it.
    """

    def __init__(
        self,
        count: int,
        *,
        error: Exception | None = None,
        fail_at: int | None = None,
        off_plane: range = range(0),
        spacing: PixelSpacing | None = None,
        hold: Callable[[int, threading.Event], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._count, self._error, self._fail_at = count, error, fail_at
        self._off_plane, self._spacing, self._hold = off_plane, spacing, hold
        self._clock = clock or MonotonicClock()
        self.closed = threading.Event()

    @property
    def info(self) -> SourceInfo:
        return SourceInfo(
            uri="drawn:",
            kind="phantom",
            width=SIDE_PX,
            height=SIDE_PX,
            frame_count=self._count,
            frame_rate_hz=Fraction(25),
            spacing=self._spacing,
        )

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._count):
            if self._hold:
                self._hold(index, self.closed)
            if self.closed.is_set():
                return
            if self._error and index == self._fail_at:
                raise self._error
            yield Frame(
                image=picture(62 + 0.2 * (index % 40), standard=index not in self._off_plane),
                index=index,
                pts=index,
                time_base=Fraction(1, 25),
                captured_ns=self._clock.now_ns(),
                spacing=self._spacing,
            )

    def close(self) -> None:
        self.closed.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


SPEC = ModelSpec(
    name="grey_levels",
    height=SIDE_PX,
    width=SIDE_PX,
    output_height=SIDE_PX,
    output_width=SIDE_PX,
    classes=("background", "PS", "FH"),
    plane_threshold=0.5,
    architecture={},
    training_data="none",
    licence="Apache-2.0",
)


class GreyLevelEngine(Engine):
    """Takes grey levels for classes; a picture with a black background is no standard plane.

    Args:
        error: raised at call number `fail_at`.
    """

    description = EngineDescription(backend="grey levels", precision="fp32", device="CPU")
    spec = SPEC

    def __init__(self, *, error: Exception | None = None, fail_at: int = 0) -> None:
        self._error, self._fail_at = error, fail_at
        self.calls = 0
        self.closed = False

    def infer(self, images: NDArray[np.uint8]) -> Prediction:
        if self._error and self.calls == self._fail_at:
            raise self._error
        self.calls += 1
        centres = np.array([OTHER_GREY, PS_GREY, FH_GREY], np.float32)[None, :, None, None]
        logits = -np.abs(images.astype(np.float32) - centres) / 10
        plane = np.where(images[:, 0, 0, 0] > OTHER_GREY / 2, 4.0, -4.0).astype(np.float32)
        return Prediction(class_logits=logits.astype(np.float32), plane_logit=plane, images=images)

    def close(self) -> None:
        self.closed = True


class ParallelEngine(GreyLevelEngine):
    """Takes two calls side by side."""

    description = EngineDescription(backend="grey levels", precision="fp32", device="CPU", parallel=2)

    def __init__(self, *, error: Exception | None = None, fail_at: int = 0) -> None:
        super().__init__(error=error, fail_at=fail_at)
        self._lock = threading.Lock()

    def infer(self, images: NDArray[np.uint8]) -> Prediction:
        with self._lock:  # for what the class below it counts
            return super().infer(images)


class PairedEngine(ParallelEngine):
    """Answers no call before another one is under way beside it, and of the two the later one first."""

    def __init__(self) -> None:
        super().__init__()
        self._both = threading.Barrier(2)
        self._later_is_done = threading.Event()

    def infer(self, images: NDArray[np.uint8]) -> Prediction:
        is_later = self._both.wait(20) == 1
        if is_later:
            answer = super().infer(images)
            self._later_is_done.set()
            return answer
        assert self._later_is_done.wait(20)
        self._later_is_done.clear()
        return super().infer(images)


class HangingDisk:
    """Takes marks when it is let."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()
        self.marked: list[Measurement] = []

    def add(self, measurement: Measurement, kind: MarkKind = MarkKind.MARK, *, note: str = "") -> None:
        self.entered.set()
        assert self.go.wait(60)
        self.marked.append(measurement)

    def close(self) -> None:
        pass
