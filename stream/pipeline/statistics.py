"""Run statistics in constant memory: frame counts, value and latency distributions."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stream.frames.frame import SegmentCause
from stream.pipeline.record import FrameState
from stream.pipeline.stages import Stage
from stream.tracking.tracker import EstimateStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from stream.pipeline.record import Measurement


CUT_NOTE = "the picture is cut to another, so it may show more than one patient: medians are over all of it"


class LogHistogram:
    """Quantiles of any number of positive values in constant memory, to within a bin.

    Each bin is wider than the one before by the share `growth`, from `least` to `most`; values beyond are counted in
    the outermost bins.
    """

    def __init__(self, *, least: float, most: float, growth: float) -> None:
        self._least, self._step = least, math.log1p(growth)
        self._counts = np.zeros(math.ceil(math.log(most / least) / self._step) + 1, dtype=np.int64)
        self.total = 0.0
        """The sum of all values."""

    def add(self, value: float) -> None:
        """Counts one value; those at or below `least` fall into the first bin."""
        position = 0 if value <= self._least else int(math.log(value / self._least) / self._step) + 1
        self._counts[min(position, len(self._counts) - 1)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values were counted."""
        return int(self._counts.sum())

    def count_to(self, edge: float) -> int:
        """How many values lie at or below `edge`, to within the bin that holds it."""
        position = 0 if edge <= self._least else int(math.log(edge / self._least) / self._step) + 1
        return int(self._counts[: position + 1].sum())

    def as_counts(self) -> dict[str, int]:
        """What was counted, by the number of the bin: what `add_counts` takes."""
        return {str(position): int(self._counts[position]) for position in np.flatnonzero(self._counts)}

    def add_counts(self, counts: Mapping[str, int]) -> None:
        """Counts what another one of the same bins counted; `total` does not know of it."""
        for position, count in counts.items():
            self._counts[int(position)] += count

    def quantile(self, share: float) -> float | None:
        """The value that `share` of all values do not exceed; None where nothing was counted."""
        total = int(self._counts.sum())
        if not total:
            return None
        rank = max(1, math.ceil(share * total))
        position = int(np.searchsorted(np.cumsum(self._counts), rank))
        return self._least * math.exp(self._step * (position - 0.5 if position else 0))


@dataclass(frozen=True, slots=True)
class EngineSpan:
    """From which frame on an engine ran the network, and which one it replaced, in a line; empty of the first."""

    name: str
    from_frame: int
    replaced: str

    @property
    def change(self) -> str:
        """The change to it, in a line for people."""
        return f"from frame {self.from_frame} on {self.name} runs: {self.replaced}"


class RunStatistics:
    """The numbers a run ends with: `frames_in == measured + refused + dropped`, always."""

    def __init__(self) -> None:
        self.states: Counter[str] = Counter({str(state): 0 for state in FrameState})
        self.reasons: Counter[str] = Counter()
        self.drops: Counter[str] = Counter()
        self.latency_ms = LogHistogram(least=1e-3, most=1e6, growth=0.01)
        self.stage_ms = {stage: LogHistogram(least=1e-3, most=1e6, growth=0.01) for stage in Stage}
        self.aop_raw_deg = LogHistogram(least=0.1, most=1e4, growth=5e-4)
        """AoP as read from single frames."""
        self.engines: list[EngineSpan] = []
        """What ran the network, in order: one, unless it failed and another went on."""
        self._cuts: set[int] = set()
        self._values = {
            f"{name}{bound}": LogHistogram(least=0.1, most=1e4, growth=5e-4)
            for name in ("aop_deg", "hsd_min_px", "hsd_min_mm")
            for bound in ("", "/lo95", "/hi95")
        }
        self._absolute, self._raw_absolute = (
            [LogHistogram(least=0.1, most=1e4, growth=5e-4) for _ in range(2)] for _ in range(2)
        )

    def add(self, measurement: Measurement) -> None:
        """Counts one frame's result."""
        self.states[str(measurement.state)] += 1
        if measurement.frame.segment_cause is SegmentCause.CUT:
            self._cuts.add(measurement.frame.segment)
        if measurement.state is FrameState.DROPPED:
            self.drops[str(measurement.reason)] += 1
            return
        if measurement.reason:
            self.reasons[str(measurement.reason)] += 1
        self.latency_ms.add(measurement.latency_ms)
        # Where frames run side by side, one behind the first of the next engine may still be of the one before.
        if measurement.engine and measurement.engine not in (span.name for span in self.engines):
            self.engines.append(EngineSpan(measurement.engine, measurement.frame.index, measurement.engine_replaced))
        for stage, spent_ms in measurement.stage_ms.items():
            self.stage_ms[stage].add(spent_ms)
        if measurement.biometry and measurement.biometry.aop_deg is not None:
            self.aop_raw_deg.add(measurement.biometry.aop_deg)
            if (half := measurement.biometry.absolute_half_deg) is not None:
                for bounds, sign in zip(self._raw_absolute, (-1, 1), strict=True):
                    bounds.add(measurement.biometry.aop_deg + sign * half)
        scale = measurement.mm_per_px
        for name, estimate, unit in (
            ("aop_deg", measurement.aop, 1.0),
            ("hsd_min_px", measurement.hsd_min, 1.0),
            ("hsd_min_mm", measurement.hsd_min, scale),
        ):
            if estimate and unit and estimate.status is EstimateStatus.MEASURED:
                self._values[name].add(estimate.value * unit)
                self._values[f"{name}/lo95"].add(estimate.lo95 * unit)
                self._values[f"{name}/hi95"].add(estimate.hi95 * unit)
        if (aop := measurement.aop) and aop.absolute_half is not None and aop.status is EstimateStatus.MEASURED:
            for bounds, sign in zip(self._absolute, (-1, 1), strict=True):
                bounds.add(aop.value + sign * aop.absolute_half)

    def as_counts(self) -> dict[str, Any]:
        """The counts of frames and values, as JSON values; without times and engines, which are of one machine."""
        return {
            "states": dict(self.states),
            "reasons": dict(self.reasons),
            "drops": dict(self.drops),
            "cuts": len(self._cuts),
            "values": {name: values.as_counts() for name, values in self._named_values()},
        }

    def add_counts(self, counts: Mapping[str, Any]) -> None:
        """Adds the counts of what comes next in the same recording, as `as_counts` gives them."""
        for own, more in ((self.states, "states"), (self.reasons, "reasons"), (self.drops, "drops")):
            own.update(counts[more])
        self._cuts |= {-1} if counts["cuts"] else set()
        for name, values in self._named_values():
            values.add_counts(counts["values"][name])

    def _named_values(self) -> Iterator[tuple[str, LogHistogram]]:
        yield "aop_raw_deg", self.aop_raw_deg
        yield from self._values.items()
        for name, bounds in (("absolute", self._absolute), ("raw_absolute", self._raw_absolute)):
            yield from ((f"{name}/{end}", values) for end, values in zip(("lo95", "hi95"), bounds, strict=True))

    @property
    def frames_in(self) -> int:
        return sum(self.states.values())

    @property
    def engine_changes(self) -> list[str]:
        """A line for each time that an engine failed and another went on."""
        return [span.change for span in self.engines if span.replaced]

    @property
    def cut_note(self) -> str:
        """What must be said of values over a recording in which the picture is cut to another; "" of others."""
        return CUT_NOTE if self._cuts else ""

    def typical(self, name: str) -> tuple[float, float, float] | None:
        """Median of `aop_deg`, `hsd_min_px` or `hsd_min_mm`, with the median bounds of its repeatability interval."""
        found = [self._values[f"{name}{bound}"].quantile(0.5) for bound in ("", "/lo95", "/hi95")]
        value, low, high = found
        if value is None or low is None or high is None:
            return None
        return round(value, 1), round(low, 1), round(high, 1)

    @property
    def typical_absolute(self) -> tuple[float, float] | None:
        """Median bounds of the absolute interval of AoP; None where it is not known."""
        return _middle(self._absolute)

    @property
    def typical_raw_absolute(self) -> tuple[float, float] | None:
        """The same of AoP as read from single frames."""
        return _middle(self._raw_absolute)

    @property
    def summary(self) -> str:
        """The counts in one line, for people."""
        counts = ", ".join(f"{state} {count}" for state, count in self.states.items())
        return f"{self.frames_in} frames, {counts}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.summary}>"

    def as_json(self) -> dict[str, object]:
        """The statistics as written to `run.json`."""
        return {
            "frames_in": self.frames_in,
            **self.states,
            "refused_by_reason": dict(sorted(self.reasons.items())),
            "dropped_by_cause": dict(sorted(self.drops.items())),
            "engines": [asdict(span) for span in self.engines],
            "median_with_typical_interval": {
                name: self.typical(name) for name in ("aop_deg", "hsd_min_px", "hsd_min_mm")
            },
            "median_absolute_interval": {"aop_deg": self.typical_absolute},
            "latency_ms": _shares(self.latency_ms),
            "stage_ms": {str(stage): _shares(times) for stage, times in self.stage_ms.items()},
        }


def _middle(bounds: Sequence[LogHistogram]) -> tuple[float, float] | None:
    """The medians of an interval's ends."""
    low, high = (each.quantile(0.5) for each in bounds)
    return None if low is None or high is None else (round(low, 1), round(high, 1))


def _shares(times: LogHistogram) -> dict[str, float | None]:
    return {f"p{share}": _rounded(times.quantile(share / 100)) for share in (50, 90, 99)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
