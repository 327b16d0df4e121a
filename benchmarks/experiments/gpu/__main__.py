"""Runs the steps of the GPU check one after the other, each in a process of its own with a deadline.

    python -m benchmarks.experiments.gpu [--out FOLDER] [--only STEP ...] [--budget SECONDS] [--rehearse]

A step that fails, crashes, hangs or finds a broken card costs itself alone, and the result file is written after each.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.experiments.gpu.steps import MACHINE, PACKAGE, STEPS, Report, Step, write_json
from benchmarks.experiments.gpu.targets import share_of_arithmetic, summary, targets

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "benchmarks" / "results"
COMMAND = "bash benchmarks/gpu_check.sh"
NOTICE = "Research use only. Not a medical device."
BUDGET_S = 560.0
LEAST_S = 5.0
"""A step is not begun with less time left."""


def main(words: Sequence[str] | None = None) -> int:
    """Runs all steps, or within a step's own process the one that is named; returns the exit code."""
    options = _options(words)
    if options.step:
        return _run_step(options.step, Path(options.file), rehearsal=options.rehearse)
    began = time.monotonic()
    content: dict[str, Any] = {"command": COMMAND, "notice": NOTICE, "rehearsal": options.rehearse}
    content["machine"] = _in_process(MACHINE, MACHINE.deadline_s, rehearsal=options.rehearse)
    has_gpu = bool(content["machine"].get("gpu"))
    folder = options.out or (RESULTS if has_gpu and not options.rehearse else None)
    path = Path(folder, "gpu_rehearsal.json" if options.rehearse else "gpu.json") if folder else None
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    content["results"] = results
    for step in (step for step in STEPS if not options.only or step.name in options.only):
        left_s = options.budget - (time.monotonic() - began)
        results[step.name] = _found(step, left_s, has_gpu=has_gpu, rehearsal=options.rehearse)
        content |= {"targets": targets(results), "share_of_arithmetic": share_of_arithmetic(results)}
        if path:
            write_json(path, content)
        _say(f"{step.name}: {_outcome(results[step.name])}")
    _say(summary(content))
    _say(str(path) if path else "no GPU: nothing was measured, and nothing written")
    return 0 if (has_gpu or options.rehearse) and not _failures(results) else 1


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("OUT") or None
    parser.add_argument("--out", default=default, help="folder of gpu.json; $OUT, else benchmarks/results")
    parser.add_argument("--only", nargs="+", choices=[step.name for step in STEPS], help="these steps alone")
    parser.add_argument("--budget", type=float, default=BUDGET_S, help=f"seconds for all of it, {BUDGET_S:.0f}")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, with few calls; measures nothing of worth")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def _found(step: Step, left_s: float, *, has_gpu: bool, rehearsal: bool) -> dict[str, Any]:
    """What a step found, or why it was left out."""
    if not has_gpu and not rehearsal:
        return {"left_out": "no GPU"}
    if missing := step.missing:
        return {"left_out": f"not installed: {missing}"}
    if left_s < LEAST_S:
        return {"left_out": "no time was left"}
    return _in_process(step, min(step.deadline_s, left_s), rehearsal=rehearsal)


def _in_process(step: Step, deadline_s: float, *, rehearsal: bool) -> dict[str, Any]:
    """Runs a step in a process of its own; what it found is kept, however it ends."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder) / "found.json", Path(folder) / "log.txt"
        with log.open("wb") as output:
            child = subprocess.Popen(
                _command(step, file, rehearsal=rehearsal),
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            why = _wait(child, deadline_s)
        found: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            found = json.loads(file.read_text(encoding="utf-8"))
        if why and "failed" not in found:
            found["failed"] = why
        if "failed" in found:
            found["log"] = log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
    found["wall_s"] = round(time.monotonic() - began, 1)
    return found


def _command(step: Step, file: Path, *, rehearsal: bool) -> list[str]:
    words = [sys.executable, "-m", PACKAGE, "--step", step.name, "--file", str(file)]
    return [*words, "--rehearse"] if rehearsal else words


def _wait(child: subprocess.Popen[bytes], deadline_s: float) -> str:
    """Why a step did not end well; empty where it did. At the deadline it is ended, with all that it started."""
    try:
        code = child.wait(deadline_s)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        return f"not done after {deadline_s:.0f} s"
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"exit code {code}" if code else ""


def _run_step(name: str, file: Path, *, rehearsal: bool) -> int:
    """Within the step's own process."""
    step = next(step for step in (MACHINE, *STEPS) if step.name == name)
    report = Report(file, rehearsal=rehearsal)
    try:
        module, _, function = step.target.partition(":")
        getattr(importlib.import_module(f"{PACKAGE}.{module}"), function)(report, *step.arguments)
    except Exception as error:  # noqa: BLE001 - a process' boundary: it is the step's result
        import traceback

        from engines.errors import EngineUnavailable

        if isinstance(error, EngineUnavailable):  # a build without the provider, a card that a runtime does not know
            report.put(left_out=str(error))
            return 0
        traceback.print_exc()
        report.put(failed=f"{type(error).__name__}: {' '.join(str(error).split())[:600]}")
    return 0


def _failures(results: dict[str, Any]) -> list[str]:
    return [name for name, found in results.items() if "failed" in found]


def _outcome(found: dict[str, Any]) -> str:
    if "left_out" in found:
        return f"left out, {found['left_out']}"
    return f"failed: {found['failed']}" if "failed" in found else f"done in {found['wall_s']} s"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
