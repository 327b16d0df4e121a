"""What a process is told at its start, and how it is said that it ended."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress

_SET_DEATH_SIGNAL, _SET_NAME = 1, 15
"""Numbers of Linux's `prctl`."""


def exit_text(code: int | None) -> str:
    """How a process ended: `killed by SIGKILL, as for want of memory`."""
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"killed by {name}{', as for want of memory' if name == 'SIGKILL' else ''}"


def end_with_parent(parent: int, name: str) -> None:
    """Lets the kernel kill this process when the thread that started it ends, and names it for `ps` and `top`.

    On systems other than Linux nothing happens; whoever needs it there watches a pipe too.

    Args:
        parent: the parent's process id: one that has ended already is seen.
        name: cut to 15 bytes.
    """
    if sys.platform != "linux":
        return
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    prctl(_SET_NAME, name.encode()[:15], 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def ignore_terminal_signals() -> None:
    """A terminal sends SIGINT and SIGHUP to all its processes; what they mean is for the parent to decide."""
    for number in ("SIGINT", "SIGHUP"):
        if hasattr(signal, number):
            signal.signal(getattr(signal, number), signal.SIG_IGN)


def expendable(score: int) -> None:
    """Lets a system that runs out of memory end this process rather than another.

    Args:
        score: 0 to 1000, the greater the sooner; what was 0 may only grow.
    """
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(str(score))
    except OSError:
        return  # another system, or one that does not let us


def processor_wait_s(pid: int) -> float:
    """Seconds that the threads of a process have waited for a processor, all together, since they began.

    A thread that ended is counted no more. 0 where the system does not say, or there is no such process.
    """
    waited_ns = 0
    with suppress(OSError, ValueError, IndexError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with (
                suppress(FileNotFoundError, ProcessLookupError),
                open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file,
            ):
                waited_ns += int(file.read().split()[1])
    return waited_ns / 1e9


def resident_bytes() -> int:
    """Memory that this process holds; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 0
