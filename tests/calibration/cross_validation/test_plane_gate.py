"""The plane gate: what it weighs, how much each frame counts, and what goes into the model."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from calibration.cross_validation.evidence import evidence_of, features
from calibration.cross_validation.gate import (
    LEAVING,
    PASSING,
    Negatives,
    fit_gate,
    gate_table,
    only_head_names,
    out_of_fold_gate,
)
from calibration.cross_validation.predictions import Predictions
from engines.network.gate import EVIDENCE
from tests.fakes.tiny_model import SIDE, tiny_cascade

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.usefixtures("one_thread")

TRUE = (4.0, 8.0, 7.0, 6.0, 8.0)
FALSE = (-2.0, 3.0, 6.0, 5.0, 8.0)


def around(centre: tuple[float, ...], count: int, seed: int) -> NDArray[np.float64]:
    return np.array(centre) + np.random.default_rng(seed).normal(size=(count, 5))


def looked(spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """Answers of two views whose logarithms of the expected error lie around `spread`."""
    views = np.zeros((len(spread), 2, 7))
    views[:, :, 6] = spread[:, None] + [-0.1, 0.1]
    return views


def predictions(
    features: NDArray[np.float64],
    *,
    planes: int = 1,
    source: str = "psfhs",
    groups: list[str] | None = None,
    spread: float | None = None,
) -> Predictions:
    count = len(features)
    blank = np.zeros((count, 8, 8), np.uint8)
    return Predictions(
        names=np.array([f"{source}/{planes} {number}" for number in range(count)]),
        groups=np.array(groups or [f"{source} {planes} {number}" for number in range(count)]),
        looks=np.array(["A"] * count),
        folds=np.arange(count) % 2,
        planes=np.full(count, planes),
        drawn=blank,
        found=blank,
        features=features,
        normal_logits=np.ones(count),
        views=np.full((count, 2, 7), np.nan) if spread is None else looked(np.full(count, spread)),
    )


def negatives(features: NDArray[np.float64], *, spread: float | None = None, kind: str = "PS filled") -> Negatives:
    count = len(features)
    return Negatives(
        kinds=np.array([kind] * count),
        folds=np.arange(count) % 2,
        features=features,
        views=np.full((count, 2, 7), np.nan) if spread is None else looked(np.full(count, spread)),
        measurable=np.arange(count) < count // 4,
    )


def test_true_planes_pass_and_it_is_said_what_else_does() -> None:
    table, others = predictions(around(TRUE, 1500, 0)), negatives(around(FALSE, 300, 1))
    own_scores, their_scores = out_of_fold_gate(table, others)
    rows = gate_table(table, others, own_scores, their_scores)
    assert rows["psfhs"]["pass"] >= 0.95
    assert rows["PS filled"]["pass"] <= 0.02
    assert rows["PS filled"]["pass and measured"] <= rows["PS filled"]["pass"]
    gate = fit_gate(table, others)
    passing = gate.logits(evidence_of(table)) >= gate.threshold
    assert passing.mean() == pytest.approx(PASSING, abs=0.006)
    assert (table.features[:, 0] < gate.exit_logit).mean() <= LEAVING


def test_near_duplicates_count_once() -> None:
    """Frames of `planes` that are one frame nineteen times over move the gate as little as that frame alone."""
    standard, others = predictions(around(TRUE, 30, 0), source="planes"), negatives(around(FALSE, 50, 1))
    odd = np.array([[-1.0, 7.0, 2.0, 3.0, 4.0]])
    alone = predictions(np.vstack((around(FALSE, 20, 2), odd)), planes=0, source="planes")
    often = predictions(
        np.vstack((around(FALSE, 20, 2), np.repeat(odd, 19, axis=0))),
        planes=0,
        source="planes",
        groups=[*alone.groups[:20].tolist(), *["the odd one"] * 19],
    )
    gates = [fit_gate(Predictions.concatenate([standard, each]), others).weights for each in (alone, often)]
    assert gates[0] == pytest.approx(gates[1], abs=0.02)
    apart = replace(often, groups=np.arange(len(often)).astype(str))
    assert np.abs(fit_gate(Predictions.concatenate([standard, apart]), others).weights - gates[0]).max() > 0.05


def test_frames_labelled_only_head_count_half_and_are_told_apart() -> None:
    standard, others = predictions(around(TRUE, 30, 0), source="planes"), negatives(around(FALSE, 50, 1))
    doubtful = predictions(around(TRUE, 20, 2), planes=0, source="planes")  # as if a symphysis were there
    table = Predictions.concatenate([standard, doubtful])
    names = frozenset(doubtful.names.tolist())
    strict, lenient = fit_gate(table, others), fit_gate(table, others, names)
    of = evidence_of(doubtful)
    assert lenient.logits(of).mean() > strict.logits(of).mean() + 0.1
    rows = gate_table(table, others, *out_of_fold_gate(table, others, names), names)
    assert {"planes, standard", "planes, only head"} <= set(rows)
    assert rows["AUC on planes, gate"] < 0.9
    assert rows["AUC on planes without only_head, gate"] is None  # nothing else is labelled


def test_labels_are_read_from_the_data_set(tmp_path: Path) -> None:
    assert only_head_names(tmp_path) == frozenset()
    (tmp_path / "planes").mkdir()
    (tmp_path / "planes" / "labels.csv").write_text("name,label\na,sp_head\nb,only_head\nc,none\n")
    assert only_head_names(tmp_path) == {"planes/b"}


def test_how_sure_the_second_look_is_counts() -> None:
    """Masks and head alone cannot tell these apart."""
    table, others = predictions(around(TRUE, 100, 0), spread=-3.0), negatives(around(TRUE, 100, 1), spread=-0.5)
    assert evidence_of(table).shape == (100, len(EVIDENCE))
    own_scores, their_scores = out_of_fold_gate(table, others)
    assert (own_scores >= 0).mean() >= 0.95
    assert (their_scores >= 0).mean() == 0
    blind = replace(table, views=np.full_like(table.views, np.nan))
    assert evidence_of(blind).shape == (100, len(EVIDENCE) - 1)


def test_the_gate_in_the_network_says_what_was_fitted() -> None:
    gate = fit_gate(predictions(around(TRUE, 60, 0), spread=-3.0), negatives(around(FALSE, 60, 1), spread=-1.0))
    facts = gate.facts
    assert list(facts["weights"]) == [*EVIDENCE, "constant"]
    assert math.log(facts["plane_threshold"] / (1 - facts["plane_threshold"])) == pytest.approx(gate.threshold)
    network = tiny_cascade()
    before = network.gate_weights.clone()
    try:
        network.gate_weights.copy_(torch.tensor(list(facts["weights"].values())))
        noise = np.random.default_rng(0).integers(0, 256, (4, 1, SIDE, SIDE), np.uint8)
        with torch.inference_mode():
            class_logits, plane, _, head, axis = network(torch.from_numpy(noise))
    finally:
        network.gate_weights.copy_(before)
    table = replace(negatives(features(class_logits.numpy(), head.double().numpy())), views=axis.double().numpy())
    assert plane.numpy() == pytest.approx(gate.logits(evidence_of(table)), rel=1e-4, abs=1e-3)
