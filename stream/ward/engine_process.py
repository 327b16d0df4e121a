"""The engine's process of a ward: its keeper, what it depends on, where it listens, and what is shown of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.local.lane import listen
from stream.common.errors import OutputError
from stream.common.folder_lock import is_locked, locked_folder
from stream.inference.frame_analyzer import needs_logits
from stream.ward.config import ENGINE
from stream.ward.keeper import Keeper, KeeperLimits
from stream.ward.processes.recent import FEWEST_FRAMES, Recent
from stream.ward.view import EngineView, ProcessState

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from contextlib import ExitStack

    from stream.app.options.session_options import SessionOptions
    from stream.common.clock import Clock
    from stream.ward.config import WardConfig
    from stream.ward.keeper import Child
    from stream.ward.processes.capacity import Capacity

_FOLDER = "partum-ward-"
BEING_MADE_S = 60.0
"""A folder that is younger may not be locked yet."""


class EngineKeeper(Keeper):
    """The engine's.

    Args:
        spawn: starts its process.
        stuck_s: of the ward's limits.
        clock: of the ward.
        told: takes lines for the log.
    """

    def __init__(
        self, spawn: Callable[[], Child], *, stuck_s: float, clock: Clock, told: Callable[[str], None]
    ) -> None:
        limits = KeeperLimits(stuck_s, float("inf"))
        super().__init__(ENGINE, spawn, limits=limits, clock=clock, told=told, progress=_progress)
        self._spent = Recent()
        self._seen: tuple[float, float] | None = None

    def use(self, stuck_s: float) -> None:
        """Another limit, from now on."""
        self.limits = KeeperLimits(stuck_s, float("inf"))

    def step(self) -> None:
        before = self.beat
        super().step()
        if self.beat and self.beat is not before:
            beat = self.beat
            sums = (float(beat.get(name, 0.0)) for name in ("frames", "busy_s", "cpu_s"))
            _, frames, busy_s, cpu_s = self._spent.gained(self._clock.now_ns(), *sums)
            if frames >= FEWEST_FRAMES and busy_s:
                self._seen = frames / busy_s, cpu_s / frames

    def capacity(self, measured: Capacity) -> Capacity:
        """What was measured before a feed ran, or what was seen since, where that is better: then it was busy."""
        if self._seen is None:
            return measured
        engine_hz, cpu_s = self._seen
        return replace(
            measured,
            engine_hz=max(measured.engine_hz, engine_hz),
            engine_cpu_s=min(measured.engine_cpu_s, cpu_s),
        )


def _progress(beat: dict[str, Any]) -> object | None:
    """It gets on as long as no frame waits: one that waits for long is what a hanging device looks like."""
    return beat.get("frames") if beat.get("waiting_s") else None


def engine_facts(config: WardConfig) -> tuple[object, ...]:
    """What the engine's process depends on."""
    asked: SessionOptions | Any = config.analysis
    return (
        asked.model,
        asked.backend,
        asked.device,
        asked.precision,
        asked.early_exit,
        needs_logits(asked.protocol),
    )


def engine_socket(stack: ExitStack) -> tuple[socket.socket, str]:
    """A socket in a folder that nobody else can enter; both go at the end."""
    parent = Path(os.environ.get("RUNTIME_DIRECTORY") or tempfile.gettempdir())
    _remove_left_behind(parent)
    try:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=_FOLDER, dir=parent))
        stack.enter_context(locked_folder(Path(folder)))
        path = str(Path(folder) / "engine")
        return stack.enter_context(listen(path)), path
    except OSError as error:
        raise OutputError(
            f"no socket can be made in {parent} ({error.strerror or error}); set TMPDIR to a short path"
        ) from error


def _remove_left_behind(parent: Path) -> None:
    """Folders of wards that were killed."""
    for folder in parent.glob(f"{_FOLDER}*"):
        with suppress(OSError):  # another user's
            made_s = folder.stat().st_mtime
            if datetime.now(UTC).timestamp() - made_s > BEING_MADE_S and not is_locked(folder):
                shutil.rmtree(folder)


def engine_view(engine: Keeper | None, *, remote_name: str, is_remote: bool, is_away: bool, now_ns: int) -> EngineView:
    """What is shown of the engine's process, or of the server in its place; `is_away`: feeds wait for that."""
    if remote_name and is_away:
        reason = "the server does not answer"
        return EngineView(state=ProcessState.RESTARTING, name=remote_name, reason=reason, is_remote=True)
    if remote_name:
        return EngineView(state=ProcessState.RUNNING, name=remote_name, is_remote=True)
    if engine is None:
        return EngineView(state=ProcessState.STARTING, is_remote=is_remote)
    return EngineView(
        state=engine.state,
        name=str(engine.ready.get("engine", "")),
        reason=engine.reason,
        since_s=(now_ns - engine.since_ns) / 1e9,
        restarts=engine.restarts,
        is_remote=is_remote,
    )
