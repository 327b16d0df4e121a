"""Frame times of a DICOM recording."""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream.sources.files.dicom.header import DicomHeader

TIME_BASE = Fraction(1, 1_000_000)

_FRAME_TIME = 0x00181063
_MIN_PERIOD_MS, _MAX_PERIOD_MS = 1, 10_000
_LIKE_STEPS = 4
"""Steps from frame to frame are taken to differ by this factor at most where the sum of them might be stored."""


@dataclass(frozen=True, slots=True)
class FrameTimes:
    """The times of the frames.

    Attributes:
        period_us: from frame to frame, in microseconds; the median where the steps differ.
        steps_us: from each frame to the next, as far as the file gives them one by one.
        note: what the viewer should know of them.
    """

    period_us: Fraction
    steps_us: tuple[Fraction, ...] = ()
    note: str = ""

    @classmethod
    def at_rate(cls, rate_hz: Fraction, note: str = "") -> FrameTimes:
        return cls(1 / (rate_hz * TIME_BASE), note=note)

    @property
    def rate_hz(self) -> Fraction:
        return 1 / (self.period_us * TIME_BASE)

    def stamps(self) -> Iterator[int]:
        """Endless pts in `TIME_BASE`, from 0 on; rounded one by one, so that errors do not add up."""
        steps = itertools.chain(self.steps_us, itertools.repeat(self.period_us))
        return map(round, itertools.accumulate(steps, initial=Fraction(0)))


def frame_times_of(header: DicomHeader, frame_count: int | None) -> FrameTimes | None:
    """The frame times that the header declares; None where it declares none that can be.

    Convention: FrameTimeVector or FrameTime, whichever FrameIncrementPointer points to, then the vector if
    there is one, FrameTime, ActualFrameDuration (both ms), CineRate (Hz), EffectiveDuration (s, of all frames),
    RecommendedDisplayFrameRate (Hz). Periods outside 1 ms to 10 s do not count. The vector's first element belongs to
    no step, unless the vector has one element less than there are frames; a step that does not count is replaced by
    the median of the others. A vector that only grows, in like steps, counts from the first frame, with a note.
    Worked value: FrameTimeVector 0, 30, 50, 0 ms gives pts 0, 30000, 80000, 120000 us.
    """
    pointer = header.number("FrameIncrementPointer")
    by_vector, by_period = _by_vector(header, frame_count), _by_period(header, frame_count)
    return by_period or by_vector if pointer == _FRAME_TIME else by_vector or by_period


def _by_vector(header: DicomHeader, frame_count: int | None) -> FrameTimes | None:
    vector_ms = [_decimal(value) for value in header.numbers("FrameTimeVector")]
    is_steps_alone = frame_count is not None and len(vector_ms) == frame_count - 1
    steps_ms, note = (vector_ms if is_steps_alone else vector_ms[1:]), ""
    if summed := _differences(vector_ms):
        steps_ms, note = summed, "frame times taken as counted from the first frame, as they only grow"
    sound_ms = [step for step in steps_ms if step and _is_period(step)]
    if not sound_ms:
        return None
    usual_ms = statistics.median_low(sound_ms)
    kept_ms = (step if step and _is_period(step) else usual_ms for step in steps_ms)
    return FrameTimes(1000 * usual_ms, tuple(1000 * step for step in kept_ms), note)


def _differences(vector_ms: list[Fraction | None]) -> list[Fraction | None] | None:
    """The steps of a vector that counts from the first frame, against the standard; None where it does not.

    Such a vector only grows, and in steps that are alike.
    """
    known = [value for value in vector_ms if value is not None]
    if len(known) < len(vector_ms) or len(known) < 4 or known[0] != 0:
        return None
    steps = [later - earlier for earlier, later in itertools.pairwise(known)]
    is_alike = min(steps) > 0 and max(steps) <= _LIKE_STEPS * min(steps)
    return list(steps) if is_alike else None


def _by_period(header: DicomHeader, frame_count: int | None) -> FrameTimes | None:
    period_ms, actual_ms, cine_hz, duration_s, display_hz = (
        _decimal(header.number(keyword))
        for keyword in (
            *("FrameTime", "ActualFrameDuration", "CineRate", "EffectiveDuration"),
            "RecommendedDisplayFrameRate",
        )
    )
    candidates_ms = (
        period_ms,
        actual_ms,
        cine_hz and 1000 / cine_hz,
        duration_s and frame_count and 1000 * duration_s / frame_count,
        display_hz and 1000 / display_hz,
    )
    return next((FrameTimes(1000 * ms) for ms in candidates_ms if ms and _is_period(Fraction(ms))), None)


def _decimal(value: float | None) -> Fraction | None:
    """Exactly the decimal that is written in the file."""
    return None if value is None or math.isnan(value) else Fraction(str(value))


def _is_period(period_ms: Fraction) -> bool:
    return _MIN_PERIOD_MS <= period_ms <= _MAX_PERIOD_MS
