"""Memory that a process takes, by Linux."""

from __future__ import annotations

import resource
from pathlib import Path


def resident_mb(pid: int | str = "self") -> float | None:
    """Memory of a process that is in RAM now, MiB; None where the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return round(pages * resource.getpagesize() / 2**20, 1)


def peak_mb() -> float:
    """The most memory that this process ever had in RAM, MiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
