"""The network's stage: as many frames side by side as the engine takes, answered in the order they were given."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from stream.inference.frame_analyzer import infer_frame
from stream.pipeline.stages import Stage

if TYPE_CHECKING:
    from types import TracebackType

    from engines.base import Engine, Prediction
    from engines.preprocess import Letterbox
    from stream.common.clock import Clock
    from stream.frames.frame import Frame
    from stream.pipeline.stages import StageTimer


@dataclass(frozen=True, slots=True, eq=False)
class Inferred:
    """What the network says of a frame, and how the frame was fitted in."""

    letterbox: Letterbox
    prediction: Prediction


class InferencePool:
    """Runs frames through an engine: in the caller's thread, or in threads where it takes several side by side.

    A context manager: leaving it waits for what is under way, and on the way out of an error drops what is not.

    Args:
        engine: stays the caller's.
        clock: of the frames' timers.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine, self._clock = engine, clock
        parallel = engine.description.parallel
        self._executor = ThreadPoolExecutor(parallel, "partum-network") if parallel > 1 else None

    def start(self, frame: Frame, timer: StageTimer) -> Future[Inferred]:
        """The answer to a frame, there or to come; its error is raised by `result`, or here.

        Raises:
            InferenceError: the engine failed in the caller's thread.
        """
        if self._executor is not None:
            return self._executor.submit(self._infer, frame, timer)
        answer: Future[Inferred] = Future()
        answer.set_result(self._infer(frame, timer))
        return answer

    def _infer(self, frame: Frame, timer: StageTimer) -> Inferred:
        inferred = Inferred(*infer_frame(self._engine, frame))
        timer.record(Stage.INFER, self._clock.now_ns())
        return inferred

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=error is not None)
