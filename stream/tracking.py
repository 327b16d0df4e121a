"""Follows AoP and HSD over time, causally: what is shown, with what interval, and when nothing is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from stream.biometry import CHALLENGE_SIDE_PX
from stream.errors import TrackError
from stream.kalman import Belief, FilterNoise, begin, learned_level, predict, update

if TYPE_CHECKING:
    from stream.biometry import Biometry, Landmarks
    from stream.frame import Frame

COAST_S = 0.5
"""A value is predicted this long after the last accepted measurement, then held."""
SHOW_S = 1.0
"""Later than this after the last accepted measurement, nothing is shown."""
FORGET_S = 3.0
"""Later than this, the next measurement starts the track anew."""
VOTE_S = 0.4
"""The scene has really changed where outliers in a row outnumber what was accepted in this time before them:
the track starts anew. In a steady stream that takes 0.4 s; after a gap or at the start, where one outlier may
have misled it, two frames that say otherwise are enough."""
OUTLIER_WEIGHT = 0.25
"""A measurement that counts for less than this share of a clean one is not accepted."""
LARGEST_VALUE = 1e9
"""No angle and no distance is larger; far beyond it squares would overflow."""

_LEAST_QUALITY = 0.05

AOP_NOISE_DEG = FilterNoise(white_sd=2.0, correlated_sd=2.5, velocity_sd=7.5)
"""AoP in degrees. `python -m calibration.noise` prints what `velocity_sd` trades: less is smooth and late."""

HSD_NOISE_MM = AOP_NOISE_DEG.scaled(0.36)
"""HSD in millimetres. On the head's way down HSD changes by 0.37 mm per degree of AoP, and landmark errors of
1 mm make 1.7 mm of HSD where they make 4.8 degrees of AoP (0.35 mm per degree): one factor does for both."""

PS_LENGTH_MM = 38.0
"""Typical length of the pubic symphysis: the yardstick of a picture without a scale."""


class Status(StrEnum):
    """Where a shown value comes from. The values are the codes written to files."""

    MEASURED = "measured"
    PREDICTED = "predicted"
    HELD = "held"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The filtered value at one moment, in the unit of the track.

    Attributes:
        value: best estimate.
        std: its standard deviation. It covers repeatability, not a bias that all frames share.
        rate_per_s: change of the value per second; 0 while held.
        age_s: time since the last accepted measurement.
        status: `measured` where this moment's measurement was accepted; `predicted` up to `COAST_S` after the
            last accepted one; `held` up to `SHOW_S`: the value stands still, the interval goes on growing.
    """

    value: float
    std: float
    rate_per_s: float
    age_s: float
    status: Status

    @property
    def lo95(self) -> float:
        """Lower end of the 95 % interval."""
        return self.value - 1.96 * self.std

    @property
    def hi95(self) -> float:
        """Upper end of the 95 % interval."""
        return self.value + 1.96 * self.std


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Memory:
    belief: Belief  # after the last accepted measurement
    accepted_s: tuple[float, ...]  # times of the last accepted measurement and those up to VOTE_S before it
    time_s: float  # of the last measurement, accepted or not
    outliers: int = 0  # in a row, up to now
    outliers_since_s: float = 0.0

    def age_s(self, t_s: float) -> float:
        return t_s - self.accepted_s[-1]


class Track:
    """One number followed through one unbroken stretch of a stream.

    Time comes from the frames' own stamps, in seconds, and may be uneven. A stamp equal to the last one is
    another measurement of the same moment; an earlier one is a `TrackError`. Where time or scale jumps
    (`Frame.segment`), make a new track.
    """

    def __init__(self, noise: FilterNoise) -> None:
        self._nominal = noise
        self._level = 1.0
        self._noise = noise  # at the level learned so far
        self._memory: _Memory | None = None

    @property
    def noise_level(self) -> float:
        """The measurements' noise as learned so far: standard deviation over the nominal one, 0.5 to 3."""
        return math.sqrt(self._level)

    def update(self, t_s: float, value: float, *, quality: float = 1.0) -> Estimate | None:
        """Takes in one measurement and returns the estimate at its time; None where nothing can be shown.

        Args:
            t_s: when the frame was taken, in seconds.
            value: what was measured on it, in the track's unit.
            quality: 0 to 1; the variance of the white noise is divided by it (by no less than 0.05).

        Raises:
            TrackError: time goes back, or an argument is not a number in its range.
        """
        self._check_time(t_s)
        if not (abs(value) <= LARGEST_VALUE and 0.0 <= quality <= 1.0):
            raise TrackError(
                f"value {value!r} with quality {quality!r} at {t_s} s: a track takes values up to"
                f" {LARGEST_VALUE:g} and qualities from 0 to 1; call predict() where a frame has none"
            )
        memory = self._memory
        if memory is None or memory.age_s(t_s) > FORGET_S:
            self._memory = self._begun(t_s, value)
        else:
            self._memory = self._updated(memory, t_s, value, max(quality, _LEAST_QUALITY))
        return self.predict(t_s)

    def predict(self, t_s: float) -> Estimate | None:
        """Returns the estimate at `t_s` from what was measured up to then; None where nothing can be shown.

        The track does not change by it, so it may be asked for any time from the last measurement on.

        Raises:
            TrackError: `t_s` is before the last measurement, or not a number.
        """
        self._check_time(t_s)
        memory = self._memory
        if memory is None or memory.age_s(t_s) > SHOW_S:
            return None
        age_s = memory.age_s(t_s)
        held = age_s > COAST_S
        now = predict(memory.belief, age_s, noise=self._noise)
        shown = predict(memory.belief, COAST_S, noise=self._noise) if held else now
        return Estimate(
            value=float(shown.x[0]),
            std=math.sqrt(now.P[0, 0]),
            rate_per_s=0.0 if held else float(shown.x[1]),
            age_s=age_s,
            status=Status.HELD if held else Status.PREDICTED if age_s > 0.0 else Status.MEASURED,
        )

    def _check_time(self, t_s: float) -> None:
        if not math.isfinite(t_s):
            raise TrackError(f"time {t_s!r} s is not a number; give a frame's presentation time in seconds")
        if self._memory is not None and t_s < self._memory.time_s:
            raise TrackError(
                f"time goes back from {self._memory.time_s} s to {t_s} s; begin a new track in a new segment"
            )

    def _begun(self, t_s: float, value: float) -> _Memory:
        # The learned noise is kept: it belongs to the source, not to what was followed.
        return _Memory(belief=begin(value, noise=self._noise), accepted_s=(t_s,), time_s=t_s)

    def _updated(self, memory: _Memory, t_s: float, value: float, quality: float) -> _Memory:
        """Returns what is known after one more measurement: accepted, passed over, or of a new scene.

        An outlier leaves the belief alone. Were it taken in with its small weight, a run of them at a high
        frame rate would drag the value along, and its interval would follow without having seen a reason.
        """
        prior = predict(memory.belief, memory.age_s(t_s), noise=self._noise)
        result = update(prior, value, noise=self._noise, quality=quality)
        self._level = learned_level(self._level, result.nis, t_s - memory.time_s, noise=self._nominal)
        self._noise = self._nominal.at_level(self._level)
        if result.weight >= OUTLIER_WEIGHT:
            accepted_s = (*(s for s in memory.accepted_s if t_s - s <= VOTE_S), t_s)
            return _Memory(belief=result.belief, accepted_s=accepted_s, time_s=t_s)
        outliers = memory.outliers + 1
        since_s = memory.outliers_since_s if memory.outliers else t_s
        voters = sum(since_s - s <= VOTE_S for s in memory.accepted_s)
        if outliers > max(voters, 1):
            return self._begun(t_s, value)
        return replace(memory, time_s=t_s, outliers=outliers, outliers_since_s=since_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracks:
    """The tracked values at one frame; None where nothing may be shown."""

    aop: Estimate | None
    hsd_min: Estimate | None
    hsd_perp: Estimate | None


class Tracker:
    """Follows AoP in degrees and both HSDs in pixels, frame by frame; starts anew with each segment."""

    def __init__(self) -> None:
        self._segment: int | None = None
        self._aop = Track(AOP_NOISE_DEG)
        self._hsd: tuple[Track, Track] | None = None  # once a scale is known: minimum, perpendicular

    def follow(self, frame: Frame, biometry: Biometry) -> Tracks:
        """Returns the tracked values at `frame`, its own measurement taken in where it has one.

        Raises:
            TrackError: the frame's time is before the one before it in the same segment.
        """
        if frame.segment != self._segment:
            self._segment = frame.segment
            self._aop, self._hsd = Track(AOP_NOISE_DEG), None
        if self._hsd is None and biometry.landmarks is not None:
            noise = HSD_NOISE_MM.scaled(_px_per_mm(frame, biometry, biometry.landmarks))
            self._hsd = Track(noise), Track(noise)
        shortest, perpendicular = self._hsd or (None, None)
        t_s, quality = frame.pts_s, biometry.quality
        return Tracks(
            aop=_followed(self._aop, t_s, biometry.aop_deg, quality),
            hsd_min=_followed(shortest, t_s, biometry.hsd_min, quality),
            hsd_perp=_followed(perpendicular, t_s, biometry.hsd_perp, quality),
        )


def _followed(track: Track | None, t_s: float, value: float | None, quality: float) -> Estimate | None:
    if track is None:
        return None
    return track.predict(t_s) if value is None else track.update(t_s, value, quality=quality)


def _px_per_mm(frame: Frame, biometry: Biometry, landmarks: Landmarks) -> float:
    """The scale that HSD's noise is given in, in the pixels HSD is given in.

    Without spacing, and on a challenge's square, it is that of a symphysis of typical length. Only noise is scaled
    with it, never a measurement: that it is rough is mended by the learned noise level.
    """
    side = CHALLENGE_SIDE_PX.get(biometry.protocol)
    if frame.spacing and side is None:
        return 1.0 / frame.spacing.y_mm
    height, width = frame.image.shape
    scale_x, scale_y = (side / width, side / height) if side else (frame.aspect, 1.0)
    (x0, y0), (x1, y1) = landmarks.ps_superior, landmarks.ps_inferior
    return math.hypot((x1 - x0) * scale_x, (y1 - y0) * scale_y) / PS_LENGTH_MM
