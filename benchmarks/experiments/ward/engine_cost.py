"""What a frame costs in the engine's own process, beside an engine in the process that asks."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.local.client import LocalEngine
from engines.local.lane import listen
from engines.local.server import EngineServer
from engines.registry import load_engine

if TYPE_CHECKING:
    import socket
    from multiprocessing.connection import Connection

    from engines.base import Engine

FRAMES, WARM_UP = 200, 20


def measure_cost() -> dict[str, object]:
    """Times in ms of one frame, one after the other: median and 99th percentile, and what both sides add."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "engine")
        with listen(path) as listening:
            mine, theirs = context.Pipe()
            process = context.Process(target=serve_engine, args=(listening, theirs), daemon=True)
            process.start()
            with LocalEngine(path) as other, load_engine() as own:
                turns = [(_times(own), _times(other)) for _ in range(3)]  # alternately: the machine is not alone
            mine.send(None)
            server_cpu_ms = mine.recv()
            process.join()
    own_ms, other_ms = (np.concatenate([turn[side] for turn in turns]) for side in (0, 1))
    return {
        "frames": len(own_ms),
        "in_process_ms": _shares(own_ms),
        "own_process_ms": _shares(other_ms),
        "added_ms": round(float(np.median(other_ms) - np.median(own_ms)), 3),
        "server_cpu_ms": server_cpu_ms,
    }


def serve_engine(listening: socket.socket, connection: Connection[Any, Any]) -> None:
    """The engine's process: until something is sent to it, then it says what of the processor a frame took, in ms."""
    server = EngineServer(load_engine(), listening)
    began_s = time.process_time()
    server.serve(lambda: not connection.poll())
    connection.send(round(1e3 * (time.process_time() - began_s) / max(server.frames, 1), 3))
    server.close()


def _times(engine: Engine) -> Any:
    image = np.random.default_rng(0).integers(0, 255, (1, 1, engine.spec.height, engine.spec.width), np.uint8)
    found = []
    for _ in range(WARM_UP + FRAMES):
        began_s = time.perf_counter()
        engine.infer(image)
        found.append(1e3 * (time.perf_counter() - began_s))
    return np.array(found[WARM_UP:])


def _shares(times_ms: Any) -> dict[str, float]:
    return {f"p{share}": round(float(np.percentile(times_ms, share)), 3) for share in (50, 99)}
