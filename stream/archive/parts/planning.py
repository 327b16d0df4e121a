"""Finds where a long recording may be cut: decodes and preprocesses it once, without the network.

Preprocessing knows of a picture what it learned of all those before it, so it is done once for the whole recording,
and what it made of each frame goes to whoever measures it. Network, measurement and tracks begin anew with a segment,
but for the doubt that a refused frame casts on the next: see `RecordingPart.before`.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import av
import av.error

from engines.errors import PartumError
from stream.api.preprocessing import preprocessor_for
from stream.archive.parts.frame_log import FrameLogWriter, LoggedFrame
from stream.archive.parts.plan import PLAN, Plan, RecordingPart
from stream.batch.content import stamp_of
from stream.batch.measuring import is_final, stream_warnings
from stream.batch.recordings import Form
from stream.common.clock import MonotonicClock
from stream.common.errors import SourceUnavailable
from stream.frames.frame import SegmentCause
from stream.frames.reason import ReasonKind
from stream.measurement.biometry import Orientation
from stream.preprocessing.preprocessor import FramePreprocessor
from stream.sources.base import DEFAULT_RATE_HZ
from stream.sources.files.kinds import SourceKind, kind_of
from stream.sources.recorded import FRAMES
from stream.sources.recording_base import RecordingSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream.app.options.session_options import SessionOptions
    from stream.batch.recordings import Recording
    from stream.frames.frame import Frame
    from stream.frames.reason import Reason
    from stream.preprocessing.view import View
    from stream.sources.base import FrameSource
    from stream.sources.decoding.picture_reader import DecodingEntry

    Put = Callable[[str, bytes], None]

LEAST_PARTS = 2
"""A recording is looked at for seams where it is as long as so many parts at least."""


def length_s(recording: Recording) -> float:
    """How long a file or what `--record` wrote is, by a look that costs little, in seconds; 0 of films of images."""
    path = Path(recording.path)
    if recording.form is not Form.SINGLE or recording.path.startswith("phantom:"):
        return 0.0
    try:
        kind = kind_of(path)
        if kind is SourceKind.RECORDED:
            with (path / FRAMES).open("rb") as lines:
                return float(sum(1 for _ in lines) / DEFAULT_RATE_HZ)
        if kind is SourceKind.VIDEO:
            with av.open(f"file:{path}", metadata_errors="replace") as container:
                return float((container.duration or 0) / av.time_base)
        if kind in (SourceKind.DICOM, SourceKind.STACK):
            with recording.open(clock=MonotonicClock(), spacing=None) as source:
                return float((source.info.frame_count or 0) / (source.info.frame_rate_hz or DEFAULT_RATE_HZ))
    except (PartumError, OSError, ValueError, av.error.FFmpegError):
        pass  # whoever measures it says what is wrong
    return 0.0


def make_plan(
    recording: Recording,
    *,
    session: SessionOptions,
    least_s: float,
    put: Put,
    shown: Callable[[str], str] = lambda text: text,
) -> Plan | None:
    """Finds the parts of a recording and writes what it knows of them; None where there is no seam to cut it at.

    Args:
        recording: on this machine.
        session: how it is measured.
        least_s: seconds that a part has at least, but the last.
        put: writes a file of the plan.
        shown: a text about the recording, as it may be written.

    Raises:
        PartumError: what another try, or another machine, may mend.
    """
    stamp, clock = stamp_of(recording), MonotonicClock()
    with stream_warnings() as warned, recording.open(clock=clock, spacing=session.spacing) as source:
        rate_hz = source.info.frame_rate_hz or DEFAULT_RATE_HZ
        planner = Planner(session.orientation, least_frames=max(1, round(least_s * rate_hz)), put=put)
        error = None
        try:
            _preprocess(recording, source, session, planner)
        except PartumError as failure:
            if not is_final(failure):
                raise
            error = recording.told(str(failure))
        note = source.info.note
    if stamp_of(recording) != stamp:
        raise SourceUnavailable(f"{recording.source}: was written to while it was read; measure it when it is whole")
    parts = planner.finish()
    if len(parts) < LEAST_PARTS:
        return None
    warnings = tuple(shown(recording.told(each)) for each in warned)
    plan = Plan(parts=parts, error=error and shown(error), note=shown(note), warnings=warnings)
    put(PLAN, plan.as_bytes())
    return plan


def _preprocess(recording: Recording, source: FrameSource, session: SessionOptions, planner: Planner) -> None:
    preprocessor = preprocessor_for(
        recording.path,
        source,
        protocol=session.protocol,
        options=session.preprocessing,
        spacing=session.spacing,
        reopen=lambda: recording.open(clock=MonotonicClock(), spacing=session.spacing),
    )
    for raw in source:
        frame, reason = preprocessor.process(raw)
        view = preprocessor.view if isinstance(preprocessor, FramePreprocessor) else None
        entry = source.entry if isinstance(source, RecordingSource) else None
        planner.add(raw, frame, reason, view=view, entry=entry)


class Planner:
    """Takes the frames of a recording in order and cuts where a segment begins, once a part is long enough.

    It is not cut where what a part needs to know is more than one frame: behind a segment that began with a flip of
    the display, where the user said the orientation, which ended there.

    Args:
        orientation: as the user said it.
        least_frames: of a part.
        put: writes the log of a part.
    """

    def __init__(self, orientation: Orientation, *, least_frames: int, put: Put) -> None:
        self._is_said = orientation is not Orientation.AUTO
        self._least_frames, self._put = least_frames, put
        self._parts: list[RecordingPart] = []
        self._part = RecordingPart(begin=0, end=0)
        self._log = FrameLogWriter()
        self._segment: int | None = None
        self._has_ended = False  # what the user said of the orientation
        self._before: tuple[LoggedFrame, Frame, DecodingEntry | None] | None = None

    def add(
        self,
        raw: Frame,
        frame: Frame,
        reason: Reason | None,
        *,
        view: View | None = None,
        entry: DecodingEntry | None = None,
    ) -> None:
        """Takes the next frame.

        Args:
            raw: as its source gave it.
            frame: as preprocessing passed it on.
            reason: why it must not go to the network.
            view: how it was cut and masked.
            entry: where decoding may begin to have it.
        """
        logged = LoggedFrame.of(raw, frame, reason, view)
        if self._segment is not None and frame.segment != self._segment:
            if frame.index - self._part.begin >= self._least_frames and not self._has_ended and self._before:
                self._cut(raw, *self._before)
            self._has_ended = self._is_said and (
                frame.segment_cause is SegmentCause.ORIENTATION
                or (self._has_ended and frame.segment_cause is not SegmentCause.LOOP)
            )
        self._segment = frame.segment
        self._log.add(logged)
        self._part = replace(self._part, end=frame.index + 1)
        if reason is None or reason.kind is not ReasonKind.DROPPED:
            self._before = logged, raw, entry

    def finish(self) -> tuple[RecordingPart, ...]:
        """All parts; nothing may be added afterwards."""
        if self._part.end > self._part.begin:
            self._end_part()
        return tuple(self._parts)

    def _cut(self, first: Frame, before: LoggedFrame, picture: Frame, entry: DecodingEntry | None) -> None:
        """Begins a part with the frame `first`."""
        self._end_part()
        checksum = zlib.crc32(picture.image.tobytes()), zlib.crc32(first.image.tobytes())
        self._part = RecordingPart(
            begin=first.index,
            end=first.index,
            before=before.index,
            entry=(entry.packet, entry.picture) if entry else None,
            checksum=checksum,
        )
        self._log = FrameLogWriter()
        self._log.add(before)

    def _end_part(self) -> None:
        self._put(f"{self._part.name}.log", self._log.finish())
        self._parts.append(self._part)
