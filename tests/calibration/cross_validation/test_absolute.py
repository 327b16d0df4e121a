"""The absolute interval, fitted to errors that the frames of a group share, holds on groups it was not fitted on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.cross_validation.absolute import DIFFERENCE, Readings, absolute_table, fit_absolute, fitted_absolute
from stream.measurement.absolute_interval import AbsoluteInterval
from stream.measurement.expected_error import FEATURES


def simulated(seed: int, *, groups: int = 300, late: float = 1.0) -> Readings:
    """Groups of 1 to 10 frames whose errors are mostly the group's; larger where the views disagree, and late."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 11, groups)
    group = np.repeat(np.arange(groups), sizes)
    drawn = np.repeat(rng.uniform(80.0, 160.0, groups), sizes) + rng.normal(0.0, 2.0, len(group))
    doubt = np.repeat(rng.normal(0.0, 1.0, groups), sizes) + rng.normal(0.0, 0.3, len(group))
    spread = np.exp(0.4 * doubt) * (1.0 + late * np.clip((drawn - 110.0) / 160.0, 0.0, 1.0))
    error = spread * (np.repeat(rng.normal(0.0, 5.0, groups), sizes) + rng.normal(0.0, 2.0, len(group)))
    features = np.zeros((len(group), len(FEATURES)))
    features[:, FEATURES.index("disagreement")] = doubt
    features[:, FEATURES.index("spread")] = doubt + rng.normal(0.0, 0.2, len(group))
    return Readings(
        found=drawn + error,
        drawn=drawn,
        features=features,
        fused_error=error,
        groups=group.astype(str),
        folds=group % 5,
    )


def test_it_holds_on_the_other_folds_overall_and_in_each_band() -> None:
    table = absolute_table(simulated(1))
    assert 0.93 <= table["all"]["inside"] <= 0.97
    for band in ("<100", "100-120", "120-140", ">=140"):
        assert 0.91 <= table[f"drawn {band}"]["inside"] <= 0.985
    assert table["all"]["frames"] == sum(
        table[f"drawn {band}"]["frames"] for band in ("<100", "100-120", "120-140", ">=140")
    )
    assert table["drawn >=140"]["half_deg"] > table["drawn <100"]["half_deg"]
    low, high = table["drawn >=140"]["interval"]
    assert low < table["drawn >=140"]["inside"] < high


def test_a_difference_of_two_frames_is_held_by_both_intervals_whatever_they_share() -> None:
    table = absolute_table(simulated(1))[DIFFERENCE]
    assert table["frames"] > 500
    assert table["inside"] > 0.97  # of a group's error most is the same in both, and drops out
    apart = simulated(1)
    alone = replace(apart, groups=np.arange(len(apart.groups)).astype(str))
    assert absolute_table(alone)[DIFFERENCE] == {"frames": 0}


def test_the_width_follows_the_expected_error() -> None:
    readings = simulated(2)
    doubt = readings.features[:, 0]
    fit = fit_absolute(readings, 4.0 * np.exp(0.4 * doubt))
    assert fit.power >= 0.5
    known = np.abs(readings.found - readings.drawn)
    half = np.array([fit.half_width_deg(a, e) for a, e in zip(readings.found, 4.0 * np.exp(0.4 * doubt), strict=True)])
    sure, unsure = doubt < -0.5, doubt > 0.5
    assert (known <= half)[sure].mean() == pytest.approx((known <= half)[unsure].mean(), abs=0.05)


def test_what_ships_can_be_read_back_and_one_fold_is_judged_on_itself() -> None:
    readings = simulated(3, groups=60)
    facts = fitted_absolute({"robust": readings})
    assert AbsoluteInterval.of(facts["robust"]).half_deg == facts["robust"]["half_deg"]
    alone = replace(readings, folds=np.zeros(len(readings.folds), np.int64))
    assert 0.9 <= absolute_table(alone)["all"]["inside"] <= 1.0
