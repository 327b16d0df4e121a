"""The pipeline: three threads joined by bounded channels, from frames to measurements.

    source --Frame--> [channel] --> engine --Prediction--> [channel] --> measure, track --> [channel] --> caller
     capture thread                 infer thread                         measure thread

Waiting frames are dropped in the first channel alone, where its overflow policy says so. Repeated frames are dropped by
preprocessing; what a source could not read or decode in time comes from it already marked as dropped.
"""

from __future__ import annotations

import heapq
import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from engines.base import AnsweringEngine
from engines.closing import close_after, close_all
from stream.common.channel import Channel, ChannelClosed, ChannelStats, Overflow
from stream.common.clock import Clock, MonotonicClock
from stream.frames.frame import SegmentCause
from stream.frames.reason import Reason, ReasonKind
from stream.inference.frame_analyzer import FrameAnalyzer
from stream.measurement.biometry import Orientation
from stream.measurement.protocols import DEFAULT_PROTOCOL
from stream.pipeline.inference_pool import InferencePool, Inferred
from stream.pipeline.lag_buffer import LagBuffer
from stream.pipeline.record import FrameState, Measurement
from stream.pipeline.stages import Stage, StageTimer
from stream.tracking.tracker import AOP_NOISE_DEG, Tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from engines.base import Engine, Prediction
    from stream.frames.frame import Frame
    from stream.preprocessing.preprocessor import Preprocessor
    from stream.sources.base import FrameSource
    from stream.tracking.kalman import FilterNoise

AnyChannel = Channel[Any]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A frame that did not go to the network."""

    reason: Reason


CHANNEL_CAPACITY = 2
"""Enough to overlap decoding, inference and measuring; more only adds latency."""

JOIN_TIMEOUT_S = 30.0
"""A stage that does not end by then is stuck in native code: said as an error rather than waited for."""


class Pipeline:
    """Runs a source through an engine; iterate it for one `Measurement` per frame, in order.

    Use it as a context manager: leaving it stops and joins every thread, whatever happened, and closes source
    and engine. An error in any stage ends the run; what had been read before it is still delivered, then the
    iteration raises that error.

    Args:
        source: frames; closed by the pipeline.
        engine: closed by the pipeline.
        protocol: how AoP and HSD are measured, a name in `stream.measurement.protocols.PROTOCOLS`.
        orientation: whether the pictures are mirrored; `AUTO` finds out.
        overflow: what happens to frames that come faster than they are processed.
        clock: the clock that stamped the frames.
        preprocessor: cuts frames to their sector, and tells those that the network need not be asked about: repeated,
            frozen, black ones. None takes every frame as it is.
        noise: what the filter assumes of AoP in degrees.
        lag_s: each result is held back for so long, and smoothed by what is measured meanwhile; 0 for none.
    """

    def __init__(
        self,
        source: FrameSource,
        engine: Engine,
        *,
        protocol: str = DEFAULT_PROTOCOL,
        orientation: Orientation = Orientation.AUTO,
        overflow: Overflow = Overflow.BLOCK,
        clock: Clock | None = None,
        preprocessor: Preprocessor | None = None,
        lag_s: float = 0.0,
        noise: FilterNoise = AOP_NOISE_DEG,
    ) -> None:
        self._preprocessor = preprocessor
        self._source, self._engine, self._protocol = source, engine, protocol
        self._clock = clock or MonotonicClock()
        self._analyzer = FrameAnalyzer.of(engine.spec, protocol=protocol, orientation=orientation)
        self._answering = AnsweringEngine(engine.description, engine.spec)
        self._tracker = Tracker(noise)
        self._lag_s, self._lag = lag_s, LagBuffer(lag_s, now_ns=self._clock.now_ns)
        self._dropped: list[tuple[int, Frame]] = []
        self._dropped_lock = threading.Lock()
        self._segment = 0, SegmentCause.START
        self._frames: Channel[tuple[Frame, StageTimer]] = Channel(
            CHANNEL_CAPACITY, overflow=overflow, on_drop=lambda dropped: self._note_drop(dropped[0])
        )
        self._predictions: Channel[tuple[Frame, Skipped | Future[Inferred], StageTimer]] = Channel(CHANNEL_CAPACITY)
        self._measurements: Channel[Measurement] = Channel(CHANNEL_CAPACITY)
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._error_lock = threading.Lock()
        stages: tuple[tuple[str, Callable[[], None], AnyChannel | None, AnyChannel], ...] = (
            ("capture", self._capture, None, self._frames),
            ("infer", self._infer, self._frames, self._predictions),
            ("measure", self._measure, self._predictions, self._measurements),
        )
        self._threads = [
            threading.Thread(target=self._run_stage, args=(stage, taken, given), name=f"partum-{name}")
            for name, stage, taken, given in stages
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __iter__(self) -> Iterator[Measurement]:
        """Yields a measurement per frame; raises the first error of any stage after the last of them."""
        yield from self._measurements
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Ends the source; what is under way is still measured. Safe from any thread and from a signal handler."""
        self._stopping.set()
        self._source.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for channel in (self._frames, self._predictions, self._measurements):
            channel.cancel()
        close = partial(close_all, self._source.close, self._end)
        if error is None:
            close()
        else:
            close_after(error, close)

    def _end(self) -> None:
        """Waits for the threads, then closes the engine; one that a thread is stuck in cannot be closed."""
        for thread in self._threads:
            thread.join(JOIN_TIMEOUT_S)
        stuck = [thread.name for thread in self._threads if thread.is_alive()]
        if stuck:
            raise RuntimeError(f"{', '.join(stuck)} did not end within {JOIN_TIMEOUT_S:.0f} s")
        self._engine.close()

    @property
    def channels(self) -> dict[str, ChannelStats]:
        """Exact counters of each hand-off, by the name of the stage that sends."""
        return {
            "capture": self._frames.stats,
            "infer": self._predictions.stats,
            "measure": self._measurements.stats,
        }

    def _run_stage(self, stage: Callable[[], None], taken: AnyChannel | None, given: AnyChannel) -> None:
        """Runs a stage to its end, normal or not; the first error of all is kept for the caller.

        Closing what it gives lets the stages downstream finish what waits; cancelling what it takes frees a
        sender that would wait for ever, which then does the same to the one before it.
        """
        try:
            stage()
        except ChannelClosed:
            pass  # the stage downstream has gone, with its own error or because the caller left
        except BaseException as error:  # noqa: BLE001 - a thread's boundary: raised again at the caller
            with self._error_lock:
                self._error = self._error or error
            close_after(error, self._source.close)
        finally:
            if taken:
                taken.cancel()
            given.close()

    def _capture(self) -> None:
        for frame in self._source:
            if frame.refusal is Reason.OVERLOAD:  # it must not take the place of one that was decoded
                self._note_drop(frame)
                continue
            timer = StageTimer(frame.captured_ns)
            timer.record(Stage.READ, self._clock.now_ns())
            self._frames.send((frame, timer))
            if self._stopping.is_set():
                return

    def _infer(self) -> None:
        now_ns = self._clock.now_ns
        with InferencePool(self._engine, self._clock) as network:
            for taken, timer in self._frames:
                timer.record(Stage.WAIT, now_ns())
                frame, reason = self._preprocessor.process(taken) if self._preprocessor else (taken, taken.refusal)
                timer.record(Stage.PREPROCESS, now_ns())
                outcome = Skipped(reason) if reason else network.start(frame, timer)
                self._predictions.send((frame, outcome, timer))

    def _measure(self) -> None:
        for frame, given, timer in self._predictions:
            outcome = given.result() if isinstance(given, Future) else given
            timer.record(Stage.HAND_OFF, self._clock.now_ns())
            numbered = self._analyzer.assign_segment(frame)
            self._report_dropped(before=numbered)
            if isinstance(outcome, Skipped):
                self._send(self._skipped(numbered, outcome.reason))
            else:
                self._send(self._read(frame, outcome, timer))
        self._report_dropped(before=None)
        for measurement in self._lag.flush():
            self._measurements.send(measurement)

    def _send(self, measurement: Measurement) -> None:
        """Gives a result on, after the lag that was asked for."""
        is_followed = self._lag_s and measurement.state is not FrameState.DROPPED
        states = self._tracker.states(measurement.frame.pts_s) if is_followed else None
        for ready in self._lag.add(measurement, states):
            self._measurements.send(ready)

    def _read(self, frame: Frame, inferred: Inferred, timer: StageTimer) -> Measurement:
        self._note_engine(inferred.prediction)
        reading = self._analyzer.analyze(frame, inferred.letterbox, inferred.prediction)
        frame = reading.frame
        tracks = self._tracker.follow(frame, reading.biometry)
        now_ns = self._clock.now_ns()
        timer.record(Stage.MEASURE, now_ns)
        return Measurement(
            frame=frame,
            protocol=self._protocol,
            state=FrameState.REFUSED if reading.biometry.reason else FrameState.MEASURED,
            reason=reading.biometry.reason,
            plane_probability=reading.plane_probability,
            biometry=reading.biometry,
            aop=tracks.aop,
            hsd_min=tracks.hsd_min,
            hsd_perp=tracks.hsd_perp,
            outlines=reading.outlines,
            mask=reading.mask,
            latency_ms=(now_ns - frame.captured_ns) / 1e6,
            stage_ms=timer.stage_ms,
            engine=self._answering.description.name,
            engine_replaced=self._answering.replaced,
            engine_warning=self._answering.spec.warning,
        )

    def _note_engine(self, prediction: Prediction) -> None:
        """From the first answer of another engine on, frames are judged by the facts of that one's model."""
        if prediction.engine is not None and prediction.engine != self._answering:
            self._answering = prediction.engine
            self._analyzer.use(prediction.engine.spec)

    def _skipped(self, frame: Frame, reason: Reason) -> Measurement:
        """The record of a frame that did not go to the network: no number is shown with it, nor an old one."""
        state = FrameState.DROPPED if reason.kind is ReasonKind.DROPPED else FrameState.REFUSED
        if state is FrameState.REFUSED:
            self._tracker.refuse(frame)
        return Measurement(
            frame=frame,
            protocol=self._protocol,
            state=state,
            reason=reason,
            latency_ms=self._latency_ms(frame),
            engine_warning=self._answering.spec.warning,
        )

    def _report_dropped(self, before: Frame | None) -> None:
        """Passes on, in order, the frames that were dropped before frame `before` (all, where None).

        They were never preprocessed: they belong to the segment that had begun by then.
        """
        if before is not None:
            self._segment = before.segment, before.segment_cause
        segment, cause = self._segment
        while (dropped := self._next_dropped(before)) is not None:
            frame = replace(dropped, segment=segment, segment_cause=cause)
            self._send(self._skipped(frame, Reason.OVERLOAD))

    def _next_dropped(self, before: Frame | None) -> Frame | None:
        """Takes the first of the dropped frames, where it comes before frame `before`."""
        with self._dropped_lock:
            if not self._dropped or (before is not None and self._dropped[0][0] > before.index):
                return None
            return heapq.heappop(self._dropped)[1]

    def _note_drop(self, frame: Frame) -> None:
        """Keeps what the record of a dropped frame needs, not its pixels: there may be many while an engine stalls."""
        small = replace(frame, image=np.zeros((1, 1), np.uint8))
        with self._dropped_lock:
            heapq.heappush(self._dropped, (frame.index, small))

    def _latency_ms(self, frame: Frame) -> float:
        return (self._clock.now_ns() - frame.captured_ns) / 1e6
