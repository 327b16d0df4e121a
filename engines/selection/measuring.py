"""Engines of a CPU compared with float32 in degrees, and timed beside each other.

What is fastest differs from CPU to CPU, and an INT8 model may be wrong on one: only what was right on this machine runs
on it. Times are taken in heats in which each engine runs in turn, so that other work on the machine slows all alike.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from engines.errors import ModelMismatch
from engines.runtime import error_summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from engines.base import Engine
    from engines.onnx.model_file import ModelFile

SLOWER = 1.6
"""An engine whose fastest frame takes so many times as long as a frame of the best so far is not tried to the end."""
FAR = 2.0
"""One that takes so many times as long as the best runs no heat, unless it is the one that is preferred to all."""
HEATS = 5
SURE, SAME = 4, 1.1
"""An engine is taken before one that is preferred to it where it was faster by `SAME` in `SURE` of the heats and at its
best: noise then hardly ever decides, and never between engines that are about as fast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a trial found of an engine.

    Attributes:
        ms: of one frame, the median; the fastest where it was given up as too slow.
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
        """Runs the frames through an engine; gives up where none of the first takes less than `most_ms`."""

    def time_ms(self, engine: Engine) -> float:
        """Runs some of the frames through it, and returns the time of one in milliseconds."""


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


def measure(variants: Sequence[Variant], trial: Trial) -> tuple[Tried, ...]:
    """What was found of every variant, in the order in which they are taken; those that may not run come last.

    Convention: each variant is compared with its float32 model. One in float that is slower by `SLOWER` is not tried to
    its end, and comes after those that were. These run `HEATS` heats, but for those that are `FAR` behind; `ms` is the
    time of the best. The first of `variants` is taken unless a later one is faster for certain (`SAME`, `SURE`); the
    others follow by their times.
    """
    found: dict[str, Tried] = {}
    engines: dict[str, Engine] = {}
    try:
        for variant in variants:
            best = min((found[name].ms or math.inf for name in engines), default=math.inf)
            found[variant.name] = _tried(variant, trial, engines, most_ms=SLOWER * best)
        racing = _near(engines, found)
        times, failed = _heats(racing, trial) if len(racing) > 1 else ({}, {})
    finally:
        for engine in engines.values():
            with suppress(Exception):  # what it found holds, and it is needed no more
                engine.close()
    for name, why in failed.items():
        found[name] = replace(found[name], refusal=why)
    for name, each in times.items():
        found[name] = replace(found[name], ms=round(min(each), 3))
    refused = [entry for entry in found.values() if entry.refusal]
    slow = [entry for entry in found.values() if not entry.refusal and not entry.is_complete]
    right = [entry for entry in found.values() if not entry.refusal and entry.is_complete]
    return (*_by_time(right, times), *slow, *refused)


def _tried(variant: Variant, trial: Trial, engines: dict[str, Engine], *, most_ms: float) -> Tried:
    """Compares a variant with its float32 model; where it is right, its engine is added to `engines`, still open."""
    engine = None
    try:
        if variant.reference is None:
            raise ModelMismatch("the float32 model it was made from is not beside it")
        engine = variant.load()
        verdict = trial.judge(engine, variant.reference, most_ms=most_ms)
        name, refusal = engine.name, verdict.refusal
        if verdict.is_complete and not refusal:
            engines[variant.name] = engine
            engine = None
    except Exception as error:  # noqa: BLE001 - a runtime that is broken may raise anything
        return Tried(variant=variant.name, refusal=error_summary(error))
    finally:
        if engine is not None:
            with suppress(Exception):
                engine.close()
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


def _near(engines: Mapping[str, Engine], found: Mapping[str, Tried]) -> dict[str, Engine]:
    """The engines that may be the fastest; the first of all is always among them."""
    times = {name: found[name].ms or math.inf for name in engines}
    most = FAR * min(times.values(), default=math.inf)
    return {name: engine for place, (name, engine) in enumerate(engines.items()) if place == 0 or times[name] <= most}


def _heats(engines: Mapping[str, Engine], trial: Trial) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Times of each engine by heat, in milliseconds; and of those that failed, why."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    failed: dict[str, str] = {}
    for heat in range(HEATS):
        for name in list(times)[:: -1 if heat % 2 else 1]:
            try:
                times[name].append(trial.time_ms(engines[name]))
            except Exception as error:  # noqa: BLE001 - as above
                failed[name] = error_summary(error)
                del times[name]
    return times, failed


def _by_time(right: Sequence[Tried], times: Mapping[str, Sequence[float]]) -> list[Tried]:
    """The one to take first, then the others by their time."""
    if not right:
        return []
    first = right[0]
    for entry in right[1:]:
        if entry.variant in times and _is_faster(times[entry.variant], times[first.variant]):
            first = entry
    return [first, *sorted((entry for entry in right if entry is not first), key=lambda entry: entry.ms or 0.0)]


def _is_faster(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether it is for certain, by the times of both in the same heats."""
    heats = sum(time * SAME <= than for time, than in zip(one, other, strict=True))
    return heats >= SURE and min(one) * SAME <= min(other)
