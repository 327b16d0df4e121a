"""Which of a CPU's engines runs: measured and compared in degrees once, then kept on disk.

    choice-DIGEST.json     key (machine, releases, models, trial), and what each engine was found to be

What is fastest differs from CPU to CPU, and an INT8 model may be wrong on one: only what was right on this machine runs
on it. The file is made anew where anything in its key differs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from typing import TYPE_CHECKING, Any, Protocol

from engines.atomic_file import atomic_path
from engines.errors import ModelMismatch
from engines.runtime import error_summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from engines.base import Engine
    from engines.onnx.model_file import ModelFile
    from engines.selection.machine import Machine

SCHEMA = "partum.choice/1"
RELEASES = ("partum", "openvino", "onnxruntime", "torch")
SLOWER = 1.6
"""An engine that takes so many times as long as the best one so far is not measured to the end."""
SAME = 1.05
"""Times this close are a tie, which the order of the variants decides: so that noise decides less often."""
LATENCY, THROUGHPUT = "latency", "throughput"
"""How engines are asked: one frame at a time, as a live feed does; or as many side by side as the engine takes."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a trial found of an engine.

    Attributes:
        ms: of one frame, the median.
        aop_p95_deg: 95th percentile of how far AoP lies from that of the float32 model, degrees; None where the trial
            was not finished, or nothing was measured.
        refusal: why it may not run; empty where it may.
        is_complete: false where it was given up as too slow.
    """

    ms: float
    aop_p95_deg: float | None = None
    refusal: str = ""
    is_complete: bool = True


class Trial(Protocol):
    """Frames with reference answers, that engines are compared on."""

    @property
    def digest(self) -> str:
        """Changes with the frames, the answers and the limits."""

    def judge(self, engine: Engine, reference: Reference, *, most_ms: float) -> Verdict:
        """Runs the frames through an engine; gives up where one takes longer than `most_ms`."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The float32 model that an engine is compared with: its sha256, and how it is started where answers are needed."""

    sha256: str
    load: Callable[[], Engine]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to run a model on this CPU.

    Attributes:
        name: `openvino bf16 psfh_lite0.onnx`, by which it is known in the file.
        backend: that runs it.
        file: the model.
        hint: the precision its back-end is asked for; None leaves that to it.
        load: starts it.
        reference: None where the float32 model it was made from is not at hand: it cannot be judged then.
    """

    name: str
    backend: str
    file: ModelFile
    hint: str | None
    load: Callable[[], Engine]
    reference: Reference | None

    @property
    def precision(self) -> str:
        """In which it computes, as far as that is known before it starts."""
        return self.hint or self.file.spec.precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A variant and what was found: `engine` is the name of what it ran as, empty where it could not start."""

    variant: str
    engine: str = ""
    ms: float | None = None
    aop_p95_deg: float | None = None
    refusal: str = ""
    is_complete: bool = True

    @property
    def line(self) -> str:
        """In a line, for people."""
        name = self.engine or self.variant
        if self.ms is None:
            return f"{name}: {self.refusal}"
        if not self.is_complete:
            return f"{name}: slower, {self.ms:.1f} ms"
        moved = "" if self.aop_p95_deg is None else f", AoP within {self.aop_p95_deg:.2f} degrees of float32 (p95)"
        return f"{name}: {self.ms:.1f} ms{moved}{f'; refused: {self.refusal}' if self.refusal else ''}"


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
    """The choice for this machine: the kept one, or one that is measured now and kept; `is_anew` measures always.

    Convention: each variant is run on the trial's frames, one after another, and compared with its float32 model. Those
    that are right are taken by their median time, the earlier one where times are within `SAME` of each other. One in
    float that is slower by `SLOWER` is not measured to its end, and comes after them.
    """
    key = choice_key(machine, variants, trial, threads=threads, mode=mode)
    if not is_anew and (kept := store.find(key)):
        return kept
    choice = Choice(tried=_measured(variants, trial), is_new=True)
    _log.info("measured: %s", choice.line)
    return replace(choice, trouble=store.keep(key, choice) if choice.usable else "")


def _measured(variants: Sequence[Variant], trial: Trial) -> tuple[Tried, ...]:
    found: list[Tried] = []
    for variant in variants:
        times = [entry.ms for entry in found if entry.ms is not None and entry.is_complete and not entry.refusal]
        found.append(_tried(variant, trial, most_ms=SLOWER * min(times, default=float("inf"))))
    right = [entry for entry in found if not entry.refusal and entry.is_complete]
    fast = sorted(right, key=lambda entry: entry.ms or 0.0)
    if fast and fast[0].ms:
        limit = SAME * fast[0].ms
        first = next(entry for entry in right if entry.ms is not None and entry.ms <= limit)
        fast = [first, *(entry for entry in fast if entry is not first)]
    slow = [entry for entry in found if not entry.refusal and not entry.is_complete]
    return (*fast, *slow, *(entry for entry in found if entry.refusal))


def _tried(variant: Variant, trial: Trial, *, most_ms: float) -> Tried:
    try:
        if variant.reference is None:
            raise ModelMismatch("the float32 model it was made from is not beside it")
        with variant.load() as engine:
            verdict = trial.judge(engine, variant.reference, most_ms=most_ms)
            name, refusal = engine.name, verdict.refusal
    except Exception as error:  # noqa: BLE001 - a runtime that is broken may raise anything
        return Tried(variant=variant.name, refusal=error_summary(error))
    if not verdict.is_complete and variant.precision == "int8":
        refusal = "too slow to be compared with its float32 model"
    return Tried(
        variant=variant.name,
        engine=name,
        ms=round(verdict.ms, 3),
        aop_p95_deg=verdict.aop_p95_deg,
        refusal=refusal,
        is_complete=verdict.is_complete,
    )


def _plain(key: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(key))


def _release(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
