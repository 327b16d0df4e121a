"""The ways to run a model on this CPU, and which of them are taken, in which order."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from engines.errors import EngineError
from engines.onnx.model_file import read_model_file
from engines.selection.choice import LATENCY, THROUGHPUT, USES, choice_key, choose
from engines.selection.failover import Candidate
from engines.selection.machine import this_machine
from engines.selection.measuring import Reference, Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from engines.base import Engine
    from engines.onnx.model_file import ModelFile
    from engines.selection.choice import Choice, ChoiceStore
    from engines.selection.machine import Machine
    from engines.selection.measuring import Trial

HINTS = {"openvino": ("bf16", "fp32")}
"""The precisions in which a back-end may run a float model; others run it in float32."""
LAST = "torch"
"""Float32 like the others and never the fastest: taken where there is nothing else, and not measured beside others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuRequest:
    """What is to run on the CPU.

    Attributes:
        files: model files that each back-end may run, in the order in which they are preferred.
        shipped: the float32 model that ships: an INT8 file may have been made from it.
        start: starts a back-end for the run, with a model, in a precision (None: its own).
        plain: likewise, but always the whole network, to be compared with others.
        precision: the only one wanted; None takes any.
        threads: cores an engine may keep busy; None takes all.
        throughput: frames are run side by side where a back-end can.
    """

    files: Mapping[str, Sequence[Path]]
    shipped: Path
    start: Callable[[str, ModelFile, str | None], Engine]
    plain: Callable[[str, ModelFile, str | None], Engine]
    precision: str | None = None
    threads: int | None = None
    throughput: bool = False

    @property
    def how(self) -> dict[str, Any]:
        """What the measurement depends on, beside the variants."""
        return {"threads": self.threads, "mode": THROUGHPUT if self.throughput else LATENCY}


def cpu_candidates(
    request: CpuRequest, trial: Trial | None, store: ChoiceStore, *, machine: Machine | None = None
) -> tuple[list[Candidate], list[str]]:
    """The engines that may run on this CPU, the best first, and what a person should know of the choice, in lines.

    Where there is one only, and it runs a float model, nothing is measured. Without a trial an INT8 model is taken
    first where the CPU sums exactly, and not at all where it does not.
    """
    machine = machine or this_machine()
    measured, rest = _measured_and_rest(request, is_measured=trial is not None)
    if trial is None or not _needs_trial(measured):
        variants = [*measured, *rest]
        taken = [variant for variant in variants if variant.precision != "int8" or machine.sums_int8_exactly]
        notices = [f"{variant.name}: {_unjudged(machine)}" for variant in variants if variant not in taken]
    else:
        taken, notices = _chosen(measured, trial, store, machine, request)
        taken += rest
    return [Candidate(variant.name, partial(_start, request, variant)) for variant in taken], notices


def cpu_choice(request: CpuRequest, trial: Trial, store: ChoiceStore, *, is_anew: bool = False) -> Choice | None:
    """What `cpu_candidates` would go by: what was measured once; None where nothing was yet, and nothing is measured.

    Args:
        request: as there.
        trial: as there.
        store: as there.
        is_anew: measures now, whatever is kept.
    """
    machine, (measured, _) = this_machine(), _measured_and_rest(request, is_measured=True)
    judged = [variant for variant in measured if variant.reference]
    if is_anew:
        return choose(judged, trial, machine, store, **request.how, is_anew=True)
    return store.find(choice_key(machine, judged, trial, **request.how))


def _measured_and_rest(request: CpuRequest, *, is_measured: bool) -> tuple[list[Variant], list[Variant]]:
    variants = list(_variants(request, is_measured=is_measured))
    rest = [variant for variant in variants if variant.backend == LAST and len(request.files) > 1]
    return [variant for variant in variants if variant not in rest], rest


def _needs_trial(variants: Sequence[Variant]) -> bool:
    return len(variants) > 1 or any(variant.precision == "int8" for variant in variants)


def _chosen(
    variants: Sequence[Variant], trial: Trial, store: ChoiceStore, machine: Machine, request: CpuRequest
) -> tuple[list[Variant], list[str]]:
    """The variants that were found right, the fastest first; and what is to be said of it."""
    choice = choose([each for each in variants if each.reference], trial, machine, store, **request.how)
    by_name = {variant.name: variant for variant in variants}
    taken = [by_name[entry.variant] for entry in choice.usable if entry.variant in by_name]
    if choice.is_new:
        use = USES[request.how["mode"]]
        notices = [f"measured once on this machine ({machine.name}) for {use}: {choice.line}"] if choice.tried else []
    else:
        notices = [f"not run on this machine ({machine.name}): {entry.line}" for entry in choice.refused]
    unjudged = [variant for variant in variants if not variant.reference]
    if machine.sums_int8_exactly:  # what it was accepted by when it was quantised holds here
        taken += unjudged
    else:
        notices += [f"{variant.name}: {_unjudged(machine)}" for variant in unjudged]
    return taken, [*notices, *([choice.trouble] if choice.trouble else [])]


def _unjudged(machine: Machine) -> str:
    return (
        f"this CPU ({machine.name}) may sum INT8 wrongly, and the model was not compared with its float32 model; put"
        " that one beside it, or name it instead"
    )


def _variants(request: CpuRequest, *, is_measured: bool) -> Iterator[Variant]:
    """Every way in turn: back-end, file, and precision of a float file."""
    for backend, paths in request.files.items():
        for path in paths:
            file = read_model_file(path)
            is_float = file.spec.precision == "fp32"
            hints: Sequence[str | None] = (None,)
            if is_float and backend in HINTS and (is_measured or request.precision):
                hints = HINTS[backend]
            for hint in hints:
                if request.precision in (None, hint or file.spec.precision):
                    yield _variant(request, backend, path, file, hint)


def _variant(request: CpuRequest, backend: str, path: Path, file: ModelFile, hint: str | None) -> Variant:
    return Variant(
        name=f"{backend} {hint or file.spec.precision} {path.name}",
        backend=backend,
        file=file,
        hint=hint,
        load=partial(request.plain, backend, file, hint),
        reference=_reference(request, backend, path, file),
    )


def _reference(request: CpuRequest, backend: str, path: Path, file: ModelFile) -> Reference | None:
    """The float32 model, run in float32 by the same back-end: what is compared is the precision, not the runtime."""
    model = file if file.spec.precision == "fp32" else float_model_of(file, beside=path.parent, shipped=request.shipped)
    if model is None:
        return None
    hint = "fp32" if backend in HINTS else None
    return Reference(model.spec.sha256, partial(request.plain, backend, model, hint))


def float_model_of(file: ModelFile, *, beside: Path | None, shipped: Path) -> ModelFile | None:
    """The float32 model that an INT8 one was made from: the one that ships, or one in the same folder."""
    found: list[Any] = [] if beside is None else sorted(beside.glob("*.onnx"))
    for path in (shipped, *found):
        with suppress(EngineError):  # somebody else's, or another version's
            model = read_model_file(path)
            if model.spec.sha256 == file.spec.made_from:
                return model
    return None


def _start(request: CpuRequest, variant: Variant) -> Engine:
    return request.start(variant.backend, variant.file, variant.hint)
