"""CPU time of this process' threads."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

RUNTIME = "runtimes' own"
"""Threads that no Python code began: of the network's runtime, and of OpenCV."""
TASKS = Path("/proc/self/task")


def thread_cpu_ms() -> Counter[str]:
    """CPU milliseconds so far, by the name of the thread; those of a pool under one name. Empty where Linux is not."""
    names = {thread.native_id: thread.name.partition("_")[0] for thread in threading.enumerate()}
    spent: Counter[str] = Counter()
    for task in TASKS.iterdir() if TASKS.exists() else ():
        try:
            on_cpu_ns = int((task / "schedstat").read_text(encoding="ascii").split()[0])
        except (OSError, ValueError, IndexError):  # it ended just now
            continue
        spent[names.get(int(task.name), RUNTIME)] += on_cpu_ns / 1e6  # type: ignore[assignment]
    return spent
