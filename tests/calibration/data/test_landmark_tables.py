"""IUGC 2025 and FU_Biometry: three landmarks a picture, read as published and scored as published."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.data import open_dataset
from calibration.data.layouts.landmark_tables import aop_of, published_layout
from calibration.errors import DataSetError
from calibration.evaluation.landmarks import angle_error, found_landmarks, landmark_table, radial_errors
from partum import main
from stream.frames.reason import Reason
from stream.measurement.biometry import Biometry, Landmarks
from stream.measurement.protocols import measure
from tests.fakes.tiny_model import tiny_model

if TYPE_CHECKING:
    from pathlib import Path

POINTS = {"ps_left": (10.0, 20.5), "ps_right": (60.0, 30.0), "aop_tangency": (90.0, 80.0)}


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    cv2.imwrite(str(path), cv2.resize(rng.integers(0, 255, (12, 12), np.uint8), (96, 96)))


def iugc2025(root: Path, tangent: str = "FH1") -> Path:
    """Two pictures beside their table; the ends of the PS in either order."""
    for number in (0, 1):
        picture(root / f"img_{number}.png", number)
    rows = ['img_0.png,"(10, 20.5)","(60, 30)","(90, 80)"', 'img_1.png,"(60, 30)","(10, 20.5)","(90, 80)"']
    (root / "labels.csv").write_text(f"Filename,PS1,PS2,{tangent}\n" + "\n".join(rows) + "\n")
    return root


def fu_biometry(root: Path) -> Path:
    """The tables lie in `csv/`, the pictures by their path below the set."""
    for number in (0, 1):
        picture(root / "images" / "AOP" / f"img_{number}.png", number)
    (root / "csv").mkdir()
    rows = [f'images/AOP/img_{number}.png,96,96,"[10.0, 20.5]","[60.0, 30.0]","[90.0, 80.0]"' for number in (0, 1)]
    header = "image_path,height,width,point_1_xy,point_2_xy,point_3_xy\n"
    (root / "csv" / "AOP_train.csv").write_text(header + "\n".join(rows) + "\n")
    others = ",".join(f"point_{number}_xy" for number in range(1, 5))
    (root / "csv" / "A4C_train.csv").write_text(f"image_path,{others}\n")  # four points: another task of the same set
    return root


@pytest.mark.parametrize("build", [iugc2025, fu_biometry, lambda root: iugc2025(root, "AOP Tangency")])
def test_landmarks_are_read_as_published(tmp_path: Path, build: object) -> None:
    dataset = open_dataset(build(tmp_path))  # type: ignore[operator]
    assert (dataset.layout, dataset.count()) == ("landmarks", 2)
    for frame in dataset.frames():
        assert frame.landmarks == POINTS
        assert (frame.mask, frame.plane, frame.image.shape) == (None, None, (96, 96))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('img_7.png,"(1, 2)","(3, 4)","(5, 6)"', r"labels\.csv: there is no picture img_7\.png; unpack"),
        ('img_0.png,"(1, 2)","(3, x)","(5, 6)"', r"labels\.csv, img_0\.png, PS2: '\(3, x\)' is no point"),
        ('img_0.png,"(1, 2, 3)","(3, 4)","(5, 6)"', r"PS1: '\(1, 2, 3\)' is no point"),
        ('img_0.png,"(nan, 2)","(3, 4)","(5, 6)"', r"PS1: '\(nan, 2\)' is no point"),
        ('img_0.png,,"(3, 4)","(5, 6)"', r"PS1: '' is no point"),
        (',"(1, 2)","(3, 4)","(5, 6)"', r"names a picture ''"),
        ('../img_0.png,"(1, 2)","(3, 4)","(5, 6)"', ""),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, row: str, said: str) -> None:
    table = iugc2025(tmp_path) / "labels.csv"
    table.write_text("Filename,PS1,PS2,FH1\n" + row + "\n")
    if not said:  # a path that leads out of the set is taken inside it
        assert [frame.name for frame in open_dataset(tmp_path).frames()] == ["img_0"]
        return
    with pytest.raises(DataSetError, match=said):
        open_dataset(tmp_path)


def test_the_angle_of_three_points() -> None:
    right_angle = {"ps_left": (0.0, 0.0), "ps_right": (1.0, 0.0), "aop_tangency": (1.0, 1.0)}
    assert aop_of(right_angle) == pytest.approx(90)
    assert aop_of(right_angle | {"aop_tangency": (3.0, 0.0)}) == pytest.approx(180)
    assert aop_of(right_angle | {"ps_left": (1.0, 0.0)}) is None
    assert aop_of({}) is None


@given(st.floats(0, 360), st.floats(5, 175))
def test_the_angle_does_not_depend_on_how_the_picture_is_turned(turn: float, angle: float) -> None:
    def at(degrees: float) -> tuple[float, float]:
        return 50 + 30 * math.cos(math.radians(degrees)), 50 + 30 * math.sin(math.radians(degrees))

    points = {"ps_left": at(turn), "ps_right": (50.0, 50.0), "aop_tangency": at(turn - angle)}
    assert aop_of(points) == pytest.approx(angle, abs=1e-6)


def test_errors_by_hand_and_nothing_without_a_measurement() -> None:
    labels = np.zeros((256, 256), np.uint8)
    cv2.ellipse(labels, (110, 185), (62, 46), 20, 0, 360, 2, -1)
    cv2.ellipse(labels, (90, 70), (34, 13), 25, 0, 360, 1, -1)
    biometry = measure(labels, protocol="iugc2024")
    found = found_landmarks(biometry)
    moved = {name: (x + 3, y + 4) for name, (x, y) in found.items()}
    assert radial_errors(found, moved) == pytest.approx(dict.fromkeys(found, 5.0))
    assert angle_error(biometry, found) == pytest.approx(0, abs=0.01)
    refused = Biometry(protocol="robust", reason=Reason.NO_PS)
    assert (found_landmarks(refused), angle_error(refused, moved)) == ({}, None)
    assert isinstance(biometry.landmarks, Landmarks)


@pytest.mark.parametrize("build", [iugc2025, fu_biometry, lambda root: iugc2025(root, "AOP Tangency")])
def test_found_landmarks_are_written_as_the_set_writes_its_own(tmp_path: Path, build: object) -> None:
    """What is written takes the place of the set's table and is read back."""
    root = build(tmp_path)  # type: ignore[operator]
    columns, names = published_layout(root)
    points = Landmarks(
        ps_superior=(11.0, 21.25), ps_inferior=(61.0, 31.0), tangent=(91.0, 81.0), hsd_min_foot=None, hsd_perp_foot=None
    )
    found = Biometry(protocol="fhps2023", landmarks=points, aop_deg=100.0)
    (table,) = root.rglob("*labels.csv" if (root / "labels.csv").exists() else "AOP_train.csv")
    table.write_bytes(landmark_table([("img_0", found), ("img_1", found)], columns, names))
    for frame in open_dataset(root).frames():
        assert frame.landmarks == {"ps_left": (11.0, 21.25), "ps_right": (61.0, 31.0), "aop_tangency": (91.0, 81.0)}
    refused = Biometry(protocol="fhps2023", reason=Reason.NO_PS)
    last = landmark_table([("img_0", refused)], columns, names).decode().splitlines()[-1]
    assert last.endswith("img_0.png,,,")
    assert published_layout(tmp_path / "nowhere") == (("Filename", "PS1", "PS2", "FH1"), {})


def test_an_evaluation_scores_landmarks(tmp_path: Path) -> None:
    data = iugc2025(tmp_path / "data")
    model = tmp_path / "tiny.onnx"
    model.write_bytes(tiny_model())
    main(["evaluate", str(data), "--model", str(model), "--out", str(tmp_path / "out")])
    overall = json.loads((tmp_path / "out" / "metrics.json").read_text())["overall"]
    assert overall["landmarks"]["frames"] == 2
    assert set(overall["landmarks"]) >= {"robust", "iugc2024", "fhps2023"}
    assert overall["landmarks"]["robust"].keys() >= {"radial_error_px", "aop_deg"}
    for protocol in ("robust", "iugc2024", "fhps2023"):
        lines = (tmp_path / "out" / "landmarks" / f"{protocol}.csv").read_text().splitlines()
        assert lines[0] == "Filename,PS1,PS2,FH1"
        assert [line.partition(",")[0] for line in lines[1:]] == ["img_0.png", "img_1.png"]
