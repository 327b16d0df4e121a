"""The child process that reads fuzz cases one after the other.

On stdout a line of JSON before each case, `{"begin": 3}`, and one after it: what became of it, and the memory now held.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import traceback
from pathlib import Path
from random import Random

from benchmarks.fuzz.formats import FORMATS, Format
from benchmarks.fuzz.mutation import mutate
from benchmarks.rig.memory import resident_mb
from engines.errors import PartumError

DEFECT = "defect"


def input_of(name: str, seed: int, case: int) -> bytes:
    """The bytes of a case: the same for the same format, seed and number."""
    format_ = FORMATS[name]
    data = mutate(format_.seeds(), Random(f"{name}/{seed}/{case}"))
    return format_.mend(data) if format_.mend and case % 2 else data


def outcome_of(format_: Format, data: bytes) -> tuple[str, str]:
    """What reading an input came to: `read`, the name of an error of the tree, or `defect` with what happened."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        try:
            format_.read(data, Path(folder))
        except PartumError as error:
            if "\n" in str(error):
                return DEFECT, f"its message has several lines: {error}"
            return type(error).__name__, str(error)
        except Exception:  # noqa: BLE001 - this is what is looked for
            return DEFECT, traceback.format_exc()
    return "read", ""


def work(name: str, seed: int, first: int, end: int) -> None:
    """Reads the cases from `first` up to `end`, without it."""
    for case in range(first, end):
        _tell(begin=case)
        outcome, details = outcome_of(FORMATS[name], input_of(name, seed, case))
        if case % 50 == 0:
            gc.collect()
        _tell(case=case, outcome=outcome, details=details, resident_mb=resident_mb())


def _tell(**line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    work(sys.argv[1], *map(int, sys.argv[2:5]))
