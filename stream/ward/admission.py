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

from stream.ward.view import CapacityView, ProcessState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from stream.common.clock import Clock
    from stream.ward.config import WardConfig
    from stream.ward.feed_keeper import FeedKeeper
    from stream.ward.processes.capacity import Capacity

ASK_AGAIN_S = 5.0
"""A feed that was refused is looked at again so often: what the others really take is known by then."""
FIRST_MEASURE_S, LONGEST_MEASURE_S = 60.0, 1800.0
"""Where not one feed was admitted the machine is measured again so much later: it may have been busy with others."""


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
            late = f"the feeds would take {100 * found.load:.0f} % of this machine ({work}, {self.cores} cores)"
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


class FeedAdmission:
    """The feeds of a ward that run, and those that must stay out.

    Args:
        cores: that the ward may run on.
        clock: of the ward.
        told: takes lines for the log.

    Attributes:
        measured: what the machine can carry; None until it is known.
    """

    def __init__(self, *, cores: int, clock: Clock, told: Callable[[str], None]) -> None:
        self._cores, self._clock, self._told = cores, clock, told
        self.measured: Capacity | None = None
        self._asked_ns = 0
        self._measured_ns, self._measure_s = 0, FIRST_MEASURE_S

    def take(self, measured: Capacity) -> None:
        """The machine was measured."""
        self.measured = measured
        self._measured_ns, self._asked_ns = self._clock.now_ns(), 0

    def ask_again(self) -> None:
        """Feeds that were refused are looked at at once: the configuration is another."""
        self._asked_ns = 0

    def admit(self, feeds: Collection[FeedKeeper], config: WardConfig, capacity: Capacity | None) -> None:
        """Starts the feeds that the machine can carry, in the order of the file.

        Args:
            feeds: all.
            config: what holds now.
            capacity: what is known of the machine now.
        """
        waiting = [feed for feed in feeds if feed.is_waiting]
        now_ns = self._clock.now_ns()
        is_due = now_ns - self._asked_ns > ASK_AGAIN_S * 1e9
        for feed in waiting:
            is_refused = feed.state is ProcessState.REFUSED
            if capacity is None:
                feed.reason = feed.reason if is_refused else "waits for the engine"
                continue
            if is_refused and not is_due:
                continue
            self._asked_ns = now_ns
            admission = Admission(capacity, cores=self._cores, deadline_ms=config.limits.deadline_ms)
            own = config.feeds[feed.config.name]
            reason = "" if own.force else admission.refusal(loads(feeds, config), feed.load(own))
            if not reason:
                if is_refused:
                    self._told(f"{feed.name}: let in, as there is room for it now")
                feed.reason = ""
                feed.begin()
                continue
            if not is_refused:
                self._told(f"{feed.name}: refused: {reason}")
            feed.refuse(reason)

    def must_measure_again(self, feeds: Collection[FeedKeeper]) -> bool:
        """Whether not one feed was admitted: nothing runs that it would disturb.

        After a longer pause each time, for what was measured may be right. Where a feed runs, the engine is seen at
        work (`stream.ward.engine_process.EngineKeeper.capacity`).
        """
        if self.measured is None or not feeds or not all(feed.is_waiting for feed in feeds):
            return False
        if self._clock.now_ns() - self._measured_ns < self._measure_s * 1e9:
            return False
        self._told("not one feed was admitted: the machine is measured again")
        self._measure_s = min(2 * self._measure_s, LONGEST_MEASURE_S)
        return True

    def view(self, feeds: Collection[FeedKeeper], config: WardConfig, capacity: Capacity | None) -> CapacityView:
        """What is shown of the machine; arguments as of `admit`."""
        deadline_ms = config.limits.deadline_ms
        if capacity is None:
            return CapacityView(cores=self._cores, deadline_ms=deadline_ms)
        return Admission(capacity, cores=self._cores, deadline_ms=deadline_ms).view(loads(feeds, config))


def loads(feeds: Collection[FeedKeeper], config: WardConfig) -> list[FeedLoad]:
    """What the feeds that were admitted ask of the machine."""
    return [feed.load(config.feeds[feed.config.name]) for feed in feeds if not feed.is_waiting]


def capacity_text(capacity: Capacity | None, cores: int) -> str:
    """For the log, behind the name of the engine."""
    if capacity is None:
        return ""
    work_ms = 1e3 * (capacity.engine_cpu_s + capacity.feed_cpu_s)
    return f"; {capacity.engine_hz:.0f} frames a second alone, {work_ms:.1f} ms of work a frame, {cores} cores"
