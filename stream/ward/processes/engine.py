"""The process of the engine that all feeds of a ward ask; of a model on a server, only what it takes to measure it."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from engines.errors import PartumError
from engines.local.server import EngineServer
from engines.redaction import redact_text
from stream.common.child_process import end_with_parent, expendable, ignore_terminal_signals, resident_bytes
from stream.ward.processes.link import BEAT, BEAT_S, FAILED, READY, STOP, ParentLink

if TYPE_CHECKING:
    import socket
    from multiprocessing.connection import Connection

    from engines.base import Engine
    from stream.app.options.session_options import SessionOptions
    from stream.ward.processes.capacity import Capacity

EXPENDABLE = 250
"""Of a thousand: where memory runs out, feeds go before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTask:
    """What the engine's process is started with.

    Attributes:
        options: whose model, back-end, device, precision and protocol count.
        listening: where feeds connect; None for a model on a server, which is measured, and the process ends.
        is_measured: the machine is to be measured first.
        parent: process id of the ward.
    """

    options: SessionOptions
    listening: socket.socket | None
    is_measured: bool
    parent: int


def run_engine(connection: Connection[Any, Any], task: EngineTask) -> None:
    """The engine's life: until it is told to stop, fails, or its ward has gone."""
    end_with_parent(task.parent, "engine")
    ignore_terminal_signals()
    expendable(EXPENDABLE)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a service manager sends it to all, and feeds end first
    link = ParentLink(connection, {STOP: stopping.set})
    code = 0
    try:
        _serve(link, task, stopping)
    except PartumError as error:
        code = 1
        link.tell(FAILED, reason=redact_text(" ".join(str(error).split()), *task.options.addresses))
    except BaseException as error:  # noqa: BLE001 - the process's boundary: its ward says why it ended
        code = 1
        said = " ".join(f"{type(error).__name__}: {error}".split())
        link.tell(FAILED, reason=redact_text(said, *task.options.addresses))
    os._exit(code)


def _serve(link: ParentLink, task: EngineTask, stopping: threading.Event) -> None:
    with _load(task.options) as engine:
        capacity = _measured(engine) if task.is_measured else None
        facts: dict[str, Any] = {"engine": engine.name, "notices": list(engine.notices)}
        facts["capacity"] = None if capacity is None else asdict(capacity)
        gc.freeze()
        if task.listening is None:
            link.tell(READY, **facts)
            stopping.wait()
            return
        server = EngineServer(engine, task.listening)
        link.tell(READY, **facts)
        try:
            server.serve(_Goes(server, link, stopping))
        finally:
            server.close()


def _load(options: SessionOptions) -> Engine:
    from stream.inference.engine_trial import load_judged_engine
    from stream.inference.frame_analyzer import needs_logits

    return load_judged_engine(
        options.model,
        options.backend,
        device=options.device,
        precision=options.precision,
        early_exit=options.early_exit,
        throughput=True,
        labels=not needs_logits(options.protocol),
    )


def _measured(engine: Engine) -> Capacity:
    from stream.common.opencv_threads import one_opencv_thread
    from stream.ward.processes.capacity import measure_capacity

    with one_opencv_thread():
        return measure_capacity(engine)


class _Goes:
    """Whether the server goes on; tells the ward how it stands now and then."""

    def __init__(self, server: EngineServer, link: ParentLink, stopping: threading.Event) -> None:
        self._server, self._link, self._stopping = server, link, stopping
        self._told_s = 0.0

    def __call__(self) -> bool:
        if time.monotonic() - self._told_s >= BEAT_S:
            self._told_s = time.monotonic()
            self._link.tell(
                BEAT,
                frames=self._server.frames,
                busy_s=round(self._server.busy_s, 4),
                waiting_s=round(self._server.waiting_s, 3),
                clients=self._server.clients,
                cpu_s=time.process_time(),
                memory_mb=round(resident_bytes() / 1e6, 1),
            )
        return not self._stopping.is_set()
