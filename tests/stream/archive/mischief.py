"""A worker that dies of what it is given, as a decoder that crashes or the memory monitor would make it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from stream.archive import measuring
from stream.archive.passes import MeasureActor

POISON, HUNGRY = b"kills its process", b"needs too much memory, once"


def spoiled(path: Path, how: bytes) -> Path:
    """Appends to a recording what tells the worker how to end; decoders pass it over."""
    with path.open("ab") as file:
        file.write(how)
    return path


class MischievousActor(MeasureActor):
    """Dies in the middle of measuring: of `POISON` always, of `HUNGRY` the first time."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        whole: Any = measuring.measure_job  # type: ignore[attr-defined]
        if not hasattr(whole, "whole"):
            setattr(measuring, "measure_job", _dying(whole))  # noqa: B010 - in the worker's process alone


def _dying(measure: Any) -> Any:
    def dying(job: Any, **options: Any) -> Any:
        path = Path(job.recording.path)
        end = path.read_bytes()[-40:] if path.is_file() else b""
        if end.endswith(POISON):
            os.kill(os.getpid(), signal.SIGSEGV)
        fed = path.with_suffix(".fed")
        if end.endswith(HUNGRY) and not fed.exists():
            fed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return measure(job, **options)

    dying.whole = measure  # type: ignore[attr-defined]
    return dying
