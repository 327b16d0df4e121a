"""What the reader makes of a second look: the joint axis in every protocol, and none where orientations differ."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engines.errors import ModelMismatch
from stream.frames.reason import Reason
from stream.inference.frame_analyzer import FrameAnalyzer, letterbox_for
from stream.measurement.biometry import Biometry, Orientation
from stream.measurement.expected_error import ErrorModel
from stream.measurement.protocols import PROTOCOLS, measure
from stream.measurement.symphysis_axis import Fusion
from tests.stream.inference.test_frame_analyzer import FRAMES, NETWORK, blank, exact_prediction, labels_on

if TYPE_CHECKING:
    from engines.base import Prediction

LOOK_ALONE = Fusion(direction=1.0, inferior=1.0)
Point = tuple[float, float]


def looked(
    shape: tuple[int, int, float], superior: Point, inferior: Point, *, normal: float | None = 6.0
) -> Prediction:
    """Exact logits, and a second look that says these ends, in pixels of the frame."""
    letterbox = letterbox_for(blank(shape), NETWORK)
    ends = letterbox.to_network(np.array([superior, inferior]))
    direction = (ends[1] - ends[0]) / np.hypot(*(ends[1] - ends[0]))
    view = [*direction, *ends[1], *ends[0], math.log(0.1)]
    return replace(
        exact_prediction(shape),
        normal_logit=None if normal is None else np.array([normal], np.float32),
        ps_axis=np.array([[view, view]], np.float32),
    )


def read(prediction: Prediction, shape: tuple[int, int, float], **options: object) -> Biometry:
    frame = blank(shape)
    settings = {"protocol": "robust", "plane_threshold": 0.5, "fusion": LOOK_ALONE} | options
    return FrameAnalyzer(**settings).analyze(frame, letterbox_for(frame, NETWORK), prediction).biometry  # type: ignore[arg-type]


def ends_of(shape: tuple[int, int, float], turn_deg: float = 0.0) -> tuple[Point, Point]:
    """The drawn PS' ends, turned about the inferior one, px of the frame."""
    height, width, aspect = shape
    side = min(height, width * aspect)
    deg = math.radians(25 + turn_deg)
    inferior = (0.30 + 0.12 * math.cos(math.radians(25)), 0.22 + 0.12 * math.sin(math.radians(25)))
    superior = (inferior[0] - 0.24 * math.cos(deg), inferior[1] - 0.24 * math.sin(deg))

    def to_frame(point: Point) -> Point:
        x = (point[0] * side + (width * aspect - side) / 2) / aspect - 0.5
        return x, point[1] * side + (height - side) / 2 - 0.5

    return to_frame(superior), to_frame(inferior)


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
@pytest.mark.parametrize("shape", FRAMES, ids=str)
def test_landmarks_are_the_ends_of_the_joint_axis(shape: tuple[int, int, float], protocol: str) -> None:
    """But for what the protocol's own axis is off the ellipse's: much for a farthest pair, and on a squeezed square."""
    superior, inferior = ends_of(shape, turn_deg=-8)
    found = read(looked(shape, superior, inferior), shape, protocol=protocol)
    pixel = max(shape[0], shape[1] * shape[2]) / 256  # of the network, in frame pixels
    assert found.landmarks is not None
    is_near = protocol == "robust" or (protocol == "fhps2023" and shape[0] == shape[1])
    near = (1.0 if is_near else 8.0) * pixel * max(1.0, 1 / shape[2])
    assert found.landmarks.ps_superior == pytest.approx(superior, abs=near)
    assert found.landmarks.ps_inferior == pytest.approx(inferior, abs=near)


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_the_angle_turns_with_the_joint_axis(protocol: str) -> None:
    """Turned about its inferior end by 8 degrees the axis opens the angle by as much; the tangent stays."""
    shape = FRAMES[0]
    straight, turned = (
        read(looked(shape, *ends_of(shape, turn)), shape, protocol=protocol).aop_deg for turn in (0.0, -8.0)
    )
    assert straight is not None
    assert turned is not None
    assert turned - straight == pytest.approx(-8.0, abs=0.1)
    half = read(
        looked(shape, *ends_of(shape, -8.0)), shape, protocol=protocol, fusion=Fusion(direction=0.5, inferior=1.0)
    )
    assert half.aop_deg == pytest.approx(straight - 4.0, abs=0.1)


def test_the_mask_alone_is_measured_where_nobody_looked() -> None:
    shape = FRAMES[0]
    plain = read(replace(exact_prediction(shape), normal_logit=np.array([6.0], np.float32)), shape)
    nobody = replace(looked(shape, *ends_of(shape, -8.0)), ps_axis=np.zeros((1, 2, 7), np.float32))
    assert read(nobody, shape).aop_deg == plain.aop_deg
    assert read(nobody, shape).landmarks == plain.landmarks


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_a_look_that_presumed_the_other_orientation_does_not_count(protocol: str) -> None:
    """The user says that pictures are normal; on this frame the network took it for mirrored, and looked so."""
    shape = FRAMES[0]
    wrong = looked(shape, *ends_of(shape, -8.0), normal=-3.0)
    found = read(wrong, shape, protocol=protocol, orientation=Orientation.NORMAL)
    plain = read(replace(wrong, ps_axis=None), shape, protocol=protocol, orientation=Orientation.NORMAL)
    assert found.aop_deg == plain.aop_deg
    right = read(replace(wrong, normal_logit=np.array([3.0], np.float32)), shape, protocol=protocol)
    assert right.aop_deg != plain.aop_deg


def test_a_mirrored_picture_is_measured_by_its_mirrored_look() -> None:
    shape = FRAMES[0]
    normal = looked(shape, *ends_of(shape, -8.0))
    assert normal.ps_axis is not None
    views = normal.ps_axis.copy()
    views[..., 0] *= -1
    views[..., [2, 4]] = 255 - views[..., [2, 4]]
    mirrored = replace(
        normal,
        class_logits=np.ascontiguousarray(normal.class_logits[..., ::-1]),
        normal_logit=np.array([-6.0], np.float32),
        ps_axis=views,
    )
    found, other = read(normal, shape), read(mirrored, shape)
    assert other.mirrored
    assert other.aop_deg == pytest.approx(found.aop_deg, abs=0.2)


def test_no_symphysis_in_the_mask_is_none_whatever_the_look_says() -> None:
    shape = FRAMES[0]
    prediction = looked(shape, *ends_of(shape))
    prediction.class_logits[0, 1] = -50
    for protocol in PROTOCOLS:
        assert read(prediction, shape, protocol=protocol).reason is Reason.NO_PS


def test_quality_says_how_far_the_readings_disagree() -> None:
    shape = FRAMES[0]
    errors = ErrorModel(weights={"disagreement": 1.0}, constant=0.0, surest_deg=1.0, mask_only_deg=20.0)
    for protocol in PROTOCOLS:
        qualities = [
            read(looked(shape, *ends_of(shape, turn)), shape, protocol=protocol, errors=errors).quality
            for turn in (-2.0, -8.0, -16.0)
        ]
        assert qualities[0] > qualities[1] > qualities[2] > 0
        unseen = replace(looked(shape, *ends_of(shape)), ps_axis=np.zeros((1, 2, 7), np.float32))
        assert read(unseen, shape, protocol=protocol, errors=errors).quality == pytest.approx(0.05, rel=0.1)


def test_a_reader_takes_its_shares_from_the_model() -> None:
    shape = FRAMES[0]
    frame, prediction = blank(shape), looked(shape, *ends_of(shape, -8.0))
    facts = {"weights": {}, "constant": 1.0, "surest_deg": 2.0, "mask_only_deg": 9.0}
    spec = replace(NETWORK, fusion={"direction": 1.0, "inferior": 1.0}, quality=facts)
    found = FrameAnalyzer.of(spec, protocol="robust").analyze(frame, letterbox_for(frame, spec), prediction).biometry
    assert found.aop_deg == read(prediction, shape).aop_deg
    assert found.quality == pytest.approx(2 / math.e, rel=0.1)
    assert found.expected_error_deg == pytest.approx(math.e)
    assert found.absolute_half_deg is None
    absolute = {"half_deg": 15.0, "usual_expected_deg": math.e, "power": 0.5, "growth": 0.0}
    knows = replace(spec, absolute={"robust": absolute, "fhps2023": absolute | {"half_deg": 12.0}})
    for protocol, half_deg in (("robust", 15.0), ("fhps2023", 12.0), ("iugc2024", None)):
        other = (
            FrameAnalyzer.of(knows, protocol=protocol).analyze(frame, letterbox_for(frame, spec), prediction).biometry
        )
        assert other.absolute_half_deg == (half_deg and pytest.approx(half_deg))
    several: list[dict[str, Any]] = [
        {"quality": facts, "absolute": {"robust": {"half_deg": 15.0}}},
        {"quality": facts, "absolute": {"robust": absolute | {"half_deg": -1.0}}},
        {"fusion": {"direction": 2.0}},
        {"fusion": {"way": 0.5}},
        {"quality": {"weights": {}}},
    ]
    for broken in several:
        with pytest.raises(ModelMismatch, match="its facts cannot be used"):
            FrameAnalyzer.of(replace(NETWORK, **broken), protocol="robust")


def into_the_head(superior: Point, _: Point) -> tuple[Point, Point]:
    return superior, (215.0, 300.0)


def test_ends_that_are_corrected_leave_the_head_and_the_refusals() -> None:
    shape = FRAMES[0]
    mask = labels_on(np.arange(512.0), np.arange(512.0), shape)
    for protocol in PROTOCOLS:
        own = measure(mask, protocol=protocol, orientation=Orientation.NORMAL)
        same = measure(mask, protocol=protocol, orientation=Orientation.NORMAL, move_ends=lambda *ends: ends)
        assert same.aop_deg == pytest.approx(own.aop_deg, abs=1e-9)
        assert same.landmarks is not None
        inside = measure(
            mask,
            protocol=protocol,
            orientation=Orientation.NORMAL,
            move_ends=into_the_head,
        )
        assert inside.reason is Reason.PS_END_IN_HEAD
