"""Which feeds a machine can carry: a feed that would make the results of all late is refused, with the number.

The work of a frame is the processor's time from capture to result; what all feeds need of it in a second, over what the
cores give, is the load. Of work `s` that shares a machine with load `p`, a result is expected after s / (1 - p): the
time in a processor-sharing queue (Kleinrock, Queueing Systems II, 1976, 4.4). Frames come evenly, so that this is on
the safe side; a load of 1 or more has no end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream.ward.view import CapacityView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.ward.processes.capacity import Capacity


@dataclass(frozen=True, slots=True)
class FeedLoad:
    """What a feed asks of the machine.

    Attributes:
        rate_hz: frames a second.
        cpu_s: of processor for a frame, beside the engine; None takes what was measured for any.
    """

    rate_hz: float
    cpu_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What some feeds together let expect.

    Attributes:
        load: share of the machine, 1 = all of it; the greater of processors and engine.
        work_ms: of processor for a frame, the mean of all feeds, in milliseconds.
        expected_ms: from capture to result; infinite where the load is 1 or more.
    """

    load: float
    work_ms: float
    expected_ms: float


class Admission:
    """Decides for one machine.

    Args:
        capacity: of the machine, measured.
        cores: that the ward may run on.
        deadline_ms: results must be expected sooner.
    """

    def __init__(self, capacity: Capacity, *, cores: int, deadline_ms: float) -> None:
        self.capacity, self.cores, self.deadline_ms = capacity, cores, deadline_ms

    def outlook(self, feeds: Sequence[FeedLoad]) -> Outlook:
        """What these feeds together let expect.

        Worked value: two cores, an engine of 200 frames a second and 8 ms of processor a frame, feeds of 4 ms. Two
        feeds at 30 Hz take 60 * 12 ms = 0.72 of 2 cores, load 0.36, and results are expected after 12 / 0.64 = 18.8 ms.
        """
        found = self.capacity
        rate_hz = sum(feed.rate_hz for feed in feeds)
        if not rate_hz:
            return Outlook(load=0.0, work_ms=0.0, expected_ms=0.0)
        cpu_s = sum(feed.rate_hz * (found.engine_cpu_s + self._cpu_s(feed)) for feed in feeds)
        work_ms = 1e3 * cpu_s / rate_hz
        load = max(cpu_s / self.cores, rate_hz / found.engine_hz)
        return Outlook(load=load, work_ms=work_ms, expected_ms=work_ms / (1 - load) if load < 1 else math.inf)

    def refusal(self, admitted: Sequence[FeedLoad], feed: FeedLoad) -> str:
        """Why a feed cannot be let in beside those that are; empty where it can."""
        found = self.outlook([*admitted, feed])
        if found.expected_ms <= self.deadline_ms:
            return ""
        rate_hz = sum(each.rate_hz for each in (*admitted, feed))
        work = f"{found.work_ms:.1f} ms of work a frame at {rate_hz:g} frames a second"
        if found.load >= 1:
            late = f"it would take {100 * found.load:.0f} % of this machine ({work}, {self.cores} cores)"
        else:
            late = (
                f"results would be {found.expected_ms:.0f} ms old, and the limit is {self.deadline_ms:g} ms ({work} on"
                f" {self.cores} cores, load {100 * found.load:.0f} %)"
            )
        return f"with it {late}; leave out a feed, lower its rate, or let it in by force = true"

    def view(self, feeds: Sequence[FeedLoad]) -> CapacityView:
        """What is shown of the machine while it carries these feeds."""
        found = self.outlook(feeds)
        return CapacityView(
            cores=self.cores,
            engine_hz=self.capacity.engine_hz,
            work_ms=found.work_ms or 1e3 * (self.capacity.engine_cpu_s + self.capacity.feed_cpu_s),
            load=found.load,
            expected_ms=found.expected_ms,
            deadline_ms=self.deadline_ms,
        )

    def _cpu_s(self, feed: FeedLoad) -> float:
        return self.capacity.feed_cpu_s if feed.cpu_s is None else feed.cpu_s
