"""Throughput of `partum archive` by number of workers against the machine's limit, and what Ray costs a loop.

    python -m benchmarks.experiments.archive

Loops are the beginning of the demonstration clip, each with another byte behind its end, so that no two have the same
content. The limit is what as many processes do that call the worker without Ray. What Ray costs is told by loops of one
frame, with one worker. A cluster of this machine measures; nothing here ran on several machines, nor on a GPU: what a
million loops take on 16 GPU nodes is calculated from these numbers and the assumptions of `Nodes`. Writes
`results/archive.json`.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import resource
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from benchmarks.experiments.batch import cut
from benchmarks.reporting.environment import others_busy, write_result
from engines.runtime import available_cores
from stream.app.options.session_options import SessionOptions
from stream.archive.cluster import Workers, connected
from stream.archive.inputs import InputFinder
from stream.archive.locations import Location
from stream.archive.measuring import ArchiveJob, ArchiveWorker, load_archive_engine
from stream.archive.passes import Pass
from stream.common.clock import MonotonicClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.archive.inputs import ArchiveInput

FRAMES, LOOPS = 72, 12
"""Of a loop, and how many loops a number of workers measures."""
SHORT_LOOPS = 80
"""Loops of one frame, which tell what a loop costs beside its frames."""
MOST_BUSY = 0.1
"""Share of the cores that others may keep busy; above it the result says that it is not to be trusted."""
COMMAND = "python -m benchmarks.experiments.archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """What is assumed of a cluster that nobody has run here.

    Attributes:
        nodes: how many, each with one GPU.
        cores: of a node, each as fast as one of the machine that measured.
        gpu_frames_per_second: of a node's GPU, over streams: the goal of the engines, not a measurement.
        network_mb_per_second: from the object store to a node.
        loop_frames, loop_mb: of a loop.
        price_per_hour: of a node, in US dollars.
    """

    nodes: int = 16
    cores: int = 16
    gpu_frames_per_second: float = 5000.0
    network_mb_per_second: float = 600.0
    loop_frames: int = 300
    loop_mb: float = 12.0
    price_per_hour: float = 1.5

    def million_loops(self, *, cpu_ms_a_frame: float, cpu_ms_a_loop: float, head_ms_a_loop: float) -> dict[str, Any]:
        """Hours and price of a million loops, and what is the bottleneck: the slowest of four that run side by side.

        Args:
            cpu_ms_a_frame: of a core, outside the network.
            cpu_ms_a_loop: of a core, for what a loop costs beside its frames.
            head_ms_a_loop: of the one core of the command, for what it does of each loop.
        """
        loops = 1e6
        core_s = loops * (self.loop_frames * cpu_ms_a_frame + cpu_ms_a_loop) / 1000
        hours = {
            "cores": core_s / (self.nodes * self.cores) / 3600,
            "GPUs": loops * self.loop_frames / (self.nodes * self.gpu_frames_per_second) / 3600,
            "network": loops * self.loop_mb / (self.nodes * self.network_mb_per_second) / 3600,
            "command": loops * head_ms_a_loop / 1000 / 3600,
        }
        bottleneck = max(hours, key=lambda name: hours[name])
        return {
            "hours_by_part": {name: round(value, 2) for name, value in hours.items()},
            "bottleneck": bottleneck,
            "hours": round(hours[bottleneck], 2),
            "price_usd": round(hours[bottleneck] * self.nodes * self.price_per_hour),
            "frames_stored": round(loops * self.loop_frames),
        }


class NoOthers:
    """A `stream.archive.measuring.Claims` where there is nobody else."""

    def begin(self, key: str) -> None:
        """Nothing is noted."""

    def claim(self, sha256: str, key: str) -> bool:
        """All is this worker's."""
        return True


def job_of(folder: Path) -> ArchiveJob:
    """A job that writes to this folder, with one thread a worker."""
    return ArchiveJob(
        dataset=Location.parse(str(folder)),
        session=SessionOptions(),
        threads=1,
        is_named=False,
        version=metadata.version("partum"),
    )


def plain(units: Sequence[ArchiveInput], folder: Path, processes: int) -> dict[str, float]:
    """Seconds that processes need which call the worker without Ray, and how much CPU time."""
    context = multiprocessing.get_context("spawn")
    ready, go = context.Barrier(processes + 1), context.Barrier(processes + 1)
    spent = context.Queue()
    started = [
        context.Process(target=_plain_process, args=(list(units[start::processes]), folder, ready, go, spent))
        for start in range(processes)
    ]
    for process in started:
        process.start()
    ready.wait()
    begin = time.perf_counter()
    go.wait()
    each = [spent.get() for _ in started]
    seconds = time.perf_counter() - begin
    for process in started:
        process.join()
    return {"seconds": seconds, "cpu_s": sum(cpu_s for cpu_s, _ in each), "network_s": sum(found for _, found in each)}


def _plain_process(units: Sequence[ArchiveInput], folder: Path, ready: Any, go: Any, spent: Any) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    job = job_of(folder)
    engine: Any = load_archive_engine(job)
    in_network = [0.0]
    infer = engine.infer

    def timed(images: Any) -> Any:
        begin = time.perf_counter()
        try:
            return infer(images)
        finally:
            in_network[0] += time.perf_counter() - begin

    engine.infer = timed
    worker = ArchiveWorker(job, engine, NoOthers())
    ready.wait()
    go.wait()
    before = time.process_time()
    for unit in units:
        outcome = worker.measure(unit)
        assert outcome.rows, outcome
    spent.put((time.process_time() - before, in_network[0]))


def by_ray(units: Sequence[ArchiveInput], folder: Path, jobs: int) -> dict[str, float]:
    """Seconds on a cluster of this machine, to the first loop and from there to the last; CPU time of the command."""
    workers = Workers(jobs=jobs)
    with connected(None, workers):
        clock = MonotonicClock()
        once = Pass()
        begin_ns, cpu_before = clock.now_ns(), 0.0
        once.start(list(units), job_of(folder), workers)
        times: list[float] = []
        is_done = False
        while not is_done:
            outcomes, is_done = once.take(0.02)
            if outcomes and not times:
                cpu_before = _own_cpu_s()
            times += [(clock.now_ns() - begin_ns) / 1e9] * len(outcomes)
        cpu_s = _own_cpu_s() - cpu_before
    assert len(times) == len(units)
    return {"first_s": times[0], "rest_s": times[-1] - times[0], "last_s": times[-1], "command_cpu_s": cpu_s}


def _own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def units_of(folder: Path, frames: int, count: int) -> list[ArchiveInput]:
    """Loops of so many frames, of different content."""
    folder.mkdir()
    content = cut(frames, folder / "clip.mp4").read_bytes()
    (folder / "clip.mp4").unlink()
    for number in range(count):
        (folder / f"{number}.mp4").write_bytes(content + number.to_bytes(2))
    return InputFinder().inputs([str(folder)])[0]


def rate_of_rest(found: dict[str, float], count: int, jobs: int) -> float:
    """Loops a second once all workers run: the first that is done was begun with `jobs - 1` others."""
    return (count - jobs) / found["rest_s"] if found["rest_s"] > 0 else math.nan


def measure_archive(folder: Path) -> dict[str, Any]:
    """All that is measured here."""
    cores, say = available_cores(), Console(stderr=True).print
    loops = units_of(folder / "loops", FRAMES, LOOPS)
    short = units_of(folder / "short", 1, SHORT_LOOPS)
    limits = {jobs: plain(loops, folder / f"plain-{jobs}", jobs) for jobs in sorted({1, cores})}
    say(limits)
    workers: dict[str, Any] = {}
    for jobs in sorted({1, cores, 2 * cores}):
        found = by_ray(loops, folder / f"ray-{jobs}", jobs)
        say(f"{jobs}: {found}")
        workers[str(jobs)] = {
            "loops_per_second": round(rate_of_rest(found, LOOPS, jobs), 3),
            "first_loop_s": round(found["first_s"], 2),
            "all_loops_s": round(found["last_s"], 2),
        }
    limit = LOOPS / limits[cores]["seconds"]
    for each in workers.values():
        each["share_of_limit"] = round(each["loops_per_second"] / limit, 3)
    alone, with_ray = plain(short, folder / "short-plain", 1), by_ray(short, folder / "short-ray", 1)
    say(f"{alone} {with_ray}")
    one = limits[1]
    loop_ms = 1000 * alone["cpu_s"] / SHORT_LOOPS
    outside_ms = 1000 * (one["cpu_s"] - one["network_s"]) / LOOPS
    return {
        "cores": cores,
        "loops": LOOPS,
        "frames_each": FRAMES,
        "limit_loops_per_second": round(limit, 3),
        "one_process_loops_per_second": round(LOOPS / one["seconds"], 3),
        "by_workers": workers,
        "short_loops": SHORT_LOOPS,
        "plain_ms_a_short_loop": round(1000 * alone["seconds"] / SHORT_LOOPS, 1),
        "ray_ms_a_short_loop": round(1000 * with_ray["rest_s"] / (SHORT_LOOPS - 1), 1),
        "ray_overhead_ms_a_loop": round(
            1000 * with_ray["rest_s"] / (SHORT_LOOPS - 1) - 1000 * alone["seconds"] / SHORT_LOOPS, 1
        ),
        "command_cpu_ms_a_loop": round(1000 * with_ray["command_cpu_s"] / (SHORT_LOOPS - 1), 1),
        "cpu_ms_a_loop_beside_frames": round(loop_ms, 1),
        "cpu_ms_a_frame_outside_network": round(max(outside_ms - loop_ms, 0.0) / FRAMES, 2),
    }


def main() -> None:
    """Measures, calculates, and writes the file."""
    busy = others_busy()
    with tempfile.TemporaryDirectory() as folder:
        found = measure_archive(Path(folder))
    nodes = Nodes()
    overhead_ms = max(found["ray_overhead_ms_a_loop"], 0.0)
    found["million_loops"] = {
        "assumptions": asdict(nodes),
        **nodes.million_loops(
            cpu_ms_a_frame=found["cpu_ms_a_frame_outside_network"],
            cpu_ms_a_loop=found["cpu_ms_a_loop_beside_frames"] + overhead_ms,
            head_ms_a_loop=found["command_cpu_ms_a_loop"],
        ),
    }
    found |= {"others_busy": busy, "busy": busy is not None and busy > MOST_BUSY}
    write_result("archive", found, command=COMMAND)


if __name__ == "__main__":
    main()
