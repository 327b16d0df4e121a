"""Runs fuzz cases in a child process, which is ended where one hangs or takes memory."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import IO, TYPE_CHECKING, Any

from benchmarks.fuzz.worker import DEFECT
from benchmarks.rig.memory import resident_mb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HANG, CRASH, MEMORY, GROWTH = "hang", "crash", "memory", "growth"
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits on a reader's time and memory.

    Attributes:
        seconds: for one input.
        memory_mb: for one input, above what the process held before it.
        growth_mb: from the second tenth of all cases to the last.
    """

    seconds: float = 5.0
    memory_mb: float = 768.0
    growth_mb: float = 64.0


@dataclass(frozen=True, slots=True)
class Finding:
    """A case that must be mended; `python -m benchmarks.fuzz FORMAT --case N` shows it again."""

    case: int
    kind: str
    details: str


@dataclass(slots=True)
class Result:
    """What became of all cases of a format."""

    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    resident_mb: list[float] = field(default_factory=list)

    @property
    def growth_mb(self) -> float:
        """From the second tenth of the cases, when all that loads late is loaded, to the last; negative is none."""
        tenth = len(self.resident_mb) // 10
        if not tenth:
            return 0.0
        return median(self.resident_mb[-tenth:]) - median(self.resident_mb[tenth : 2 * tenth])


def worker_command(name: str, seed: int) -> Callable[[int, int], Sequence[str]]:
    """The command that reads some cases of a format."""
    return lambda first, end: (
        *(sys.executable, "-X", "faulthandler", "-m", "benchmarks.fuzz.worker"),
        *(name, str(seed), str(first), str(end)),
    )


def supervise(
    command: Callable[[int, int], Sequence[str]],
    *,
    first: int,
    count: int,
    limits: Limits,
    on_case: Callable[[], None] = lambda: None,
) -> Result:
    """Runs `count` cases from `first` on, starting the process anew behind each that broke it.

    Args:
        command: of the process that reads the cases from its first argument up to its second.
        first: number of the first case.
        count: of cases.
        limits: what one case may take.
        on_case: called after each.
    """
    result, next_case, hung = Result(), first, -1
    while next_case < first + count:
        for case, outcome, details in _run(command(next_case, first + count), next_case, limits, result):
            if outcome == HANG and case != hung:  # the machine may have been busy: it counts the second time
                next_case = hung = case
                break
            result.outcomes[outcome] += 1
            if outcome in (DEFECT, HANG, CRASH, MEMORY):
                result.findings.append(Finding(case, outcome, details))
            next_case = case + 1
            on_case()
    if result.growth_mb > limits.growth_mb:
        result.findings.append(Finding(first, GROWTH, f"{result.growth_mb:.0f} MiB over {count} cases"))
    return result


def _run(command: Sequence[str], first: int, limits: Limits, result: Result) -> Iterator[tuple[int, str, str]]:
    """Case, outcome and details, until the process has ended; the last case is the one that ended it, if any."""
    case = first
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, text=True)
        assert process.stdout is not None
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        listener = threading.Thread(target=_listen, args=(process.stdout, lines), daemon=True)
        listener.start()
        try:
            for event in _watched(process, lines, limits):
                if isinstance(event, str):
                    yield case, event, f"more than {limits.seconds} s" if event == HANG else "too much memory"
                    return
                case = event.get("begin", case)
                if "outcome" in event:
                    result.resident_mb.append(event["resident_mb"])
                    yield case, event["outcome"], event["details"]
            if process.wait() != 0:
                complaints.seek(0)
                words = complaints.read().decode(errors="replace")
                yield case, CRASH, f"exit status {process.returncode}\n{words[-3000:]}"
        finally:
            process.kill()
            process.wait()
            listener.join()
            process.stdout.close()


def _listen(stdout: IO[str], lines: queue.SimpleQueue[str | None]) -> None:
    for line in stdout:
        lines.put(line)
    lines.put(None)


def _watched(
    process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None], limits: Limits
) -> Iterator[dict[str, Any] | str]:
    """What the process says, line by line; `HANG` or `MEMORY` where it has to be ended."""
    began_s, held_mb = None, 0.0
    while True:
        try:
            line = lines.get(timeout=_LOOK_EVERY_S)
        except queue.Empty:
            if began_s is not None and time.monotonic() - began_s > limits.seconds:
                yield HANG
            if began_s is not None and (resident_mb(process.pid) or 0.0) - held_mb > limits.memory_mb:
                yield MEMORY
            continue
        if line is None:
            return
        event = json.loads(line)
        began_s = time.monotonic() if "begin" in event else None
        held_mb = event.get("resident_mb", held_mb) or resident_mb(process.pid) or 0.0
        yield event
