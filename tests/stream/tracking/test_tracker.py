"""All tracks of a stream: AoP and both HSDs, through refusals and segments."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from stream.frames.frame import Frame, PixelSpacing
from stream.frames.reason import Reason
from stream.measurement.biometry import Biometry, Landmarks
from stream.tracking.tracker import HSD_NOISE_MM, Estimate, EstimateStatus, Track, Tracker


def shown(estimate: Estimate | None) -> Estimate:
    assert estimate is not None
    return estimate


LANDMARKS = Landmarks(
    ps_superior=(100.0, 100.0),
    ps_inferior=(195.0, 100.0),
    tangent=(200.0, 300.0),
    hsd_min_foot=(200.0, 160.0),
    hsd_perp_foot=None,
)


def frame(index: int, *, segment: int = 0, spacing: PixelSpacing | None = None) -> Frame:
    return Frame(
        image=np.zeros((2, 2), np.uint8),
        index=index,
        pts=index,
        time_base=Fraction(1, 30),
        captured_ns=0,
        segment=segment,
        spacing=spacing,
    )


def reading(aop_deg: float = 120.0, hsd_min: float = 60.0, hsd_perp: float | None = None) -> Biometry:
    return Biometry(
        protocol="robust",
        aop_deg=aop_deg,
        hsd_min=hsd_min,
        hsd_perp=hsd_perp,
        landmarks=LANDMARKS,
        quality=1.0,
    )


REFUSED = Biometry(protocol="robust", reason=Reason.NO_PS)


def test_tracker_follows_each_quantity_through_refused_frames() -> None:
    tracker = Tracker()
    first = tracker.follow(frame(0), REFUSED)
    assert first.aop is first.hsd_min is first.hsd_perp is None
    for k in range(1, 10):
        seen = tracker.follow(frame(k), reading())
    assert shown(seen.aop).value == pytest.approx(120.0)
    assert shown(seen.hsd_min).value == pytest.approx(60.0)
    assert seen.hsd_perp is None
    assert shown(tracker.follow(frame(10), REFUSED).hsd_min).status is EstimateStatus.PREDICTED
    assert shown(tracker.follow(frame(30), REFUSED).aop).status is EstimateStatus.HELD
    assert tracker.follow(frame(45), REFUSED).aop is None


def test_tracker_starts_anew_with_each_segment_even_back_in_time() -> None:
    tracker = Tracker()
    for k in range(60):
        old = tracker.follow(frame(k), reading())
    assert tracker.follow(frame(3, segment=1), reading(aop_deg=90.0, hsd_min=120.0)).aop is None
    new = tracker.follow(frame(4, segment=1), reading(aop_deg=90.0, hsd_min=120.0))
    assert shown(new.aop).value == 90.0
    assert shown(new.hsd_min).value == 120.0
    assert shown(new.aop).std > shown(old.aop).std
    assert tracker.follow(frame(4, segment=2), REFUSED).aop is None


@pytest.mark.parametrize(
    ("spacing", "px_per_mm"), [(PixelSpacing(0.2, 0.25), 4.0), (None, 95.0 / 38.0)], ids=["known", "from PS"]
)
def test_hsd_noise_follows_the_scale_of_the_picture(spacing: PixelSpacing | None, px_per_mm: float) -> None:
    tracker, track = Tracker(), Track(HSD_NOISE_MM)
    for k in (0, 1):
        followed = tracker.follow(frame(k, spacing=spacing), reading()).hsd_min
        in_mm = track.update(k / 30, 60.0)
    found, in_mm = shown(followed), shown(in_mm)
    assert found.std == pytest.approx(px_per_mm * in_mm.std)


def test_a_refusal_before_a_new_segment_casts_doubt_on_its_first_readings() -> None:
    tracker = Tracker()
    tracker.refuse(frame(0))
    assert all(tracker.follow(frame(k, segment=1), reading()).aop is None for k in (1, 2))
    fresh = Tracker()
    fresh.follow(frame(1), reading())
    assert fresh.follow(frame(2), reading()).aop is not None


def test_frames_refused_before_they_are_read_weigh_on_what_is_beside_them() -> None:
    told, untold = Tracker(), Tracker()
    for k in range(40):
        for tracker in (told, untold):
            tracker.follow(frame(k), reading(aop_deg=120.0 if k < 38 else 126.0))
    told.refuse(frame(40))
    held = shown(told.follow(frame(41), REFUSED).aop)
    assert abs(held.value - 120.0) < 0.4 * abs(shown(untold.follow(frame(41), reading(126.0)).aop).value - 120.0)
