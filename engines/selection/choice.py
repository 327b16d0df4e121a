"""Which of a CPU's engines runs: measured once (`engines.selection.measuring`), then kept on disk.

    choice-DIGEST.json     key (machine, releases, models, trial), and what each engine was found to be

The file is made anew where anything in its key differs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

from engines.atomic_file import atomic_path
from engines.selection.measuring import Tried, measure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from engines.selection.machine import Machine
    from engines.selection.measuring import Trial, Variant

SCHEMA = "partum.choice/2"
RELEASES = ("partum", "openvino", "onnxruntime", "torch")
LATENCY, THROUGHPUT = "latency", "throughput"
"""How engines are asked: one frame at a time, as a live feed does; or as many side by side as the engine takes."""
USES = {LATENCY: "a live feed", THROUGHPUT: "recordings and several feeds"}
"""What each is for, for people."""
PATIENCE_S = 30.0
"""A process that starts waits so long for another one that measures."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was found of every variant, in the order in which they are taken; those that may not run come last."""

    tried: tuple[Tried, ...]
    is_new: bool = False
    trouble: str = ""
    """Why it could not be kept on disk; empty where it was."""

    @property
    def usable(self) -> tuple[Tried, ...]:
        """Those that may run, the one to take first."""
        return tuple(entry for entry in self.tried if not entry.refusal)

    @property
    def refused(self) -> tuple[Tried, ...]:
        """Those that were found to be wrong on this machine."""
        return tuple(entry for entry in self.tried if entry.refusal and entry.ms is not None and entry.is_complete)

    @property
    def line(self) -> str:
        """What is taken, and what the others were, in a line."""
        return "; ".join(entry.line for entry in self.tried) or "nothing was tried"


class ChoiceStore:
    """A folder of choices.

    Args:
        folder: made where it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: Mapping[str, Any]) -> Choice | None:
        """The choice of exactly that key; None where there is none that can be read."""
        try:
            facts = json.loads(self._path(key).read_text(encoding="utf-8"))
            if facts["schema"] != SCHEMA or facts["key"] != _plain(key):
                return None
            return Choice(tried=tuple(Tried(**entry) for entry in facts["tried"]))
        except (OSError, ValueError, KeyError, TypeError):  # not there, cut short, or by another version
            return None

    def keep(self, key: Mapping[str, Any], choice: Choice) -> str:
        """Writes a choice, whole or not at all; returns why it could not, in a line, empty where it could."""
        path = self._path(key)
        facts = {"schema": SCHEMA, "key": _plain(key), "tried": [asdict(entry) for entry in choice.tried]}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path, unique=True) as partial, partial.open("w", encoding="utf-8") as file:
                file.write(json.dumps(facts, indent=2, allow_nan=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            return (
                f"{self.folder}: which engine is best cannot be kept ({error.strerror}), and is measured again at the"
                " next start; free space, or set PARTUM_CACHE to another folder"
            )
        return ""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Holds other processes with this folder back, `PATIENCE_S` at most: the next one finds what one has measured.

        The lock ends with its process. Where the folder or the system has no such locks, nobody is held back.
        """
        try:
            import fcntl

            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder, os.O_RDONLY)
        except (ImportError, OSError):
            yield
            return
        try:
            give_up = time.monotonic() + PATIENCE_S
            with suppress(OSError):  # a file system without locks
                while not _has_locked(fcntl, handle) and time.monotonic() < give_up:
                    time.sleep(0.02)
            yield
        finally:
            os.close(handle)

    def _path(self, key: Mapping[str, Any]) -> Path:
        digest = hashlib.sha256(json.dumps(_plain(key), sort_keys=True).encode()).hexdigest()[:16]
        return self.folder / f"choice-{digest}.json"


def choice_key(
    machine: Machine, variants: Sequence[Variant], trial: Trial, *, threads: int | None, mode: str = LATENCY
) -> dict[str, Any]:
    """All that a choice depends on."""
    return {
        "machine": asdict(machine),
        "releases": {name: _release(name) for name in RELEASES},
        "variants": [[variant.name, variant.file.spec.sha256] for variant in variants],
        "trial": trial.digest,
        "threads": threads,
        "mode": mode,
    }


def choose(
    variants: Sequence[Variant],
    trial: Trial,
    machine: Machine,
    store: ChoiceStore,
    *,
    threads: int | None = None,
    mode: str = LATENCY,
    is_anew: bool = False,
) -> Choice:
    """The choice for this machine: the kept one, or one that is measured now and kept; `is_anew` measures always."""
    key = choice_key(machine, variants, trial, threads=threads, mode=mode)
    if not is_anew and (kept := store.find(key)):
        return kept
    with store.alone():
        if not is_anew and (kept := store.find(key)):  # by a process that started with this one
            return kept
        choice = Choice(tried=measure(variants, trial), is_new=True)
        _log.info("measured: %s", choice.line)
        return replace(choice, trouble=store.keep(key, choice) if choice.usable else "")


def _has_locked(fcntl: Any, handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _plain(key: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(key))


def _release(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
