"""What was fitted to out-of-fold predictions, from one file, as it goes into a model.

A JSON object with any of these sections:

    gate     {"weights": {NAME: number, ..., "constant": number}, "plane_threshold": probability, "exit_logit": logit}
             a weight for each of `engines.network.gate.EVIDENCE`; the exit may be left out
    fusion   {"direction": share, "inferior": share, "turn_deg": degrees}  `stream.measurement.symphysis_axis.Fusion`
    quality  {"weights": {NAME: number, ...}, ...}           `stream.measurement.expected_error.ErrorModel`
    absolute {PROTOCOL: {NAME: number, ...}, ...}            `stream.measurement.absolute_interval.AbsoluteInterval`
    views    [[magnification, right, down], ...]             `engines.network.second_look.VIEWS`
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from engines.errors import ModelMismatch, ModelNotFound
from engines.network.gate import EVIDENCE
from engines.network.second_look import VIEWS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CONSTANT = "constant"
SCHEMA = "partum.fitted/1"
SECTIONS = ("schema", "notice", "gate", "fusion", "quality", "absolute", "views")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The sections of such a file; one that is not there leaves the model as it is.

    Attributes:
        gate_weights: by the names of `EVIDENCE`, and `constant`; empty where the plane head alone decides.
        plane_threshold, exit_logit: see `ModelSpec`.
        fusion, quality, absolute: likewise.
        views: of the second look.
    """

    gate_weights: Mapping[str, float] = field(default_factory=dict)
    plane_threshold: float | None = None
    exit_logit: float | None = None
    fusion: Mapping[str, float] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)
    absolute: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    views: Sequence[Sequence[float]] = VIEWS

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads the file.

        Raises:
            ModelNotFound: there is none.
            ModelMismatch: it holds something else; the section is named.
        """
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ModelNotFound(f"{path}: cannot be read ({error.strerror}); name a file of fitted facts") from error
        except ValueError as error:
            raise ModelMismatch(f"{path}: not JSON ({error}); name a file of fitted facts") from error
        if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
            raise ModelMismatch(f"{path}: its schema is not {SCHEMA}; name a file of fitted facts")
        if unknown := set(facts) - set(SECTIONS):
            raise ModelMismatch(f"{path}: {min(unknown)} is not known; a section is one of {', '.join(SECTIONS[2:])}")
        section = "gate"
        try:
            gate = _gate(facts.get("gate", {}))
            section = "fusion"
            fusion = _fusion(facts.get("fusion", {}))
            section = "absolute"
            absolute = _absolute(facts.get("absolute", {}))
            section = "views"
            views = [[float(value) for value in view] for view in facts.get("views", VIEWS)]
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ModelMismatch(f"{path}: {section} cannot be used ({error}); fit it anew") from error
        return cls(**gate, fusion=fusion, quality=facts.get("quality", {}), absolute=absolute, views=views)

    def gate_row(self, count: int) -> list[float]:
        """The weights of the first `count` - 1 pieces of evidence and the constant, as the network holds them."""
        names = (*EVIDENCE[: count - 1], CONSTANT)
        return [self.gate_weights.get(name, 0.0) for name in names]


def _gate(facts: Mapping[str, Any]) -> dict[str, Any]:
    if not facts:
        return {}
    weights = {name: float(value) for name, value in facts["weights"].items()}
    if set(weights) - {*EVIDENCE, CONSTANT} or not all(map(math.isfinite, weights.values())):
        raise ValueError(f"weights are finite numbers for {', '.join(EVIDENCE)} and {CONSTANT}")
    exit_logit = facts.get("exit_logit")
    return {
        "gate_weights": weights,
        "plane_threshold": _share(facts["plane_threshold"]),
        "exit_logit": float(exit_logit) if exit_logit is not None and math.isfinite(exit_logit) else None,
    }


def _share(value: Any) -> float:
    if not 0 <= float(value) <= 1:
        raise ValueError(f"{value} is not between 0 and 1")
    return float(value)


def _fusion(facts: Mapping[str, Any]) -> dict[str, float]:
    turn_deg = {name: float(value) for name, value in facts.items() if name == "turn_deg"}
    if not all(map(math.isfinite, turn_deg.values())):
        raise ValueError(f"turn_deg is {turn_deg}")
    return {name: _share(value) for name, value in facts.items() if name not in turn_deg} | turn_deg


def _absolute(facts: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    found = {protocol: {name: float(value) for name, value in each.items()} for protocol, each in facts.items()}
    if not all(math.isfinite(value) for each in found.values() for value in each.values()):
        raise ValueError("a number is not finite")
    return found
