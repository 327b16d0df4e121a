"""Stages of a frame from capture to result, and the timer of each."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """Stages that a frame passes, in order. Their times add up to its latency."""

    READ = "read"
    """From capture (in a benchmark: from when it was due) until it is handed on: decoding, where that comes after."""
    WAIT = "wait"
    """Until the engine is free."""
    PREPROCESS = "watch"
    """Cut to its sector, and compared with the frame before."""
    INFER = "infer"
    """Fitted to the network, and run through it."""
    HAND_OFF = "hand_off"
    """Until the measuring thread takes it."""
    MEASURE = "measure"
    """Measured and tracked."""


class StageTimer:
    """Times the stages of one frame, in milliseconds."""

    __slots__ = ("_last_ns", "stage_ms")

    def __init__(self, captured_ns: int) -> None:
        self._last_ns = captured_ns
        self.stage_ms: dict[Stage, float] = {}

    def record(self, stage: Stage, now_ns: int) -> None:
        """Notes that a stage is left; it began where the one before ended."""
        self.stage_ms[stage] = (now_ns - self._last_ns) / 1e6
        self._last_ns = now_ns
