"""Feeds at 30 Hz that a machine carries: one more is let in until results come late or frames are dropped."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.experiments.ward.rig import RunningWard, Window, clip_at_30_hz, config_text, environment, write_config

if TYPE_CHECKING:
    from collections.abc import Sequence

LATE_MS = 100.0
MOST_DROPPED = 0.01
FEWEST_FEEDS, MOST_FEEDS = 2, 12
AVX2 = {"OV_CPU_MAX_ISA": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
WAYS: dict[str, tuple[str, dict[str, str]]] = {
    "int8": ("int8", {}),
    "fp32": ("fp32", {}),
    "int8, AVX2": ("int8", AVX2),
    "fp32, AVX2": ("fp32", AVX2),
}
"""Precision of the model that ships, and what keeps OpenVINO to older instructions."""


def measure_feeds(*, seconds: float, ways: Sequence[str] = ()) -> dict[str, object]:
    """For each way, ages by the number of feeds, what admission says of each, and how many are carried.

    A number of feeds is carried where the 99th percentile of every feed's ages is within `LATE_MS`, and no feed drops
    more than `MOST_DROPPED` of its frames.

    Args:
        seconds: that each number of feeds is looked at.
        ways: of `WAYS`; none takes all.
    """
    found: dict[str, object] = {"late_ms": LATE_MS, "most_dropped": MOST_DROPPED}
    with tempfile.TemporaryDirectory() as folder:
        clip = clip_at_30_hz(Path(folder) / "clip.mp4")
        for name in ways or WAYS:
            precision, variables = WAYS[name]
            with environment(**variables):
                found[name] = _measured(clip, Path(folder) / name.replace(", ", "-"), precision, seconds)
    return found


def _measured(clip: Path, folder: Path, precision: str, seconds: float) -> dict[str, object]:
    folder.mkdir()
    analysis = f'[analysis]\nbackend = "openvino"\nprecision = "{precision}"\n'
    names = [f"f{number}" for number in range(1, MOST_FEEDS + 1)]
    steps: list[dict[str, object]] = []

    def text(count: int) -> str:
        return config_text(clip, names[:count], folder=folder / "kept") + analysis

    carried, admitted, engine = FEWEST_FEEDS - 1, FEWEST_FEEDS - 1, ""
    with RunningWard(write_config(folder / "ward.toml", text(FEWEST_FEEDS))) as ward:
        for count in range(FEWEST_FEEDS, MOST_FEEDS + 1):
            if count > FEWEST_FEEDS:
                write_config(ward.path, text(count))
                ward.reload()
            ward.wait_until_all_run()
            time.sleep(2.0)
            window = Window(folder / "kept", names[:count])
            time.sleep(seconds)
            ages, capacity = window.ages(), ward.view.capacity
            engine = ward.view.engine.name
            worst = max((each["age_ms"]["p99"] or 1e9 for each in ages.values()), default=1e9)  # type: ignore[index]
            dropped = max(each["dropped_share"] or 0.0 for each in ages.values())  # type: ignore[type-var]
            steps.append(
                {
                    "feeds": count,
                    "worst_age_p99_ms": round(worst, 1),
                    "worst_dropped_share": dropped,
                    "expected_ms": round(capacity.expected_ms, 1) if capacity.load < 1 else None,
                    "load": round(capacity.load, 3),
                    "work_ms": round(capacity.work_ms, 2),
                }
            )
            admitted += capacity.expected_ms <= capacity.deadline_ms
            if worst > LATE_MS or float(dropped) > MOST_DROPPED:  # type: ignore[arg-type]
                break
            carried = count
    return {"seconds": seconds, "engine": engine, "carried": carried, "admitted": admitted, "steps": steps}
