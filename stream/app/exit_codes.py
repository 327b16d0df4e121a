"""Exit codes, alike for every sub-command.

A signal that ends the program at once has the shell's code for it, 128 + number.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """See `MEANINGS`."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.DONE: "done, or stopped by SIGTERM, SIGHUP or `--duration`",
    ExitCode.FAILED: "the run failed, and what was measured is kept; a live one never got a picture; some masks could"
    " not be read, or some recordings of a batch or archive; `partum doctor` found that nothing can run; `partum"
    " verify` found a change",
    ExitCode.USAGE: "the command line or a configuration file is wrong, or asks for what this machine does not have: a"
    " device, a back-end, a precision, a package; nothing was begun",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C; what was measured by then is written",
}
