"""`partum measure`: rows, columns, units, and nothing half written."""

from __future__ import annotations

import csv
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from stream.app.commands.measure_command import measure_command
from stream.app.mask_folder import COLUMNS, UNREADABLE
from stream.common.errors import MaskError, OptionError, OutputError
from stream.frames.reason import Reason
from stream.measurement.protocols import measure
from stream.sources.files.masks import read_mask
from tests.conftest import REPOSITORY
from tests.samples.anatomy import at_aop

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    result = _run(masks, "--out", out, "--orientation", "normal")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert result.stderr == f"{out}: 3 masks, 2 measured, no_ps 1\n"
    rows = _rows(out)
    assert tuple(rows[0]) == COLUMNS
    assert [row["name"] for row in rows] == ["m2", "m3", "m10"]
    assert float(rows[0]["aop_deg"]) == pytest.approx(at_aop(120).truth()[0], abs=1)
    assert [row["reason"] for row in rows] == ["", "no_ps", ""]
    assert [row["mirrored"] for row in rows] == ["false", "false", "false"]
    assert {row["protocol"] for row in rows} == {"robust"}
    assert all(rows[1][column] == "" for column in COLUMNS[1:16])
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["out.csv"]


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_orientation_is_decided_once_a_folder_with_the_evidence_in_every_row(
    tmp_path: Path, *, mirrored: bool
) -> None:
    folder, out = tmp_path / "masks", tmp_path / "out.csv"
    folder.mkdir()
    for number in range(12):
        place = (60.0 + 11 * (number % 4), 30.0 + 12 * (number // 4))
        labels = at_aop(120, place_mm=place, mirrored=mirrored, radii_mm=(9.0, 8.8)).draw((512, 512))
        cv2.imwrite(str(folder / f"{number}.png"), labels)
    result = _run(folder, "--out", out)
    assert result.exit_code == 0, result.output
    assert f"12 measured; read as {'mirrored' if mirrored else 'normal'} (log odds" in result.stderr
    rows = _rows(out)
    assert {row["mirrored"] for row in rows} == {str(mirrored).lower()}
    assert all(float(row["aop_deg"]) == pytest.approx(at_aop(120).truth()[0], abs=1) for row in rows)
    alone = [measure(read_mask(path)) for path in sorted(folder.iterdir(), key=lambda path: int(path.stem))]
    assert [float(row["normal_log_odds"]) for row in rows] == pytest.approx([one.orientation_log_odds for one in alone])
    assert any(one.reason is Reason.AXIS_AMBIGUOUS for one in alone) is mirrored  # alone some would say nothing


def test_where_it_is_not_clear_nothing_is_measured_and_the_option_is_named(tmp_path: Path) -> None:
    mask, out = tmp_path / "mask.png", tmp_path / "out.csv"
    cv2.imwrite(str(mask), at_aop(120, mirrored=True, radii_mm=(9.0, 8.8)).draw())
    result = _run(mask, "--out", out)
    assert result.exit_code == 0
    assert "0 measured, axis_ambiguous 1; not clear whether they are mirrored, say --orientation" in result.stderr
    (row,) = _rows(out)
    assert (row["aop_deg"], row["mirrored"], row["reason"]) == ("", "", "axis_ambiguous")
    assert float(row["normal_log_odds"]) < 0
    assert _run(mask, "--out", out, "--orientation", "mirrored").exit_code == 0
    assert float(_rows(out)[0]["aop_deg"]) == pytest.approx(at_aop(120).truth()[0], abs=1)


def test_a_mirrored_mask_among_normal_ones_is_not_read_as_they_are(masks: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(masks / "m10.png"), at_aop(140, mirrored=True).draw((256, 256), pixel_mm=(0.72, 0.72)))
    for number, aop_deg in enumerate((100, 110, 130)):
        cv2.imwrite(str(masks / f"n{number}.png"), at_aop(aop_deg).draw((256, 256), pixel_mm=(0.72, 0.72)))
    out = tmp_path / "out.csv"
    assert _run(masks, "--out", out).exit_code == 0
    reasons = {row["name"]: row["reason"] for row in _rows(out)}
    assert reasons == {"m2": "", "m3": "no_ps", "m10": "axis_ambiguous", "n0": "", "n1": "", "n2": ""}


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


def test_the_others_are_written_where_one_mask_is_bad_and_that_one_says_why(masks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    cv2.imwrite(str(masks / "m4.png"), np.full((8, 8), 42, np.uint8))
    (masks / "m5.mha").write_text("no MetaImage")
    (masks / "m6.jpg").write_bytes(b"")
    (masks / "m7.png").write_bytes((masks / "m2.png").read_bytes()[:-30])
    result = _run(masks, "--out", out, "--orientation", "normal")
    assert isinstance(result.exception, MaskError)
    assert str(result.exception) == (
        f"4 of 7 masks cannot be read: {masks / 'm4.png'}: holds the values 42; expected background/PS/FH coded as"
        f" one of 0/1/2; 0/7/8; 0/127/255; the others are in {out}"
    )
    assert "7 masks, 2 measured, unreadable 4, no_ps 1" in result.stderr
    rows = {row["name"]: row for row in _rows(out)}
    assert list(rows) == ["m2", "m3", "m4", "m5", "m6", "m7", "m10"]
    assert float(rows["m2"]["aop_deg"]) == pytest.approx(at_aop(120).truth()[0], abs=1)
    said = {name: row["error"] for name, row in rows.items() if row["reason"] == UNREADABLE}
    assert "holds the values 42" in said["m4"]
    assert "not a MetaImage" in said["m5"]
    assert "not a mask format" in said["m6"]
    assert "damaged or cut off" in said["m7"]


def test_the_command_exits_with_1_and_one_line(masks: Path, tmp_path: Path) -> None:
    (masks / "m4.png").write_bytes(b"")
    found = subprocess.run(
        [sys.executable, "-m", "partum", "measure", masks, "--out", tmp_path / "out.csv"],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert found.returncode == 1
    assert "1 of 4 masks cannot be read" in found.stderr
    assert "Traceback" not in found.stderr
    assert len(_rows(tmp_path / "out.csv")) == 4


def test_masks_in_folders_below_are_found_and_named_by_their_path(masks: Path, tmp_path: Path) -> None:
    for place in ("a/masks", "a/images", "b", ".hidden"):
        (tmp_path / "set" / place).mkdir(parents=True)
    labels = (masks / "m2.png").read_bytes()
    for name in ("top.png", "a/masks/10.png", "a/masks/2.png", "a/images/2.png", "b/2.png", ".hidden/2.png"):
        (tmp_path / "set" / name).write_bytes(labels)
    (tmp_path / "set" / "b" / "2.mha").write_bytes(b"")
    out = tmp_path / "out.csv"
    assert isinstance(_run(tmp_path / "set", "--out", out).exception, MaskError)  # 2.mha is none
    assert [row["name"] for row in _rows(out)] == ["top", "a/masks/2", "a/masks/10", "b/2.mha", "b/2.png"]


def test_odd_names_and_dead_links_have_their_rows(masks: Path, tmp_path: Path) -> None:
    odd = os.fsencode(str(masks)) + b"/\xff.png"
    Path(os.fsdecode(odd)).write_bytes((masks / "m2.png").read_bytes())
    (masks / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (masks / "folder.png").mkdir()
    out = tmp_path / "out.csv"
    with pytest.raises(MaskError, match=r"1 of 5 masks cannot be read: .*gone\.png"):
        raise _run(masks, "--out", out, "--orientation", "normal").exception or AssertionError
    rows = {row["name"]: row["reason"] for row in _rows(out)}
    assert rows == {"m2": "", "m3": "no_ps", "m10": "", "gone": UNREADABLE, "\\udcff": ""}


def test_a_folder_of_folders_without_masks_says_what_it_looked_for(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(MaskError, match=r"no masks in it; expected files named \*\.png, \*\.mha, \*\.mhd"):
        raise _run(tmp_path, "--out", tmp_path / "out.csv").exception or AssertionError


def write_mask(path: Path, labels: NDArray[Any], spacing: str) -> Path:
    """A MetaImage file; a PNG with pixels per unit where the suffix says so."""
    if path.suffix == ".png":
        data = cv2.imencode(".png", labels)[1].tobytes()
        x, y = (float(side) for side in spacing.split())
        content = b"pHYs" + struct.pack(">IIB", round(1000 / x), round(1000 / y), 0)
        chunk = struct.pack(">I", 9) + content + struct.pack(">I", zlib.crc32(content))
        path.write_bytes(data[:33] + chunk + data[33:])
        return path
    kind = {"uint8": "MET_UCHAR", "int64": "MET_LONG_LONG", "uint64": "MET_ULONG_LONG"}[labels.dtype.name]
    height, width = labels.shape
    header = (
        f"ObjectType = Image\nNDims = 2\nBinaryData = True\nDimSize = {width} {height}\n{spacing}"
        f"ElementType = {kind}\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode() + labels.tobytes())
    return path


@pytest.mark.parametrize(
    ("name", "spacing"),
    [
        ("a.mha", "ElementSpacing = 0.36 0.3\n"),
        ("a.mha", "ElementSpacing = 1.2 1\n"),
        ("a.mha", "ElementSpacing = 360 300\n"),  # the ratio holds in whatever unit
        ("a.mha", "ElementSize = 0.36 0.3\n"),
        ("a.png", "1.2 1"),
    ],
)
def test_unlike_spacing_in_x_and_y_is_used_as_the_option_is(tmp_path: Path, name: str, spacing: str) -> None:
    pixel_mm = (0.36, 0.3)
    labels = at_aop(140).draw((round(190 / pixel_mm[0]), round(190 / pixel_mm[1])), pixel_mm=pixel_mm)
    path, out = write_mask(tmp_path / name, labels, spacing), tmp_path / "out.csv"
    assert _run(path, "--out", out).exit_code == 0
    (by_file,) = _rows(out)
    assert _run(path, "--out", out, "--spacing", "0.36,0.3").exit_code == 0
    (by_option,) = _rows(out)
    assert float(by_file["aop_deg"]) == pytest.approx(at_aop(140).truth()[0], abs=0.5)
    assert float(by_file["aop_deg"]) == pytest.approx(float(by_option["aop_deg"]), abs=0.05)
    assert float(by_file["hsd_min_px"]) == pytest.approx(float(by_option["hsd_min_px"]), rel=1e-3)
    assert by_file["hsd_min_mm"] == ""  # millimetres are the user's word alone: a spacing of 1 is often a default
    assert _run(path, "--out", out, "--spacing", "0.3,0.3").exit_code == 0
    assert abs(float(_rows(out)[0]["aop_deg"]) - at_aop(140).truth()[0]) > 1  # the user's word goes before the file's


@pytest.mark.parametrize("spacing", ["0 0.3", "nan 1", "-1 1", "10 1", "1 inf"])
def test_pixels_that_cannot_be_are_no_measurement(tmp_path: Path, spacing: str) -> None:
    path = write_mask(tmp_path / "a.mha", at_aop(140).draw(), f"ElementSpacing = {spacing}\n")
    out = tmp_path / "out.csv"
    assert isinstance(_run(path, "--out", out).exception, MaskError)
    (row,) = _rows(out)
    assert row["reason"] == UNREADABLE
    assert "--spacing" in row["error"]
    assert _run(path, "--out", out, "--spacing", "0.36,0.36").exit_code == 0


@pytest.mark.parametrize("kind", ["int64", "uint64"])
def test_masks_of_64_bits_are_read(tmp_path: Path, kind: str) -> None:
    path = write_mask(tmp_path / "a.mha", at_aop(120).draw().astype(kind), "ElementSpacing = 1 1\n")
    assert _run(path, "--out", tmp_path / "out.csv").exit_code == 0
    assert float(_rows(tmp_path / "out.csv")[0]["aop_deg"]) == pytest.approx(at_aop(120).truth()[0], abs=1)


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
