"""The study of AoP over time: its methods on made recordings, and the symphysis as a bone on a picture that moves."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import cv2
import numpy as np

from calibration.studies.anchored_symphysis import anchored_aop
from calibration.studies.tracking import Recorded, judge, simulated, tracking_text
from stream.measurement.biometry import Landmarks

if TYPE_CHECKING:
    from numpy.typing import NDArray


def test_later_and_offline_values_are_righter_than_the_filters() -> None:
    table = judge(simulated(range(3), duration_s=30.0), take_mean_off=False)
    rmse = [figures["rmse_deg"] for figures in table.values()]
    assert list(table) == ["single frames", "filter", "fixed lag 0.5 s", "smoother"]
    assert all(a is not None and b is not None and a > b for a, b in itertools.pairwise(rmse))
    spread = {"mean_absolute_deg": 0.7, "bias_deg": 0.1, "inside": 0.95}
    pushes = {"judged": 9, "true": 10, "found that are none": 0, "found at rest": 0, "hours at rest": 1.0}
    kinds = dict.fromkeys(("simulated courses", "animated frames", "phantoms"), table)
    text = tracking_text({**kinds, "pushes": pushes | {"by rate": {"15_hz": {"peak": spread, "difference": spread}}}})
    assert "| filter |" in text


def test_an_anchored_symphysis_follows_a_picture_that_turns_and_averages_its_readings() -> None:
    rng = np.random.default_rng(2)
    texture = cv2.GaussianBlur(rng.uniform(0, 255, (200, 200)).astype(np.float32), (0, 0), 1.5)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)  # type: ignore[call-overload]
    t_s = np.arange(0.0, 4.0, 0.1)
    pictures, landmarks, read = [], [], []
    for t in t_s:
        matrix = cv2.getRotationMatrix2D((100, 100), float(4.0 * np.sin(t)), 1.0)
        turned = cv2.warpAffine(texture, matrix, (200, 200), borderMode=cv2.BORDER_REFLECT)
        pictures.append(np.asarray(turned, np.uint8))
        true = np.array([[70.0, 80.0], [110.0, 95.0], [140.0, 150.0]]) @ matrix[:, :2].T + matrix[:, 2]
        ends = np.asarray(true + np.vstack([rng.normal(0, 1.5, (2, 2)), np.zeros((1, 2))]), np.float64)
        landmarks.append(marks(ends))
        read.append(angle(ends))
    truth = angle(np.array([[70.0, 80.0], [110.0, 95.0], [140.0, 150.0]]))
    raw = np.array(read)
    found = anchored_aop(pictures, landmarks, t_s, raw, np.ones(len(t_s)))
    assert np.sqrt(np.mean((found - truth)[10:] ** 2)) < 0.6 * np.sqrt(np.mean((raw - truth)[10:] ** 2))
    missing = anchored_aop(pictures[:3], [None] * 3, t_s[:3], np.full(3, np.nan), np.ones(3))
    assert np.isnan(missing).all()


def marks(ends: NDArray[np.float64]) -> Landmarks:
    superior, inferior, tangent = ((float(x), float(y)) for x, y in ends)
    return Landmarks(ps_superior=superior, ps_inferior=inferior, tangent=tangent, hsd_min_foot=None, hsd_perp_foot=None)


def angle(ends: NDArray[np.float64]) -> float:
    axis, side = ends[0] - ends[1], ends[2] - ends[1]
    return float(np.degrees(np.arctan2(axis[1] * side[0] - axis[0] * side[1], axis @ side)) % 360)


def test_a_recording_without_pictures_has_no_anchored_curve() -> None:
    flat = np.full(40, 118.0)
    recorded = Recorded(t_s=np.arange(40) / 10, truth=flat, read=flat, quality=np.ones(40))
    assert len(judge([recorded], take_mean_off=True)) == 4
