"""A ward: the engine's process, a process for each feed, and what becomes of them.

    ward.toml --> Ward --> engine's keeper, a keeper for each feed, retention
                   |
                   '--> view(): what the wall shows

One thread does everything, `run`; `stop`, `reload` and `view` may be called from others and from signal handlers.
"""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, suppress
from dataclasses import replace
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from engines.registry import REMOTE
from engines.runtime import available_cores
from stream.common.clock import MonotonicClock
from stream.common.errors import OptionError, OutputError
from stream.ward.admission import Admission
from stream.ward.config import ENGINE, changed_feeds, read_ward_config
from stream.ward.engine_process import engine_facts, engine_socket, engine_view
from stream.ward.feed_keeper import FeedKeeper
from stream.ward.keeper import Keeper, KeeperLimits
from stream.ward.processes.capacity import Capacity
from stream.ward.processes.engine import EngineTask, run_engine
from stream.ward.processes.feed import FeedTask, run_feed
from stream.ward.processes.link import HOLD, WRITE
from stream.ward.recording.recordings import Recordings, part_options
from stream.ward.service.notify import ServiceManager
from stream.ward.spawning import SpawnedChild
from stream.ward.view import CapacityView, ProcessState, WardView

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream.common.clock import Clock
    from stream.ward.admission import FeedLoad
    from stream.ward.config import FeedConfig, WardConfig

TICK_S = 0.2
ASK_AGAIN_S = 5.0
"""A feed that was refused is looked at again so often: what the others really take is known by then."""
FIRST_MEASURE_S, LONGEST_MEASURE_S = 60.0, 1800.0
"""Where not one feed was admitted the machine is measured again so much later: it may have been busy with others."""


class Ward:
    """A `stream.ward.view.WardStatus`. A context manager.

    Args:
        config: of the ward.
        told: takes lines for the log.
        clock: tells pauses and silence.
        on_reload: takes a new configuration first; where it raises OptionError or OutputError, the old one holds.
        service: the service manager that is told how the ward stands; none by default.
        is_well: whether the wall answers; without that the service manager is given no sign of life.

    Raises:
        OutputError: the folder for recordings, or for the engine's socket, cannot be had.
    """

    def __init__(
        self,
        config: WardConfig,
        *,
        told: Callable[[str], None],
        clock: Clock | None = None,
        on_reload: Callable[[WardConfig], None] = lambda config: None,
        service: ServiceManager | None = None,
        is_well: Callable[[], bool] = lambda: True,
    ) -> None:
        self._config, self._told, self.on_reload, self.is_well = config, told, on_reload, is_well
        self._clock = clock or MonotonicClock()
        self._service = service or ServiceManager({}, clock=self._clock, process=os.getpid())
        self._began_ns = self._clock.now_ns()
        self._cores = available_cores()
        self._lock = threading.RLock()
        self._feeds: dict[str, FeedKeeper] = {}
        self._leaving: list[FeedKeeper] = []
        self._engine: Keeper | None = None
        self._capacity: Capacity | None = None
        self._remote_name = ""
        self._is_held = False
        self._asked_ns = 0
        self._measured_ns, self._measure_s = 0, FIRST_MEASURE_S
        self._stops = 0
        self._is_reloading = False
        self._reloads, self._reload_error = 0, ""
        self._wake_read, self._wake_write = os.pipe()
        with ExitStack() as stack:
            stack.callback(os.close, self._wake_write)
            stack.callback(os.close, self._wake_read)
            self._listening, self._socket_path = engine_socket(stack)
            self._recordings = Recordings(config.recording, told=told, changed=self._wake)
            stack.callback(self._end_all)
            self._stack = stack.pop_all()

    def __enter__(self) -> Ward:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def config(self) -> WardConfig:
        return self._config

    def stop(self) -> None:
        """Ends everything in good order; called again, at once."""
        self._stops += 1
        self._wake()

    def reload(self) -> None:
        """Reads `ward.toml` again, soon."""
        self._is_reloading = True
        self._wake()

    def run(self) -> None:
        """Runs until it was stopped and all has ended."""
        is_stopping = False
        while True:
            with self._lock:
                if self._stops > 1:
                    return
                if self._stops and not is_stopping:
                    is_stopping = True
                    self._told("stopping: what is under way is written")
                    self._service.stopping()
                    self._leave(set(self._feeds))
                if self._is_reloading:
                    self._is_reloading = False
                    if not is_stopping:
                        self._service.reloading()
                        self._reload()
                        self._service.reloaded()
                self._step(is_stopping=is_stopping)
                if is_stopping and not self._leaving:
                    return
                if not is_stopping:
                    self._service.turn(self.view, is_well=self.is_well)
                heard = [self._wake_read, *self._connections()]
            for each in wait(heard, TICK_S):
                if each == self._wake_read:
                    os.read(self._wake_read, 64)

    def view(self) -> WardView:
        with self._lock:
            now_ns = self._clock.now_ns()
            waiting = {keeper.config.name: keeper for keeper in self._leaving}
            keepers = [self._feeds.get(name) or waiting.get(name) for name in self._config.feeds]
            return WardView(
                feeds=tuple(keeper.view(self._config.feeds[keeper.config.name]) for keeper in keepers if keeper),
                engine=engine_view(
                    self._engine,
                    remote_name=self._remote_name,
                    is_remote=self._is_remote,
                    is_away=any(feed.is_engine_away for feed in self._feeds.values()),
                    now_ns=now_ns,
                ),
                capacity=self._capacity_view(),
                recording=self._recordings.view,
                up_s=(now_ns - self._began_ns) / 1e9,
                reloads=self._reloads,
                reload_error=self._reload_error,
            )

    def pids(self) -> dict[str, int]:
        """Process ids, by the names of feeds, and `engine`; of those that run now."""
        with self._lock:
            keepers: dict[str, Keeper] = {**self._feeds, **({ENGINE: self._engine} if self._engine else {})}
            return {name: keeper.child.pid for name, keeper in keepers.items() if keeper.child is not None}

    def _wake(self) -> None:
        with suppress(OSError):
            os.write(self._wake_write, b"!")

    def _connections(self) -> list[Any]:
        keepers = [*self._feeds.values(), *self._leaving, *([self._engine] if self._engine else [])]
        return [keeper.child.connection for keeper in keepers if isinstance(keeper.child, SpawnedChild)]

    def _step(self, *, is_stopping: bool) -> None:
        self._pass_hold_on()
        for keeper in [*self._leaving, *self._feeds.values()]:
            if self._engine is not None and self._engine.state is not ProcessState.RUNNING:
                keeper.excuse()
            keeper.step()
        self._leaving = [keeper for keeper in self._leaving if not keeper.is_over]
        if self._engine is not None:
            self._step_engine(self._engine)
        if is_stopping:
            return
        if self._engine is None and not self._remote_name and not self._leaving:
            self._begin_engine()
        busy = {keeper.config.name for keeper in self._leaving}
        for name, feed in self._config.feeds.items():
            if name not in self._feeds and name not in busy:
                self._feeds[name] = self._feed_keeper(feed)
        self._admit()

    def _begin_engine(self) -> None:
        options = next(iter(self._config.feeds.values())).options
        task = EngineTask(
            options=options,
            listening=None if self._is_remote else self._listening,
            is_measured=self._capacity is None,
            parent=os.getpid(),
        )
        self._engine = Keeper(
            ENGINE,
            lambda: SpawnedChild(run_engine, replace(task, is_measured=self._capacity is None), name="partum-engine"),
            limits=KeeperLimits(self._config.limits.stuck_s, float("inf")),
            clock=self._clock,
            told=self._told,
            # It gets on as long as no frame waits: one that waits for long is what a hanging device looks like.
            progress=lambda beat: beat.get("frames") if beat.get("waiting_s") else None,
        )
        self._engine.begin()

    def _step_engine(self, engine: Keeper) -> None:
        was_running = engine.state is ProcessState.RUNNING
        engine.step()
        if was_running or engine.state is not ProcessState.RUNNING:
            return
        if engine.ready.get("capacity"):
            self._capacity = Capacity(**engine.ready["capacity"])
            self._measured_ns, self._asked_ns = self._clock.now_ns(), 0
        name = str(engine.ready.get("engine", ""))
        for notice in engine.ready.get("notices", ()):
            self._told(f"engine: {notice}")
        self._told(f"engine: {name}{self._capacity_line()}")
        if self._is_remote:
            self._remote_name = name
            engine.kill()
            self._engine = None

    @property
    def _is_remote(self) -> bool:
        return str(self._config.analysis.model or "").startswith(REMOTE)

    def _capacity_line(self) -> str:
        if self._capacity is None:
            return ""
        found = self._capacity
        work_ms = 1e3 * (found.engine_cpu_s + found.feed_cpu_s)
        return f"; {found.engine_hz:.0f} frames a second alone, {work_ms:.1f} ms of work a frame, {self._cores} cores"

    def _feed_keeper(self, feed: FeedConfig) -> FeedKeeper:
        task = FeedTask(
            name=feed.name,
            label=feed.label,
            options=feed.options,
            engine=None if self._is_remote else self._socket_path,
            parts=part_options(self._config, feed.name),
            parent=os.getpid(),
        )
        return FeedKeeper(
            feed,
            lambda: self._spawn_feed(task),
            limits=self._config.limits,
            clock=self._clock,
            told=self._told,
        )

    def _spawn_feed(self, task: FeedTask) -> SpawnedChild:
        child = SpawnedChild(run_feed, task, name=f"partum-{task.name}")
        if self._is_held:
            child.send(HOLD)
        return child

    def _admit(self) -> None:
        """Starts the feeds that the machine can carry, in the order of the file."""
        waiting = [feed for feed in self._feeds.values() if feed.is_waiting]
        if not waiting:
            return
        if self._capacity is None:
            for feed in waiting:
                if feed.state is not ProcessState.REFUSED:
                    feed.reason = "waits for the engine"
            return
        now_ns = self._clock.now_ns()
        is_due = now_ns - self._asked_ns > ASK_AGAIN_S * 1e9
        for feed in waiting:
            if feed.state is ProcessState.REFUSED and not is_due:
                continue
            self._asked_ns = now_ns
            admission = self._admission(self._capacity)
            config = self._config.feeds[feed.config.name]
            reason = "" if config.force else admission.refusal(self._loads(), feed.load(config))
            if reason:
                if feed.state is not ProcessState.REFUSED:
                    self._told(f"{feed.name}: refused: {reason}")
                feed.refuse(reason)
            else:
                feed.reason = ""
                feed.begin()
        if len(waiting) == len(self._feeds) and all(feed.is_waiting for feed in waiting):
            self._measure_again(now_ns)

    def _measure_again(self, now_ns: int) -> None:
        """Nothing runs that a measurement would disturb; after a longer pause each time, for it may be right."""
        if now_ns - self._measured_ns < self._measure_s * 1e9:
            return
        self._told("not one feed was admitted: the machine is measured again")
        self._measure_s = min(2 * self._measure_s, LONGEST_MEASURE_S)
        self._forget_engine()

    def _forget_engine(self) -> None:
        """Another one is started in its place, and measured."""
        if self._engine is not None:
            self._engine.kill()
        self._engine, self._capacity, self._remote_name = None, None, ""

    def _admission(self, capacity: Capacity) -> Admission:
        return Admission(capacity, cores=self._cores, deadline_ms=self._config.limits.deadline_ms)

    def _loads(self) -> list[FeedLoad]:
        return [feed.load(self._config.feeds[name]) for name, feed in self._feeds.items() if not feed.is_waiting]

    def _reload(self) -> None:
        """Takes the new `ward.toml`, or keeps the old one where it is wrong."""
        try:
            if self._config.path.is_fifo():  # it would wait for somebody who writes
                raise OptionError(f"{self._config.path}: is a pipe, and can be read once; give a file, and start again")
            after = read_ward_config(self._config.path)
            with ExitStack() as stack:
                lock = self._recordings.locked(after.recording.folder)
                if lock is not None:
                    stack.push(lock)
                self.on_reload(after)
                stack.pop_all()
        except (OptionError, OutputError) as error:
            self._reload_error = str(error)
            self._told(f"not reloaded, the old configuration holds: {error}")
            return
        before, self._config = self._config, after
        self._reloads, self._reload_error = self._reloads + 1, ""
        changed = changed_feeds(before, after)
        if engine_facts(before) != engine_facts(after):
            self._forget_engine()
        elif self._engine is not None:
            self._engine.limits = KeeperLimits(after.limits.stuck_s, float("inf"))
        self._leave(changed & set(self._feeds))
        for feed in self._feeds.values():
            feed.use(after.limits)
        self._recordings.use(after.recording, lock)
        self._asked_ns = 0
        for notice in after.notices:
            self._told(notice)
        said = ", ".join(sorted(changed & {*before.feeds, *after.feeds})) or "none"
        self._told(f"reloaded {after.path}; feeds that changed: {said}")

    def _leave(self, names: set[str]) -> None:
        for name in names:
            keeper = self._feeds.pop(name)
            keeper.stop()
            self._leaving.append(keeper)

    def _pass_hold_on(self) -> None:
        if self._is_held != self._recordings.is_held:
            self._is_held = self._recordings.is_held
            for feed in self._feeds.values():
                if feed.child is not None:
                    feed.child.send(HOLD if self._is_held else WRITE)

    def _end_all(self) -> None:
        """Ends what is left, at once."""
        for keeper in [*self._feeds.values(), *self._leaving, *([self._engine] if self._engine else [])]:
            keeper.kill()
        self._recordings.close()

    def _capacity_view(self) -> CapacityView:
        deadline_ms = self._config.limits.deadline_ms
        if self._capacity is None:
            return CapacityView(cores=self._cores, deadline_ms=deadline_ms)
        return self._admission(self._capacity).view(self._loads())
