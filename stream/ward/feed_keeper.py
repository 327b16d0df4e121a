"""The keeper of a feed's process, and what the wall shows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stream.pipeline.record import STALE_S
from stream.ward.admission import FeedLoad
from stream.ward.keeper import Keeper, KeeperLimits
from stream.ward.processes.parts import NO_ROOM, ON
from stream.ward.processes.recent import FEWEST_FRAMES, Recent
from stream.ward.view import FeedPage, FeedView, NumberView, ProcessState

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream.common.clock import Clock
    from stream.ward.config import FeedConfig
    from stream.ward.keeper import Child
    from stream.ward.tables import LimitsTable


class FeedKeeper(Keeper):
    """A feed's.

    Args:
        config: of the feed.
        spawn: starts its process.
        limits: of the ward.
        clock: of the ward.
        told: takes lines for the log.
    """

    def __init__(
        self,
        config: FeedConfig,
        spawn: Callable[[], Child],
        *,
        limits: LimitsTable,
        clock: Clock,
        told: Callable[[str], None],
    ) -> None:
        super().__init__(
            config.name,
            spawn,
            limits=KeeperLimits(limits.stuck_s, limits.memory_mb),
            clock=clock,
            told=told,
            progress=_progress,
        )
        self.config = config
        self._said = ("", "")
        self._said_ns = self.since_ns
        self._spent = Recent()
        self._cpu_s: float | None = None
        self._cores = 0.0
        self._recording = ON

    @property
    def is_waiting(self) -> bool:
        """Whether it has not been admitted yet."""
        return self.child is None and self.state in (ProcessState.STARTING, ProcessState.REFUSED)

    def use(self, limits: LimitsTable) -> None:
        """Other limits, from now on."""
        self.limits = KeeperLimits(limits.stuck_s, limits.memory_mb)

    def load(self, config: FeedConfig) -> FeedLoad:
        """What it asks of the machine: what it was seen to take, where it ran for long enough."""
        return FeedLoad(config.rate_hz, self._cpu_s)

    def step(self) -> None:
        before = self.beat
        super().step()
        if self.beat and self.beat is not before:
            self._measure()
            self._tell_of_recording(str(self.beat.get("recording", "off")))
        said = (str(self.state), str(self.beat.get("shown", "")))
        if said != self._said:
            self._said, self._said_ns = said, self._clock.now_ns()

    def view(self, config: FeedConfig) -> FeedView:
        """Its state now.

        Args:
            config: what holds now: its label may be another.
        """
        now_ns = self._clock.now_ns()
        beat = self.beat if self.state is ProcessState.RUNNING else {}
        silent_s = (now_ns - self._heard_ns) / 1e9
        is_stale = silent_s > STALE_S
        age_s = beat.get("age_s")
        reason = self.reason or str(beat.get("reason", ""))
        return FeedView(
            name=config.name,
            label=config.label,
            state=self.state,
            shown="" if not beat else "delayed" if is_stale else str(beat["shown"]),
            reason=f"no sign of life for {silent_s:.0f} s" if beat and is_stale else reason,
            since_s=(now_ns - self._said_ns) / 1e9,
            is_waiting=self.is_waiting,
            restarts=self.restarts,
            next_start_s=self.next_start_s,
            aop=_number(beat.get("aop"), silent_s),
            hsd=_number(beat.get("hsd"), silent_s),
            age_s=None if age_s is None else float(age_s) + silent_s,
            latency_p99_ms=beat.get("latency_p99_ms"),
            measured_hz=0.0 if is_stale else float(beat.get("measured_hz", 0.0)),
            arriving_hz=0.0 if is_stale else float(beat.get("arriving_hz", 0.0)),
            frames=dict(beat.get("frames", {})),
            is_overloaded=bool(beat.get("is_overloaded")),
            cores=self._cores if beat else 0.0,
            memory_mb=float(beat.get("memory_mb", 0.0)),
            recording=str(beat.get("recording", "off")),
            page=self._page() if self.state is ProcessState.RUNNING else None,
        )

    @property
    def is_engine_away(self) -> bool:
        """Whether it waits for a server that has the model."""
        return bool(self.beat.get("is_engine_away"))

    def _tell_of_recording(self, said: str) -> None:
        """Says once why nothing is written, unless that is so of the whole ward, and once that it goes on."""
        if said in ("off", NO_ROOM) or said == self._recording:
            return
        self._told(f"{self.name}: recording goes on" if said == ON else f"{self.name}: nothing is recorded: {said}")
        self._recording = said

    def _page(self) -> FeedPage | None:
        said = self.ready
        return FeedPage(host=said["host"], port=said["port"], token=said["token"]) if "token" in said else None

    def _measure(self) -> None:
        """What a frame takes of the processor, over the last seconds."""
        beat = self.beat
        done = int(beat["frames"].get("measured", 0)) + int(beat["frames"].get("refused", 0))
        seconds, cpu_s, frames = self._spent.gained(self._clock.now_ns(), float(beat["cpu_s"]), done)
        if seconds:
            self._cores = cpu_s / seconds
        if frames >= FEWEST_FRAMES:
            self._cpu_s = cpu_s / frames


def _progress(beat: dict[str, Any]) -> int | None:
    """Frames that are done; None where nothing can be done, as the source or a server with the model is away."""
    can_go_on = beat.get("is_there") and not beat.get("is_engine_away")
    return sum(beat["frames"].values()) if can_go_on else None


def _number(said: dict[str, Any] | None, silent_s: float) -> NumberView | None:
    """A number of a beat, `silent_s` later; None where it has become too old to be shown."""
    if not said or float(said["age_s"]) + silent_s > STALE_S:
        return None
    return NumberView(
        value=float(said["value"]),
        low=float(said["low"]),
        high=float(said["high"]),
        interval=str(said["interval"]),
        is_fresh=bool(said["is_fresh"]),
        age_s=float(said["age_s"]) + silent_s,
    )
