"""A worker that dies of what it is given, as a decoder that crashes or the memory monitor would make it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from stream.archive import measuring
from stream.archive.parts import long_recordings
from stream.archive.passes import MeasureActor

POISON, HUNGRY, GREEDY = b"kills its process", b"needs too much memory, once", b"takes memory without end"
MOST_MB, STEP_MB = 5000, 100


def spoiled(path: Path, how: bytes) -> Path:
    """Appends to a recording what tells the worker how to end; decoders pass it over."""
    with path.open("ab") as file:
        file.write(how)
    return path


class MischievousActor(MeasureActor):
    """Dies in the middle of measuring: of `POISON` always, of `HUNGRY` the first time, of `GREEDY` by Ray's monitor."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        for module, name in ((measuring, "measure_job"), (long_recordings, "measure_part")):
            whole = getattr(module, name)
            if not hasattr(whole, "whole"):
                setattr(module, name, _dying(whole))  # in the worker's process alone


def _dying(measure: Any) -> Any:
    def dying(what: Any, *more: Any, **options: Any) -> Any:
        path = Path(getattr(what, "recording", what).path)
        end = path.read_bytes()[-40:] if path.is_file() else b""
        if end.endswith(POISON):
            os.kill(os.getpid(), signal.SIGSEGV)
        fed = path.with_suffix(".fed")
        if end.endswith(HUNGRY) and not fed.exists():
            fed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if end.endswith(GREEDY):
            _grow()
            path.with_suffix(".grown").touch()
        return measure(what, *more, **options)

    dying.whole = measure  # type: ignore[attr-defined]
    return dying


def _grow() -> None:
    """Takes memory until somebody ends this process, or there is far more than anybody should let it have."""
    kept = []
    for _ in range(MOST_MB // STEP_MB):
        kept.append(np.ones(STEP_MB << 20, np.uint8))
        time.sleep(0.01)
    time.sleep(10)  # the monitor looks now and then
