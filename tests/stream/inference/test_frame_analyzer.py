"""Coordinates from the network back to the frame: sizes, pixel aspects and protocols, against shapes drawn there."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engines.base import Prediction
from stream.common.errors import OptionError
from stream.frames.frame import Frame, PixelSpacing
from stream.frames.reason import Reason
from stream.inference.frame_analyzer import FrameAnalyzer, labels_in_frame, letterbox_for
from stream.measurement.biometry import Biometry, Orientation
from stream.measurement.protocols import find_protocol, measure
from stream.pipeline.record import FrameState, Measurement
from stream.pipeline.record_fields import record_of
from tests.fakes.doubles import SPEC

if TYPE_CHECKING:
    from numpy.typing import NDArray

NETWORK = replace(SPEC, height=256, width=256, output_height=128, output_width=128)
FRAMES = [(512, 512, 1.0), (600, 800, 1.0), (1080, 1920, 1.0), (480, 720, 1.2), (800, 500, 0.8), (333, 777, 1.31)]
"""Height, width, pixel aspect."""


def depth_inside(
    x: NDArray[np.float64], y: NDArray[np.float64], centre: tuple[float, float], axes: tuple[float, float], deg: float
) -> NDArray[np.float64]:
    """Positive inside a turned ellipse, falling smoothly to zero on its outline."""
    cos, sin = np.cos(np.deg2rad(deg)), np.sin(np.deg2rad(deg))
    dx, dy = x - centre[0], y - centre[1]
    u, v = (cos * dx + sin * dy) / axes[0], (-sin * dx + cos * dy) / axes[1]
    return np.asarray((1 - np.hypot(u, v)) * axes[1])


def structures(
    x_px: NDArray[np.float64], y_px: NDArray[np.float64], shape: tuple[int, int, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """PS and FH at frame pixels: drawn in square coordinates that fill the frame's shorter side."""
    height, width, aspect = shape
    side = min(height, width * aspect)
    x = ((x_px + 0.5) * aspect - (width * aspect - side) / 2) / side
    y = (y_px + 0.5 - (height - side) / 2) / side
    return depth_inside(x, y, (0.30, 0.22), (0.12, 0.055), 25), depth_inside(x, y, (0.42, 0.62), (0.24, 0.29), 10)


def labels_on(x: NDArray[np.float64], y: NDArray[np.float64], shape: tuple[int, int, float]) -> NDArray[np.uint8]:
    """The mask on a raster of columns at x and rows at y, in frame pixels."""
    grid_x, grid_y = np.meshgrid(x, y)
    return labels_at(grid_x, grid_y, shape)


def labels_at(x_px: NDArray[np.float64], y_px: NDArray[np.float64], shape: tuple[int, int, float]) -> NDArray[np.uint8]:
    ps, fh = structures(x_px, y_px, shape)
    return np.where(fh > np.maximum(ps, 0), 2, np.where(ps > 0, 1, 0)).astype(np.uint8)


def blank(shape: tuple[int, int, float], spacing: PixelSpacing | None = None) -> Frame:
    height, width, aspect = shape
    return Frame(
        image=np.zeros((height, width), np.uint8),
        index=0,
        pts=0,
        time_base=Fraction(1, 25),
        captured_ns=0,
        spacing=spacing,
        pixel_aspect=aspect,
    )


def exact_prediction(shape: tuple[int, int, float]) -> Prediction:
    """Logits without error, given on the network's half-size grid by a formula of its own."""
    height, width, aspect = shape
    zoom = 256 / max(height, width * aspect)
    column = (np.arange(128) + 0.5) * 2  # in network pixels, from the outer edge
    x = (column - (256 - width * aspect * zoom) / 2) / (zoom * aspect) - 0.5
    y = (column - (256 - height * zoom) / 2) / zoom - 0.5
    grid_x, grid_y = np.meshgrid(x, y)
    ps, fh = structures(grid_x, grid_y, shape)
    logits = np.stack([np.zeros_like(ps), 300 * ps, 300 * fh])[None].astype(np.float32)
    return Prediction(class_logits=logits, plane_logit=np.array([5.0], np.float32))


def read(shape: tuple[int, int, float], protocol: str, spacing: PixelSpacing | None = None) -> tuple[Frame, Biometry]:
    """What the analyzer makes of exact logits."""
    frame = blank(shape, spacing)
    analyzer = FrameAnalyzer(protocol=protocol, plane_threshold=0.5, orientation=Orientation.NORMAL)
    return frame, analyzer.analyze(frame, letterbox_for(frame, NETWORK), exact_prediction(shape)).biometry


@pytest.mark.parametrize("shape", FRAMES, ids=str)
def test_labels_lie_on_the_frame_s_own_pixels(shape: tuple[int, int, float]) -> None:
    height, width, aspect = shape
    frame = blank(shape)
    found = labels_in_frame(frame, letterbox_for(frame, NETWORK), exact_prediction(shape))
    truth = labels_on(np.arange(width, dtype=float), np.arange(height, dtype=float), shape)
    assert found.shape == truth.shape
    assert found.dtype == np.uint8
    pixel = max(height, width * aspect) / 256  # of the network, in frame pixels
    for code in (1, 2):
        centres = [np.argwhere(labels == code).mean(axis=0) for labels in (found, truth)]
        assert centres[0] == pytest.approx(centres[1], abs=0.2 * pixel)
        overlap = np.count_nonzero((found == code) & (truth == code))
        assert overlap / np.count_nonzero((found == code) | (truth == code)) > 0.95


@pytest.mark.parametrize("shape", FRAMES, ids=str)
def test_robust_reads_what_was_drawn_in_the_frame(shape: tuple[int, int, float]) -> None:
    height, width, aspect = shape
    mask = labels_on(np.arange(width, dtype=float), np.arange(height, dtype=float), shape)
    truth = measure(mask, pixel_size=(aspect, 1.0), orientation=Orientation.NORMAL)
    _, found = read(shape, "robust")
    assert found.aop_deg == pytest.approx(truth.aop_deg, abs=1.5)
    assert found.hsd_min is not None
    assert truth.hsd_min is not None
    pixel = max(height, width * aspect) / 256  # of the network, in frame pixels
    assert found.hsd_min == pytest.approx(truth.hsd_min, abs=pixel)
    assert found.landmarks is not None
    assert truth.landmarks is not None
    for name in ("ps_superior", "ps_inferior", "hsd_min_foot"):
        assert getattr(found.landmarks, name) == pytest.approx(getattr(truth.landmarks, name), abs=1.5 * pixel), name


@pytest.mark.parametrize("protocol", ["fhps2023", "iugc2024"])
@pytest.mark.parametrize("shape", FRAMES, ids=str)
def test_a_challenge_protocol_sees_the_frame_squeezed_to_its_square(
    shape: tuple[int, int, float], protocol: str
) -> None:
    height, width, _ = shape
    side = find_protocol(protocol).side_px
    assert side is not None
    centres = (np.arange(side) + 0.5) / side
    mask = labels_on(centres * width - 0.5, centres * height - 0.5, shape)
    truth = measure(mask, protocol=protocol)
    _, found = read(shape, protocol)
    assert truth.landmarks is not None
    assert found.landmarks is not None
    # The farthest pair of a smooth oval is loose by itself: a few degrees are its own noise.
    assert found.aop_deg == pytest.approx(truth.aop_deg, abs=5.0 if protocol == "iugc2024" else 1.5)
    x, y = truth.landmarks.ps_inferior
    expected = ((x + 0.5) * width / side - 0.5, (y + 0.5) * height / side - 0.5)
    assert found.landmarks.ps_inferior == pytest.approx(expected, abs=0.03 * max(height, width))


def test_unequal_spacing_gives_true_millimetres_and_angle() -> None:
    spacing = PixelSpacing(0.26, 0.2)
    shape = (600, 500, 1.3)
    frame, found = read(shape, "robust", spacing)
    measurement = Measurement(
        frame=frame, protocol="robust", state=FrameState.MEASURED, latency_ms=0.0, biometry=found, plane_probability=1.0
    )
    mask = labels_on(np.arange(500.0), np.arange(600.0), shape)
    truth = measure(mask, pixel_size=(0.26, 0.2), orientation=Orientation.NORMAL)
    record = record_of(measurement)
    assert truth.hsd_min is not None
    assert record["hsd_min_raw_mm"] == pytest.approx(truth.hsd_min, abs=0.5)
    assert record["aop_raw_deg"] == pytest.approx(truth.aop_deg, abs=1.5)


def test_below_the_threshold_nothing_is_measured() -> None:
    frame = blank((512, 512, 1.0))
    prediction = Prediction(
        class_logits=np.zeros((1, 3, 128, 128), np.float32), plane_logit=np.array([-0.1], np.float32)
    )
    analyzer = FrameAnalyzer(protocol="robust", plane_threshold=0.5)
    reading = analyzer.analyze(frame, letterbox_for(frame, NETWORK), prediction)
    assert reading.biometry.reason is Reason.NOT_STANDARD_PLANE
    assert reading.plane_probability == pytest.approx(1 / (1 + np.exp(0.1)))


@pytest.mark.parametrize("protocol", ["fhps2023", "iugc2024"])
def test_a_challenge_protocol_refuses_to_be_told_of_mirrored_pictures(protocol: str) -> None:
    with pytest.raises(OptionError, match="robust"):
        FrameAnalyzer(protocol=protocol, plane_threshold=0.5, orientation=Orientation.MIRRORED)


def test_the_network_s_word_on_the_orientation_goes_before_the_mask_s_cues() -> None:
    shape = FRAMES[0]
    frame, prediction = blank(shape), exact_prediction(shape)
    read_as: dict[float | None, Biometry] = {}
    for said in (None, 8.0, -8.0, -1.0):
        normal_logit = None if said is None else np.array([said], np.float32)
        analyzer = FrameAnalyzer(protocol="robust", plane_threshold=0.5)
        told = replace(prediction, normal_logit=normal_logit)
        read_as[said] = analyzer.analyze(frame, letterbox_for(frame, NETWORK), told).biometry
    assert read_as[8.0].mirrored is False
    assert read_as[-8.0].mirrored is True
    assert read_as[-1.0].reason is Reason.AXIS_AMBIGUOUS  # neither answer would be safe
    assert read_as[8.0].aop_deg != read_as[-8.0].aop_deg


def test_quality_falls_by_what_had_to_be_made_convex() -> None:
    shape = FRAMES[0]
    frame, clean = blank(shape), exact_prediction(shape)
    analyzer = FrameAnalyzer(protocol="robust", plane_threshold=0.5, orientation=Orientation.NORMAL)
    whole = analyzer.analyze(frame, letterbox_for(frame, NETWORK), clean).biometry
    torn = clean.class_logits.copy()
    torn[0, 2, 100:, :] = np.maximum(torn[0, 2, 100:, :], -50)  # nothing drawn, until the head grows a bit below
    torn[0, 2, 118:127, 4:40] = 300  # a bit of head far from the head: no bone, and cut off
    ragged = Prediction(class_logits=torn, plane_logit=clean.plane_logit)
    found = analyzer.analyze(frame, letterbox_for(frame, NETWORK), ragged).biometry
    assert found.aop_deg == pytest.approx(whole.aop_deg, abs=0.1)
    drawn = np.count_nonzero(labels_in_frame(frame, letterbox_for(frame, NETWORK), clean) == 2) / 16
    share = 2 * drawn / (2 * drawn + 9 * 36)
    assert found.quality / whole.quality == pytest.approx(share, abs=0.01)
