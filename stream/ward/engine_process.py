"""The engine's process of a ward: what it depends on, where it listens, and what is shown of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.local.lane import listen
from stream.common.errors import OutputError
from stream.inference.frame_analyzer import needs_logits
from stream.ward.view import EngineView, ProcessState

if TYPE_CHECKING:
    import socket
    from contextlib import ExitStack

    from stream.app.options.session_options import SessionOptions
    from stream.ward.config import WardConfig
    from stream.ward.keeper import Keeper


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
    try:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="partum-", dir=os.environ.get("RUNTIME_DIRECTORY"))
        )
        path = str(Path(folder) / "engine")
        return stack.enter_context(listen(path)), path
    except OSError as error:
        raise OutputError(
            f"no socket can be made in {tempfile.gettempdir()} ({error.strerror or error}); set TMPDIR to a short path"
        ) from error


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
