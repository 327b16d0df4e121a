"""Values of edited frames: by the run's protocol, from points and outlines that a person moved or drew."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from stream.common.errors import OptionError, RunUnreadable
from stream.frames.frame import Frame
from stream.labour.run_network import RunNetwork, SegmentedFrame
from stream.labour.run_pictures import RunPictures
from stream.measurement.biometry import Orientation
from stream.measurement.protocols import PROTOCOLS, measure
from stream.measurement.protocols.points import aop_of_points
from stream.review.measuring import FrameEdit, measure_edit
from tests.fakes.doubles import FH_GREY, PS_GREY, GreyLevelEngine, picture
from tests.samples.finished_runs import SHA256, finished_run

if TYPE_CHECKING:
    from pathlib import Path

    from engines.base import Engine
    from stream.labour.recorded_run import RecordedRun

Fixture = tuple["RecordedRun", Frame, SegmentedFrame]


def grey_engine() -> Engine:
    engine = GreyLevelEngine()
    engine.spec = replace(engine.spec, sha256=SHA256)
    return engine


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Fixture:
    run = finished_run(tmp_path_factory.mktemp("edits"), 8)
    network = RunNetwork(run, grey_engine)
    with RunPictures(run) as pictures:
        frame = pictures[5]
    mask = network.segmented(frame)
    network.close()
    return run, frame, mask


def edit_of(run: RecordedRun, row: int, **content: Any) -> FrameEdit:
    record = run.table.record(row)["landmarks_px"]
    points = {name: record[name] for name in ("ps_superior", "ps_inferior", "tangent")}
    moved = content.pop("points", {})
    return FrameEdit.parse({"points": points | moved, "moved": list(moved), **content}, shape=(128, 128))


def result(measured: Fixture, edit: FrameEdit, **more: Any) -> Any:
    run, frame, mask = measured
    given: dict[str, Any] = {"protocol": run.protocol, "is_mirrored": False, "seen": mask, "mm_per_px": 0.5} | more
    return measure_edit(edit, frame, **given)


def drawn_frame() -> Frame:
    return Frame(image=picture(), index=0, pts=0, time_base=Fraction(1), captured_ns=0)


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
@pytest.mark.parametrize("aspect", [1.0, 1.2])
def test_the_angle_of_a_readings_own_points_is_its_aop(protocol: str, aspect: float) -> None:
    image = picture()
    labels = np.where(image == PS_GREY, 1, np.where(image == FH_GREY, 2, 0)).astype(np.uint8)
    found = measure(labels, protocol=protocol, pixel_size=(aspect, 1.0), orientation=Orientation.NORMAL)
    assert found.landmarks is not None
    points = found.landmarks.ps_superior, found.landmarks.ps_inferior, found.landmarks.tangent
    angle = aop_of_points(*points, protocol=protocol, shape=labels.shape, aspect=aspect, is_mirrored=False)
    assert angle == pytest.approx(found.aop_deg, abs=1e-6)
    if protocol == "robust":
        turned = [(127.0 - x, y) for x, y in points]
        mirrored = aop_of_points(*turned, protocol=protocol, shape=labels.shape, aspect=aspect, is_mirrored=True)
        assert mirrored == pytest.approx(found.aop_deg, abs=1e-6)


def test_worked_values_of_an_angle_of_points() -> None:
    square: dict[str, Any] = {"protocol": "robust", "shape": (64, 64), "aspect": 1.0, "is_mirrored": False}
    assert aop_of_points((0, 0), (10, 0), (10, 10), **square) == pytest.approx(90)
    assert aop_of_points((0, 0), (10, 0), (20, -2), **square) == pytest.approx(180 + np.degrees(np.arctan(0.2)))
    assert aop_of_points((0, 0), (0, 0), (10, 10), **square) is None


def test_a_run_is_seen_again_as_it_was(measured: Fixture) -> None:
    run, _, mask = measured
    assert mask.is_as_recorded
    assert len(mask.outlines.ps_px) > 8
    other = RunNetwork(run, GreyLevelEngine)  # another model's hash
    with RunPictures(run) as pictures, pytest.raises(RunUnreadable, match="another model"):
        other.segmented(pictures[0])
    other.close()


def test_points_that_stay_give_the_automatic_values_and_moved_ones_change_them(measured: Fixture) -> None:
    run = measured[0]
    record = run.table.record(5)
    superior = record["landmarks_px"]["ps_superior"]
    same = result(measured, edit_of(run, 5, points={"ps_superior": superior}))
    assert same.values["aop_deg"] == pytest.approx(record["aop_raw_deg"], abs=0.01)
    assert same.values["hsd_min_mm"] == pytest.approx(record["hsd_min_raw_mm"], abs=0.01)
    moved = result(measured, edit_of(run, 5, points={"ps_superior": [superior[0], superior[1] + 6]}))
    assert moved.moved == ["ps_superior"]
    assert moved.values["aop_deg"] == pytest.approx(
        aop_of_points(
            (superior[0], superior[1] + 6),
            tuple(moved.landmarks_px["ps_inferior"]),
            tuple(moved.landmarks_px["tangent"]),
            protocol="robust",
            shape=(128, 128),
            aspect=1.0,
            is_mirrored=False,
        ),
        abs=0.01,
    )
    assert moved.values["aop_deg"] < same.values["aop_deg"] - 5
    assert moved.values["hsd_min_mm"] == pytest.approx(same.values["hsd_min_mm"], abs=1e-6)  # the inferior end stayed


def test_a_tangent_that_was_moved_is_the_tangent(measured: Fixture) -> None:
    run = measured[0]
    inferior = run.table.record(5)["landmarks_px"]["ps_inferior"]
    superior = run.table.record(5)["landmarks_px"]["ps_superior"]
    up = np.subtract(superior, inferior)
    beyond = [inferior[0] + up[1], inferior[1] - up[0]]  # square on the axis, on the side of the head
    square = result(measured, edit_of(run, 5, points={"tangent": beyond}))
    assert square.values["aop_deg"] == pytest.approx(90, abs=0.01)
    assert square.landmarks_px["tangent"] == [pytest.approx(value, abs=0.01) for value in beyond]


def test_an_outline_that_was_drawn_takes_the_place_of_the_networks(measured: Fixture) -> None:
    run, frame, _ = measured
    record = run.table.record(5)
    found, _ = cv2.findContours((frame.image == FH_GREY).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    head = max(found, key=len)[::3, 0, :].tolist()
    again = result(measured, edit_of(run, 5, outlines={"fh": head}))
    assert again.values["aop_deg"] == pytest.approx(record["aop_raw_deg"], abs=1.5)
    lower = [[x, min(y + 10, 127)] for x, y in head]
    moved = result(measured, edit_of(run, 5, outlines={"fh": lower}))
    assert moved.values["aop_deg"] < again.values["aop_deg"] - 2
    assert moved.values["hsd_min_mm"] == pytest.approx(again.values["hsd_min_mm"] + 5, abs=1.5)
    assert moved.outlines_px == {"fh": lower}


def test_without_masks_the_points_alone_give_the_angle_and_no_distance(measured: Fixture) -> None:
    run = measured[0]
    tangent = run.table.record(5)["landmarks_px"]["tangent"]
    alone = result(measured, edit_of(run, 5, points={"tangent": tangent}), seen=None)
    assert alone.values["aop_deg"] == pytest.approx(run.table.record(5)["aop_raw_deg"], abs=0.01)
    assert alone.values["hsd_min_mm"] is None
    assert alone.reason is None


def test_a_geometry_that_cannot_be_has_a_reason_and_no_values(measured: Fixture) -> None:
    inside = result(measured, edit_of(measured[0], 5, points={"ps_inferior": [66, 80]}))
    assert (inside.reason, set(inside.values.values())) == ("ps_end_in_head", {None})
    folded = result(measured, edit_of(measured[0], 5, points={"tangent": [30, 32]}))
    assert (folded.reason, set(folded.values.values())) == ("implausible", {None})


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {"points": {"tangent": [1, 2]}},
        {"moved": ["tangent"]},
        {"moved": ["hsd_min_foot"], "points": {"ps_superior": [1, 1], "ps_inferior": [2, 2], "tangent": [3, 3]}},
        {"points": {"ps_superior": [1, 1], "ps_inferior": [2, 2], "tangent": [3, float("nan")]}},
        {"points": {"ps_superior": [1, 1], "ps_inferior": [2, 2], "tangent": [3, 1e9]}},
        {"outlines": {"fh": [[1, 1], [2, 2]]}},
        {"outlines": {"fh": [[1, 1], [2, 2], [3, 3]]}},
        {"outlines": {"fh": [[1, 1]] * 501}},
        {"outlines": {"fh": "abc"}},
        {"outlines": 3},
    ],
)
def test_what_is_no_edit_is_refused(content: Any) -> None:
    with pytest.raises(OptionError, match="no edit of a frame"):
        FrameEdit.parse(content, shape=(128, 128))


@pytest.mark.parametrize("protocol", ["iugc2024", "fhps2023"])
def test_challenge_protocols_measure_edits_in_their_own_square(tmp_path: Path, protocol: str) -> None:
    run = finished_run(tmp_path, 4, protocol=protocol)
    network = RunNetwork(run, grey_engine)
    with RunPictures(run) as pictures:
        frame = pictures[2]
    mask = network.segmented(frame)
    network.close()
    record = run.table.record(2)
    edit = edit_of(run, 2, points={"ps_superior": record["landmarks_px"]["ps_superior"]})
    found = measure_edit(edit, frame, protocol=protocol, is_mirrored=False, seen=mask, mm_per_px=None)
    assert found.values["aop_deg"] == pytest.approx(record["aop_raw_deg"], abs=1.5)
    assert found.values["hsd_min_mm"] is None
