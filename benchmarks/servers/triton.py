"""Throughput and latency of a model on a Triton server, by Triton's own client: so many streams at once, closed loop.

    tritonserver --model-repository repository
    python -m benchmarks.servers.triton triton://127.0.0.1:8001/psfh_lite0

Writes `results/triton.json`. Each stream sends a frame, waits for its answer and sends the next. What the server says
of itself over the same time stands beside it: the mean batch that it made of waiting frames, and where time went.
"""

from __future__ import annotations

import importlib
import threading
import time
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from benchmarks.reporting.environment import write_result
from engines.backends.triton import TritonAddress, TritonEngine

if TYPE_CHECKING:
    from collections.abc import Sequence

STREAMS = (1, 2, 4, 8)
SECONDS = 4.0
_PARTS = ("queue", "compute_input", "compute_infer", "compute_output")


@click.command(help="Measure a model on a Triton server.")
@click.argument("server")
@click.option("--streams", type=click.IntRange(1), multiple=True, default=STREAMS, help="At once; may be repeated.")
@click.option("--seconds", type=click.FloatRange(0.1), default=SECONDS, show_default=True, help="Of each measurement.")
@click.option("--note", default="", help="Of the server, for people: where and how it ran.")
def main(server: str, streams: Sequence[int], seconds: float, note: str) -> None:
    """See the help text above."""
    rows = [measured(server, count, seconds=seconds) for count in streams]
    path = write_result(
        "triton", {"server_note": note, "rows": rows}, command=f"python -m benchmarks.servers.triton {server}"
    )
    for row in rows:
        click.echo(
            f"{row['streams']} streams: {row['frames_per_second']} frames/s, p50 {row['latency_ms']['p50']} ms,"
            f" p99 {row['latency_ms']['p99']} ms, mean batch {row['mean_batch']}"
        )
    click.echo(f"written: {path}")


def measured(server: str, streams: int, *, seconds: float) -> dict[str, Any]:
    """One row: `streams` clients, each with a connection of its own, for so long.

    Raises:
        EngineError: the server has no such model, or one of the requests fails.
    """
    before = _statistics(server)
    end = time.monotonic() + seconds
    times: list[list[float]] = [[] for _ in range(streams)]
    errors: list[BaseException] = []

    def ask(own: list[float], seed: int) -> None:
        try:
            with TritonEngine(server) as engine:
                shape = (1, 1, engine.spec.height, engine.spec.width)
                image = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
                while time.monotonic() < end:
                    began = time.perf_counter()
                    engine.infer(image)
                    own.append(1e3 * (time.perf_counter() - began))
        except BaseException as error:  # noqa: BLE001 - a thread's boundary: raised again by the caller
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(own, seed)) for seed, own in enumerate(times)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.monotonic() - began
    if errors:
        raise errors[0]
    every = np.array([each for own in times for each in own])
    return {
        "streams": streams,
        "frames": len(every),
        "frames_per_second": round(len(every) / spent, 1),
        "latency_ms": {f"p{share}": round(float(np.percentile(every, share)), 2) for share in (50, 90, 99)},
        **_difference(before, _statistics(server)),
    }


def _statistics(server: str) -> dict[str, float] | None:
    """Frames and executions so far, and the time that frames spent in each part, in ms; None of one that tells none."""
    address, grpc = TritonAddress.parse(server), importlib.import_module("tritonclient.grpc")
    client: Any = grpc.InferenceServerClient(f"{address.host}:{address.port}")
    try:
        (found,) = client.get_inference_statistics(address.model).model_stats
    except importlib.import_module("tritonclient.utils").InferenceServerException:
        return None
    finally:
        client.close()
    parts = {name: getattr(found.inference_stats, name).ns / 1e6 for name in _PARTS}
    return {"frames": found.inference_count, "executions": found.execution_count, **parts}


def _difference(before: dict[str, float] | None, after: dict[str, float] | None) -> dict[str, Any]:
    if before is None or after is None or after["executions"] == before["executions"]:
        return {"mean_batch": None, "server_ms": None}
    spent = {name: after[name] - before[name] for name in after}
    return {
        "mean_batch": round(spent["frames"] / spent["executions"], 2),
        "server_ms": {name: round(spent[name] / spent["frames"], 3) for name in _PARTS},
    }


if __name__ == "__main__":
    main()
