"""Measures a part of a recording, and joins parts to what the recording would have given as a whole."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from engines.sharing import BorrowedEngine
from stream.archive.parts.frame_log import read_frame_log
from stream.archive.parts.part_source import LoggedPreprocessor, PartSource
from stream.batch.measuring import stream_warnings
from stream.batch.summary import COMPLETE, FAILED
from stream.batch.summary_sink import SummaryCourse, SummarySink, row_of
from stream.common.clock import MonotonicClock
from stream.outputs.tables import JsonLinesTable
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import FrameState
from stream.pipeline.statistics import RunStatistics
from stream.sources.base import SourceInfo
from stream.tracking.tracker import AOP_NOISE_DEG

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from engines.base import Engine
    from stream.app.options.session_options import SessionOptions
    from stream.archive.parts.plan import Plan, RecordingPart
    from stream.batch.recordings import Recording
    from stream.batch.summary import Row
    from stream.pipeline.record import Measurement

RECORDS = "measurements.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartResult:
    """What is known of a part that was measured, beside its frames.

    Attributes:
        begin: its first frame.
        is_refused_before: whether the frame before it was taken for refused.
        is_refused_last: whether the last frame of it that was looked at was refused; None where none was.
        more_segments: how many the network's word on the orientation began in it.
        counts: `RunStatistics.as_counts`.
        best: `SummarySink.best_facts`.
        score: `SummarySink.score`.
        engine: that measured.
        warnings: of what measured.
    """

    begin: int
    is_refused_before: bool
    is_refused_last: bool | None
    more_segments: int
    counts: dict[str, Any]
    best: Row
    score: float | None
    engine: str
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Its fields, as JSON values."""
        return asdict(self)


def measure_part(
    recording: Recording,
    part: RecordingPart,
    log: bytes,
    *,
    session: SessionOptions,
    engine: Engine,
    folder: Path,
    is_refused_before: bool | None = None,
) -> PartResult:
    """Measures a part; the records of its frames are in `folder` when this returns.

    Args:
        recording: on this machine.
        part: of it.
        log: what preprocessing made of its frames.
        session: how it is measured.
        engine: stays open.
        folder: for `measurements.jsonl`; empty.
        is_refused_before: whether the frame before it was refused; None asks the network about that frame alone.

    Raises:
        PartumError: what another try, or another machine, may mend.
    """
    taker = _Taker(part, folder)
    clock = MonotonicClock()
    info = SourceInfo(uri=recording.source, kind="part", width=1, height=1)
    frames = read_frame_log(log)
    with (
        stream_warnings() as warned,
        Pipeline(
            PartSource(recording, part, clock=clock, spacing=session.spacing, info=info),
            BorrowedEngine(engine),
            protocol=session.protocol,
            orientation=session.orientation,
            clock=clock,
            preprocessor=LoggedPreprocessor(frames, before=part.before, is_refused_before=is_refused_before),
            lag_s=session.lag_s,
            noise=session.noise or AOP_NOISE_DEG,
        ) as pipeline,
    ):
        try:
            for measurement in pipeline:
                taker.take(measurement)
        finally:
            taker.records.close()
    more_segments = taker.segment - _last_segment(log) if taker.statistics.frames_in else 0
    return PartResult(
        begin=part.begin,
        is_refused_before=taker.is_refused_before if is_refused_before is None else is_refused_before,
        is_refused_last=taker.is_refused_last,
        more_segments=more_segments,
        counts=taker.statistics.as_counts(),
        best=taker.shown.best_facts(),
        score=taker.shown.score,
        engine=engine.name,
        warnings=tuple(recording.told(each) for each in warned),
    )


def _last_segment(log: bytes) -> int:
    last = 0
    for frame in read_frame_log(log):
        last = frame.segment
    return last


class _Taker:
    """Takes the measurements of a part, and leaves out the frame before it."""

    def __init__(self, part: RecordingPart, folder: Path) -> None:
        self._part = part
        self.records = JsonLinesTable(folder / RECORDS)
        self.statistics = RunStatistics()
        self.shown = SummarySink(folder, SummaryCourse(), draws=False, is_still=False, note="")
        self.is_refused_before = False
        self.is_refused_last: bool | None = None
        self.segment = 0

    def take(self, measurement: Measurement) -> None:
        is_refused = None if measurement.state is FrameState.DROPPED else measurement.state is FrameState.REFUSED
        if measurement.frame.index < self._part.begin:
            self.is_refused_before = bool(is_refused)
            return
        self.records.write(measurement)
        self.statistics.add(measurement)
        self.shown.write(measurement)
        self.segment = measurement.frame.segment
        self.is_refused_last = self.is_refused_last if is_refused is None else is_refused


def wrong_beginnings(results: Sequence[PartResult]) -> dict[int, bool]:
    """The parts that took the frame before them for what it was not, by their first frame, and what it was.

    How a frame is judged does not rest on tracks, so what a part says of its own last frame stands whatever it took
    for granted; a part that is measured once more with this is right.
    """
    wrong: dict[int, bool] = {}
    is_refused = False
    for result in results:
        if result.is_refused_before != is_refused:
            wrong[result.begin] = is_refused
        if result.is_refused_last is not None:
            is_refused = result.is_refused_last
    return wrong


def joined_row(
    plan: Plan, results: Sequence[PartResult], *, session: SessionOptions, engine: Engine, sha256: str
) -> Row:
    """The row of a recording from those of all its parts, as `stream.batch.measuring.measure_job` makes it."""
    statistics = RunStatistics()
    for result in results:
        statistics.add_counts(result.counts)
    row: Row = {"state": COMPLETE}
    row |= row_of(statistics, _Best(results), engine=engine, protocol=session.protocol, is_still=False, note=plan.note)
    row["engine"] = "; ".join(dict.fromkeys(result.engine for result in results))
    if plan.error is not None:
        row |= {"state": FAILED, "error": plan.error}
    told = dict.fromkeys(each for result in results for each in result.warnings if each not in plan.warnings)
    notes = [row.get("note", ""), *plan.warnings, *told]
    return row | {"note": "; ".join(each for each in notes if each), "sha256": sha256}


class _Best:
    """The best frame of all parts, the first of equals; a `stream.batch.summary_sink.Shown`."""

    def __init__(self, results: Sequence[PartResult]) -> None:
        known = [result for result in results if result.score is not None]
        self._best = max(known, key=lambda result: result.score if result.score is not None else -1.0, default=None)

    def best_facts(self) -> Row:
        return dict(self._best.best) if self._best else {}

    def best_reading(self) -> Row:
        return {}
