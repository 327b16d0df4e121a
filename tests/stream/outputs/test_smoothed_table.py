"""`smoothed.csv`: what it holds of a run, of an empty one, and of one of a single frame."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from stream.frames.frame import PixelSpacing
from stream.outputs.smoothed_table import COLUMNS, SmoothedTable
from stream.pipeline.pipeline import Pipeline
from tests.fakes.doubles import DrawnSource, GreyLevelEngine
from tests.samples.finished_runs import finished_run

if TYPE_CHECKING:
    from pathlib import Path

    from stream.pipeline.record import Measurement


@pytest.fixture(scope="module")
def measurements() -> list[Measurement]:
    with Pipeline(DrawnSource(12, spacing=PixelSpacing(0.4, 0.4)), GreyLevelEngine()) as pipeline:
        return list(pipeline)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_has_a_row_for_each_frame_near_what_was_read(tmp_path: Path) -> None:
    run = finished_run(tmp_path, 30, off_plane=range(20, 24), smooth=True)
    rows = rows_of(run.folder / "smoothed.csv")
    assert [int(row["index"]) for row in rows] == list(range(30))
    assert list(rows[0]) == list(COLUMNS)
    raw = run.table.numbers("aop_raw_deg")
    found = np.array([float(row["aop_smoothed_deg"]) for row in rows[:18]])
    np.testing.assert_allclose(found, raw[:18], atol=2.5)
    assert float(rows[5]["aop_smoothed_lo95_deg"]) < found[5] < float(rows[5]["aop_smoothed_hi95_deg"])
    assert float(rows[5]["hsd_min_smoothed_mm"]) == pytest.approx(0.5 * float(rows[5]["hsd_min_smoothed_px"]), abs=0.01)
    assert rows[5]["aop_smoothed_absolute_lo95_deg"] == ""  # this engine's model does not know it
    assert [row["accepted"] for row in rows[20:24]] == ["0"] * 4


def test_the_absolute_interval_is_the_frames_own(tmp_path: Path, measurements: list[Measurement]) -> None:
    table = SmoothedTable(tmp_path / "smoothed.csv")
    for each in measurements[:10]:
        assert each.biometry is not None
        known = replace(each.biometry, absolute_half_deg=14.0 if each.biometry.reason is None else None)
        table.write(replace(each, biometry=known))
    table.close()
    table.close()
    shown = [row for row in rows_of(tmp_path / "smoothed.csv") if row["aop_smoothed_deg"]]
    assert shown
    for row in shown:
        width = float(row["aop_smoothed_absolute_hi95_deg"]) - float(row["aop_smoothed_absolute_lo95_deg"])
        assert width == pytest.approx(28.0, abs=0.01)


@pytest.mark.parametrize("count", [0, 1])
def test_no_frame_and_a_lone_one_are_shown_as_nothing(
    tmp_path: Path, measurements: list[Measurement], count: int
) -> None:
    table = SmoothedTable(tmp_path / "smoothed.csv")
    for each in measurements[:count]:
        table.write(each)
    table.close()
    rows = rows_of(tmp_path / "smoothed.csv")
    assert len(rows) == count
    assert all(row["aop_smoothed_deg"] == "" for row in rows)
