"""An engine is judged by what it does to the angle: by hand-made departures of known size."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from calibration.data.base import LabelledFrame
from calibration.deployment.acceptance import compare_batches, compare_engines, print_report
from calibration.errors import AcceptanceError
from calibration.fitting.thresholds import matched_threshold
from stream.inference.engine_trial import LIMITS
from tests.fakes.doubles import GreyLevelEngine, picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engines.base import Prediction

FRAMES = [
    LabelledFrame(name=str(index), group="drawn", image=picture(58 + 0.2 * index, standard=index % 5 != 0))
    for index in range(40)
]


class Off(GreyLevelEngine):
    """Shows the network a picture moved, hidden, or with another plane verdict."""

    def __init__(self, *, shift_px: int = 0, hide: int = 0, flip: int = 0) -> None:
        super().__init__()
        self._shift, self._hide, self._flip = shift_px, hide, flip

    def infer(self, images: NDArray[np.uint8]) -> Prediction:
        number = self.calls
        lower = images.copy()
        if self._shift:
            lower[:, :, 55:] = np.roll(images[:, :, 55:], self._shift, axis=3)  # the head moves, the PS does not
        if number < self._hide:
            lower[:] = 20
        found = replace(super().infer(lower), images=images)
        return replace(found, plane_logit=-found.plane_logit) if number < self._flip else found


def judged(engine: GreyLevelEngine, precision: str = "fp16", frames: list[LabelledFrame] = FRAMES):  # type: ignore[no-untyped-def]
    return compare_engines(engine, GreyLevelEngine(), frames, precision=precision)


def test_the_same_engine_departs_by_nothing() -> None:
    report = judged(GreyLevelEngine(), "fp32")
    assert report.accepted
    assert report.dice == {"ps": 1.0, "fh": 1.0}
    assert report.aop_delta_deg["robust"] == {"n": 40, "mean": 0.0, "p95": 0.0}
    assert report.plane_flips == 0
    assert set(report.measurability_flips.values()) == {0.0}
    assert report.hsd_delta_px["fhps2023"] is None  # that protocol has none


def test_a_moved_head_is_refused_in_degrees() -> None:
    report = judged(Off(shift_px=4))
    moved = report.aop_delta_deg["robust"]
    assert moved is not None
    assert moved["p95"] > LIMITS["fp16"].aop_p95_deg
    assert not report.accepted
    assert f"AoP moves by {moved['p95']:.2f} degrees" in report.refusals[0]
    assert report.dice["fh"] is not None
    assert 0.8 < report.dice["fh"] < 1.0


@pytest.mark.slow
def test_limits_are_wider_for_int8() -> None:
    assert LIMITS["int8"].aop_p95_deg == 3.0
    assert LIMITS["fp16"].aop_p95_deg == LIMITS["bf16"].aop_p95_deg == 1.5
    small = judged(Off(shift_px=2), "int8")
    moved = small.aop_delta_deg["robust"]
    assert moved is not None
    assert LIMITS["fp32"].aop_p95_deg < moved["p95"] < 3.0
    assert not any("AoP" in refusal for refusal in small.refusals)
    assert any("AoP" in refusal for refusal in judged(Off(shift_px=2), "fp32").refusals)


@pytest.mark.slow
def test_changed_verdicts_are_counted_and_refused() -> None:
    report = judged(Off(flip=4))
    assert report.plane_flips == pytest.approx(4 / 40)
    assert report.refusals == ("10.0% of frames change their plane verdict (3% at most)",)
    assert judged(Off(flip=1)).accepted


@pytest.mark.slow
def test_every_batch_size_is_compared_and_the_one_that_departs_is_named() -> None:
    class MovedInFours(GreyLevelEngine):
        def infer(self, images: NDArray[np.uint8]) -> Prediction:
            return (Off(shift_px=4) if len(images) == 4 else GreyLevelEngine()).infer(images)

    frames, engine = FRAMES[:30], MovedInFours()
    report = judged(engine, "fp16", frames)
    assert report.accepted
    batched = compare_batches(report, engine, GreyLevelEngine(), frames, (1, 2, 4))
    assert batched.refusals
    assert all(refusal.startswith("in batches of 4: ") for refusal in batched.refusals)
    assert any("AoP moves by" in refusal for refusal in batched.refusals)


def test_frames_that_cease_to_be_measurable_are_counted_and_refused() -> None:
    report = judged(Off(hide=4))
    assert report.measurability_flips["robust"] == pytest.approx(4 / 40)
    assert any("cease to be" in refusal for refusal in report.refusals)


def test_an_engine_that_draws_nothing_is_refused() -> None:
    report = judged(Off(hide=100))
    assert "no frame is measured by both" in report.refusals
    assert report.dice == {"ps": 0.0, "fh": 0.0}


def test_masks_of_frames_that_neither_takes_for_a_standard_plane_decide_nothing() -> None:
    class BlindOffPlane(GreyLevelEngine):
        def infer(self, images: NDArray[np.uint8]) -> Prediction:
            return replace(super().infer(images if images[0, 0, 0, 0] else np.zeros_like(images)), images=images)

    report = judged(BlindOffPlane())
    assert report.dice == {"ps": 1.0, "fh": 1.0}
    assert report.plane_flips == 0


def test_too_few_frames_accept_nothing() -> None:
    with pytest.raises(AcceptanceError, match="29 frames are too few"):
        judged(GreyLevelEngine(), frames=FRAMES[:29])


def test_the_report_is_strict_json_and_a_table() -> None:
    report = judged(Off(shift_px=4))
    kept = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert (kept["schema"], kept["accepted"]) == ("partum.acceptance/1", False)
    assert kept["limits"]["aop_p95_deg"] == 1.5
    console = Console(record=True, width=100, file=open("/dev/null", "w"))  # noqa: SIM115
    print_report(report, console)
    text = console.export_text()
    console.file.close()
    assert "delta AoP, robust" in text
    assert "refused: AoP moves" in text


@pytest.mark.parametrize(
    ("reference", "candidate", "threshold", "expected"),
    [
        ([0.2, 0.6, 0.9], [0.1, 0.4, 0.8], 0.5, (0.25, 0)),
        ([0.2, 0.6, 0.9], [0.3, 0.7, 0.8], 0.5, (0.5, 0)),
        ([0.2, 0.3], [0.6, 0.7], 0.5, (1.0, 0)),
        ([0.6, 0.9], [0.1, 0.2], 0.5, (0.0, 0)),
        ([0.2, 0.9, 0.3, 0.8], [0.5, 0.4, 0.1, 0.9], 0.45, (0.25, 1)),
    ],
)
def test_thresholds_by_hand(
    reference: list[float], candidate: list[float], threshold: float, expected: tuple[float, int]
) -> None:
    found, changed = matched_threshold(np.array(reference), np.array(candidate), threshold)
    assert found == pytest.approx(expected[0])
    assert changed == expected[1]


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30),
    st.floats(0, 1),
)
def test_no_other_threshold_changes_fewer_verdicts(pairs: list[tuple[float, float]], threshold: float) -> None:
    reference, candidate = np.array(pairs).T
    found, changed = matched_threshold(reference, candidate, threshold)
    assert 0 <= found <= 1
    wanted = reference >= threshold
    assert changed == np.sum((candidate >= found) != wanted)
    for other in np.linspace(0, 1, 41):
        assert changed <= np.sum((candidate >= other) != wanted)
