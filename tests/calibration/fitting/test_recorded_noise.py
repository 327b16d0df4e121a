"""The filter's constants, fitted to recordings: near the truth, never too small, and from a command into a run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from calibration.commands.calibrate_command import calibrate_command
from calibration.errors import DataSetError
from calibration.fitting.courses import Degradation, degrade_course
from calibration.fitting.recorded_noise import fit_noise, pieces_of
from stream.common.errors import OptionError
from stream.labour.course import run_noise
from stream.tracking.noise_file import NOISE_SCHEMA, noise_facts, read_noise
from stream.tracking.tracker import AOP_NOISE_DEG
from tests.samples.finished_runs import finished_run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "true",
    [
        Degradation(missing_share=0.0),
        Degradation(white_sd_deg=3.0, correlated_sd_deg=4.0, correlation_s=0.6, missing_share=0.0),
    ],
)
def test_errors_at_rest_are_found_and_not_taken_for_smaller(true: Degradation) -> None:
    rng = np.random.default_rng(3)
    t_s = np.arange(0.0, 60.0, 0.05)
    truth = 118.0 + 0.4 * np.sin(2 * np.pi * 0.3 * t_s)
    value = degrade_course(rng, t_s, truth, true)
    fit = fit_noise(pieces_of(t_s, value, np.ones(len(t_s)), np.zeros(len(t_s), np.int64)))
    assert fit.noise.white_sd == pytest.approx(true.white_sd_deg, rel=0.3)
    assert 0.75 * true.correlated_sd_deg <= fit.noise.correlated_sd <= 1.6 * true.correlated_sd_deg
    assert 0.5 * true.correlation_s <= fit.noise.correlation_s <= 2.5 * true.correlation_s
    assert fit.noise.velocity_sd == AOP_NOISE_DEG.velocity_sd
    assert fit.gain >= 0


def test_too_few_readings_are_refused_and_pieces_do_not_span_gaps_or_cuts() -> None:
    t_s = np.r_[np.arange(0.0, 10.0, 0.1), np.arange(20.0, 30.0, 0.1)]
    segment = np.r_[np.zeros(150, np.int64), np.ones(50, np.int64)]
    value = np.where(np.arange(200) % 10 == 3, np.nan, 120.0)
    pieces = pieces_of(t_s, value, np.ones(200), segment)
    assert [len(piece.t_s) for piece in pieces] == [90, 45, 45]
    with pytest.raises(DataSetError, match="180 readings at rest are too few"):
        fit_noise(pieces)


def test_a_command_fits_them_and_a_run_takes_them(tmp_path: Path) -> None:
    run = finished_run(tmp_path, 320)
    done = CliRunner().invoke(calibrate_command, ["noise", str(run.folder), "-o", str(tmp_path / "noise.json")])
    assert done.exit_code == 0, done.output
    assert "Research use only" in done.output
    noise = read_noise(tmp_path / "noise.json")
    assert noise.white_sd < AOP_NOISE_DEG.white_sd  # drawn pictures hardly tremble
    other = finished_run(tmp_path / "second", 12, noise=noise)
    assert other.options["noise"] == noise_facts(noise)
    assert run_noise(other) == noise
    assert run_noise(run) == AOP_NOISE_DEG
    widths = [each.table.numbers("aop_hi95_deg") - each.table.numbers("aop_lo95_deg") for each in (run, other)]
    assert abs(np.nanmean(widths[1]) - np.nanmean(widths[0][:12])) > 1.0


GOOD: dict[str, Any] = {"schema": NOISE_SCHEMA, "aop_deg": noise_facts(AOP_NOISE_DEG)}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "not JSON"),
        ("[]", "its schema is not"),
        (json.dumps(GOOD | {"schema": "partum.noise/9"}), "its schema is not"),
        (json.dumps({"schema": NOISE_SCHEMA}), "aop_deg cannot be used"),
        (json.dumps(GOOD | {"aop_deg": {"white_sd": "low"}}), "aop_deg cannot be used"),
        (json.dumps(GOOD | {"aop_deg": noise_facts(AOP_NOISE_DEG) | {"white_sd": -2.0}}), "aop_deg cannot be used"),
        (json.dumps(GOOD | {"aop_deg": noise_facts(AOP_NOISE_DEG) | {"white_sd": 500.0}}), "white_sd is 500, and 2"),
        (json.dumps(GOOD | {"aop_deg": noise_facts(AOP_NOISE_DEG) | {"colour": 1.0}}), "aop_deg cannot be used"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "noise.json").write_text(content)
    with pytest.raises(OptionError, match=told):
        read_noise(tmp_path / "noise.json")
    with pytest.raises(OptionError, match="cannot be read"):
        read_noise(tmp_path / "none.json")
