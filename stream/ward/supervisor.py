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
from stream.ward.admission import FeedAdmission, capacity_text
from stream.ward.config import ENGINE, changed_feeds, read_ward_config
from stream.ward.engine_process import EngineKeeper, engine_facts, engine_socket, engine_view
from stream.ward.feed_keeper import FeedKeeper
from stream.ward.processes.capacity import Capacity
from stream.ward.processes.engine import EngineTask, run_engine
from stream.ward.processes.feed import FeedTask, run_feed
from stream.ward.processes.link import HOLD, WRITE
from stream.ward.recording.recordings import Recordings, part_options
from stream.ward.service.notify import ServiceManager
from stream.ward.spawning import SpawnedChild, wait_for_ends
from stream.ward.view import ProcessState, WardView

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream.common.clock import Clock
    from stream.ward.config import FeedConfig, WardConfig
    from stream.ward.keeper import Keeper

TICK_S = 0.2


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
        self._engine: EngineKeeper | None = None
        self._admission = FeedAdmission(cores=self._cores, clock=self._clock, told=told)
        self._children: list[SpawnedChild] = []
        self._remote_name = ""
        self._is_held = False
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
                capacity=self._admission.view(self._feeds.values(), self._config, self._capacity),
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
        return [keeper.child.waitable for keeper in keepers if isinstance(keeper.child, SpawnedChild)]

    def _step(self, *, is_stopping: bool) -> None:
        self._pass_hold_on()
        self._children = [child for child in self._children if child.exit_code() is None]
        engine = self._engine
        waits_for_engine = engine is not None and (engine.state is not ProcessState.RUNNING or engine.is_in_doubt)
        for keeper in [*self._leaving, *self._feeds.values()]:
            if waits_for_engine:
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
            is_measured=True,
            parent=os.getpid(),
        )
        self._engine = EngineKeeper(
            lambda: self._spawn(run_engine, replace(task, is_measured=self._capacity is None), ENGINE),
            stuck_s=self._config.limits.stuck_s,
            clock=self._clock,
            told=self._told,
        )
        self._engine.begin()

    def _step_engine(self, engine: EngineKeeper) -> None:
        was_running = engine.state is ProcessState.RUNNING
        engine.step()
        if was_running or engine.state is not ProcessState.RUNNING:
            return
        if engine.ready.get("capacity"):
            self._admission.take(Capacity(**engine.ready["capacity"]))
        name = str(engine.ready.get("engine", ""))
        for notice in engine.ready.get("notices", ()):
            self._told(f"engine: {notice}")
        self._told(f"engine: {name}{capacity_text(self._capacity, self._cores)}")
        if self._is_remote:
            self._remote_name = name
            engine.kill()
            self._engine = None

    @property
    def _is_remote(self) -> bool:
        return str(self._config.analysis.model or "").startswith(REMOTE)

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

    def _spawn(self, run: Callable[[Any, Any], None], task: object, name: str) -> SpawnedChild:
        child = SpawnedChild(run, task, name=f"partum-{name}")
        self._children.append(child)
        return child

    def _spawn_feed(self, task: FeedTask) -> SpawnedChild:
        child = self._spawn(run_feed, task, task.name)
        if self._is_held:
            child.send(HOLD)
        return child

    @property
    def _capacity(self) -> Capacity | None:
        """What is known of the machine now."""
        measured = self._admission.measured
        return measured if measured is None or self._engine is None else self._engine.capacity(measured)

    def _admit(self) -> None:
        feeds = self._feeds.values()
        self._admission.admit(feeds, self._config, self._capacity)
        if self._admission.must_measure_again(feeds):
            self._forget_engine()

    def _forget_engine(self) -> None:
        """Another one is started in its place, and measured."""
        if self._engine is not None:
            self._engine.kill()
        self._engine, self._admission.measured, self._remote_name = None, None, ""

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
            self._engine.use(after.limits.stuck_s)
        self._leave(changed & set(self._feeds))
        for feed in self._feeds.values():
            feed.use(after.limits)
        self._recordings.use(after.recording, lock)
        self._admission.ask_again()
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
        wait_for_ends(self._children)
        self._recordings.close()
