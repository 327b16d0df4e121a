"""Throughput of `partum batch` against `partum replay` of one recording after the other.

    python -m benchmarks.experiments.batch

Copies of the demonstration clip, whole and cut to three seconds, each with another byte behind its end, so that no two
have the same content. Both write everything, films too. Few recordings and more of them, as workers start once for all.
Writes `results/batch.json`.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import av
from rich.console import Console

from benchmarks.reporting.environment import write_result
from engines.runtime import available_cores
from stream.sources.demo import DEMO_CLIP

if TYPE_CHECKING:
    from collections.abc import Sequence

SETS = (("3 s", 72, 20, 1), ("14 s", 336, 4, 3), ("14 s", 336, 12, 1))
"""Length of a recording, its frames, how many recordings there are, and how often both ways are taken in turn.

What takes less than half a minute is told by the median of several: a machine that others share varies by a tenth.
"""


def cut(frames: int, path: Path) -> Path:
    """The beginning of the demonstration clip, encoded anew."""
    with av.open(str(DEMO_CLIP)) as source, av.open(str(path), "w") as target:
        shown = source.streams.video[0]
        stream = target.add_stream("libx264", rate=shown.average_rate, options={"crf": "18", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = shown.width, shown.height, "yuv420p"
        for number, picture in enumerate(islice(source.decode(shown), frames)):
            picture.pts, picture.time_base = number, 1 / Fraction(shown.average_rate or 25)
            target.mux(stream.encode(picture))
        target.mux(stream.encode(None))
    return path


def seconds(arguments: Sequence[Sequence[str]]) -> float:
    """How long these commands take, one after the other."""
    start = time.perf_counter()
    for each in arguments:
        subprocess.run([sys.executable, "-m", "partum", *each], check=True, capture_output=True)
    return time.perf_counter() - start


def compare_with_replays(frames: int, count: int, folder: Path, *, repeats: int) -> dict[str, object]:
    """Times of both ways, taken in turn, and how many times the throughput one has of the other: medians."""
    inputs = folder / "inputs"
    inputs.mkdir()
    content = cut(frames, folder / "clip.mp4").read_bytes()
    paths = [inputs / f"{number}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(content + bytes([number]))
    replays_s, batch_s = list[float](), list[float]()
    for turn in range(repeats):
        out = folder / str(turn)
        replays_s.append(seconds([["replay", str(path), "-o", str(out / path.stem)] for path in paths]))
        batch_s.append(seconds([["batch", str(inputs), "-o", str(out / "batch")]]))
    ratios = [alone / together for alone, together in zip(replays_s, batch_s, strict=True)]
    return {
        "recordings": count,
        "frames_each": frames,
        "replays_s": round(statistics.median(replays_s), 2),
        "batch_s": round(statistics.median(batch_s), 2),
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
    }


def main() -> None:
    """Compares for each length."""
    found: dict[str, object] = {"cores": available_cores()}
    for length, frames, count, repeats in SETS:
        name = f"{count} of {length}"
        with tempfile.TemporaryDirectory() as folder:
            compared = compare_with_replays(frames, count, Path(folder), repeats=repeats)
            found[name] = {"length": length, **compared}
            Console(stderr=True).print(f"{name}: {found[name]}")
        write_result("batch", found, command="python -m benchmarks.experiments.batch")


if __name__ == "__main__":
    main()
