"""Measures `partum ward` on this machine; each part by itself, or all.

    python -m benchmarks.experiments.ward                          # all, for hours
    python -m benchmarks.experiments.ward cost
    python -m benchmarks.experiments.ward feeds --way int8 --way "int8, AVX2"
    python -m benchmarks.experiments.ward killed --seconds 600
    python -m benchmarks.experiments.ward day --hours 24
    python -m benchmarks.experiments.ward lost --cycles 1000

    cost     what a frame costs in the engine's own process, beside an engine in the feed's
    feeds    feeds at 30 Hz that the machine carries, by model and instructions
    killed   ages of all feeds' results while the process of one is killed every ten seconds
    day      a day of feeds in accelerated replay: memory, descriptors, disk
    lost     feeds that lose their source and get it back

Feeds are the demonstration clip at 30 Hz, played as if it were live, and results are what each feed wrote. A part that
was measured replaces its own entry in `results/ward.json`, with the durations and the machine that it was measured on.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from rich.console import Console

from benchmarks.experiments.ward.endurance import measure_day, measure_lost
from benchmarks.experiments.ward.engine_cost import measure_cost
from benchmarks.experiments.ward.killed import measure_killed
from benchmarks.experiments.ward.many_feeds import WAYS, measure_feeds
from benchmarks.reporting.environment import RESULTS, describe_machine, write_result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

COMMAND = "python -m benchmarks.experiments.ward"


def main() -> None:
    """Measures the parts that were asked for, and writes each when it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="cost, feeds, killed, day, lost; default all")
    parser.add_argument("--seconds", type=float, default=600.0, help="of killed, and a tenth of it for each of feeds")
    parser.add_argument("--way", action="append", choices=WAYS, help="of feeds; default all")
    parser.add_argument("--hours", type=float, default=24.0, help="of feed time, of day")
    parser.add_argument("--cycles", type=int, default=1000, help="of lost")
    given = parser.parse_args()
    parts: Mapping[str, Callable[[], dict[str, object]]] = {
        "cost": measure_cost,
        "feeds": lambda: measure_feeds(seconds=max(5.0, min(20.0, given.seconds / 10)), ways=given.way or ()),
        "killed": lambda: measure_killed(seconds=given.seconds),
        "day": lambda: measure_day(hours=given.hours),
        "lost": lambda: measure_lost(cycles=given.cycles),
    }
    for name in given.parts or parts:
        if name not in parts:
            parser.error(f"{name!r} is no part; there are {', '.join(parts)}")
    for name in given.parts or parts:
        found = parts[name]()
        machine = describe_machine()
        _write(
            name, found | {"measured_on": {key: machine[key] for key in ("commit", "processor", "cores", "load_1min")}}
        )
        Console().print(f"{name}: {json.dumps(found)}", soft_wrap=True, highlight=False)


def _write(name: str, found: dict[str, object]) -> None:
    path = RESULTS / "ward.json"
    before = json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else {}
    if name == "feeds":
        found = before.get(name, {}) | found  # way by way
    write_result("ward", before | {name: found}, command=COMMAND)


if __name__ == "__main__":
    main()
