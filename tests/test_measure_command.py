"""`partum measure`: rows, columns, units, and nothing half written."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from stream.errors import MaskError, OptionError, OutputError
from stream.measure import COLUMNS, measure_command
from stream.protocols import measure
from tests.anatomy import at_aop

if TYPE_CHECKING:
    from pathlib import Path

CODES = np.array([0, 7, 8], np.uint8)


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """Three masks in different codings, one of them empty, and files that are no masks."""
    folder = tmp_path / "masks"
    folder.mkdir()
    size = {"size": (256, 256), "pixel_mm": (0.72, 0.72)}
    cv2.imwrite(str(folder / "m10.png"), at_aop(140, mirrored=True).draw(**size))  # type: ignore[arg-type]
    cv2.imwrite(str(folder / "m2.png"), CODES[at_aop(120).draw(**size)])  # type: ignore[arg-type]
    cv2.imwrite(str(folder / "m3.png"), np.zeros((256, 256), np.uint8))
    (folder / "notes.csv").write_text("a,b\n")
    (folder / "golden.json").write_text("{}")
    return folder


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(measure_command, [str(argument) for argument in arguments])


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_row_per_mask_in_natural_order_with_aop_or_the_reason(masks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    result = _run(masks, "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert result.stderr == f"{out}: 3 masks, 2 measured, no_ps 1\n"
    rows = _rows(out)
    assert tuple(rows[0]) == COLUMNS
    assert [row["name"] for row in rows] == ["m2", "m3", "m10"]
    assert float(rows[0]["aop_deg"]) == pytest.approx(at_aop(120).truth()[0], abs=1)
    assert float(rows[2]["aop_deg"]) == pytest.approx(at_aop(140).truth()[0], abs=1)
    assert [row["mirrored"] for row in rows] == ["false", "false", "true"]
    assert [row["reason"] for row in rows] == ["", "no_ps", ""]
    assert {row["protocol"] for row in rows} == {"robust"}
    assert all(rows[1][column] == "" for column in COLUMNS[1:16])
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["out.csv"]


def test_spacing_fills_the_millimetres_and_keeps_the_pixels(masks: Path, tmp_path: Path) -> None:
    _run(masks, "--out", tmp_path / "px.csv")
    _run(masks, "--out", tmp_path / "mm.csv", "--spacing", "0.72,0.72")
    in_px, in_mm = _rows(tmp_path / "px.csv")[0], _rows(tmp_path / "mm.csv")[0]
    assert in_px["hsd_min_mm"] == in_px["hsd_perp_mm"] == ""
    assert float(in_mm["hsd_min_mm"]) == pytest.approx(at_aop(120).truth()[1], abs=0.5)
    assert float(in_mm["hsd_min_mm"]) == pytest.approx(0.72 * float(in_px["hsd_min_px"]), abs=1e-4)
    assert float(in_mm["hsd_perp_px"]) == pytest.approx(float(in_px["hsd_perp_px"]), abs=1e-4)
    assert in_mm["aop_deg"] == in_px["aop_deg"]


@pytest.mark.parametrize("protocol", ["iugc2024", "fhps2023"])
def test_challenge_protocols_have_no_millimetres(masks: Path, tmp_path: Path, protocol: str) -> None:
    out = tmp_path / "out.csv"
    assert _run(masks, "--out", out, "--protocol", protocol, "--spacing", "0.5,0.5").exit_code == 0
    row = _rows(out)[0]
    reference = measure(at_aop(120).draw((256, 256), pixel_mm=(0.72, 0.72)), protocol=protocol)
    assert float(row["aop_deg"]) == pytest.approx(reference.aop_deg, abs=1e-6)
    assert row["hsd_min_px"] == ("" if reference.hsd_min is None else f"{reference.hsd_min:.6f}")
    assert row["hsd_min_mm"] == ""
    assert row["protocol"] == protocol


def test_a_single_file_and_a_known_orientation(masks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert _run(masks / "m10.png", "--out", out, "--orientation", "normal").exit_code == 0
    (row,) = _rows(out)
    assert row["name"] == "m10"
    assert row["mirrored"] == "false"


def test_one_foreign_file_stops_everything_and_leaves_no_csv(masks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    cv2.imwrite(str(masks / "m4.png"), np.full((8, 8), 42, np.uint8))
    result = _run(masks, "--out", out)
    assert isinstance(result.exception, MaskError)
    assert "m4.png: holds the values 42" in str(result.exception)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_an_output_that_cannot_be_written_is_said_before_measuring(masks: Path, tmp_path: Path) -> None:
    for out in (tmp_path / "nowhere" / "out.csv", tmp_path):
        result = _run(masks, "--out", out)
        assert isinstance(result.exception, OutputError)
        assert str(out) in str(result.exception)
    assert not (tmp_path / "nowhere").exists()


def test_a_mask_is_never_overwritten(masks: Path) -> None:
    before = (masks / "m2.png").read_bytes()
    with pytest.raises(OptionError, match=r"m2\.png"):
        raise _run(masks, "--out", masks / "m2.png").exception or AssertionError
    assert (masks / "m2.png").read_bytes() == before


def test_a_wrong_option_is_a_usage_error(masks: Path, tmp_path: Path) -> None:
    for wrong in (["--protocol", "ellipse"], ["--spacing", "1"], ["--spacing", "0,1"], ["--orientation", "up"]):
        assert _run(masks, "--out", tmp_path / "out.csv", *wrong).exit_code == 2
    assert _run(masks).exit_code == 2


def test_the_published_landmark_example(shared_data: Path, tmp_path: Path) -> None:
    golden = json.loads((shared_data / "iugc2024_masks" / "golden.json").read_text())
    out = tmp_path / "out.csv"
    folder = (shared_data / "iugc2024_masks" / golden["file"]).parent
    assert _run(folder, "--out", out, "--protocol", "iugc2024").exit_code == 0
    row = _rows(out)[0]
    assert row["name"] == "20190909T155747I1_0_6"
    assert float(row["aop_deg"]) == pytest.approx(golden["aop_deg"], abs=1e-6)
    assert float(row["hsd_min_px"]) == pytest.approx(golden["hsd_px"], abs=1e-6)
    assert [float(row["tangent_y_px"]), float(row["tangent_x_px"])] == golden["aop_tangency"]
