"""What the program's exit code says."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Of every sub-command, alike. A signal that ends the program at once has the shell's code for it, 128 + number."""

    DONE = 0
    """It did what was asked, or ran until it was asked to stop by SIGTERM, SIGHUP or `--duration`."""
    FAILED = 1
    """It could not, for a source, a model, a disk; `doctor` found that nothing can run. What was measured is kept."""
    USAGE = 2
    """The command line or a configuration file is wrong; nothing was begun."""
    INTERRUPTED = 130
    """Ctrl-C; what was measured by then is written."""
