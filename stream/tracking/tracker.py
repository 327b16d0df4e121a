"""Tracks AoP and HSD causally: value, interval, and when nothing may be shown."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from stream.common.errors import TrackError
from stream.measurement.protocols import find_protocol
from stream.tracking.absolute_width import AbsoluteWidth
from stream.tracking.fixed_lag import TrackState
from stream.tracking.hypothesis import Hypothesis, Reading, edge_weight
from stream.tracking.kalman import FilterNoise, predict, update_noise_level

if TYPE_CHECKING:
    from stream.frames.frame import Frame
    from stream.measurement.biometry import Biometry, Landmarks

COAST_S = 0.5
"""A value is predicted this long after the last accepted measurement, then held."""
SHOW_S = 1.0
"""Later than this after the last accepted measurement, nothing is shown."""
FORGET_S = 3.0
"""Later than this, the next measurement starts the track anew."""
VOTE_S = 0.4
"""The scene has really changed where readings that agree with each other, and contradict the track, outweigh what was
accepted in this time before them, and `ENOUGH`: the track goes on from them. In a steady stream that takes 0.4 s."""
ENOUGH = 1.0
"""A value rests on readings worth more than this many clean ones: nothing is shown, held or overturned on a single one,
nor on many that are worth nothing."""
LEAST_WORTH = 0.25
"""What is shown rests on readings of the last `SHOW_S` that are worth so much together: one beside a refusal does not
prolong what is held."""
LARGEST_VALUE = 1e9
"""No angle and no distance is larger; far beyond it squares would overflow."""

AOP_NOISE_DEG = FilterNoise(white_sd=2.0, correlated_sd=2.5, velocity_sd=7.75)
"""AoP in degrees. `python -m calibration.fitting.filter_noise` prints what `velocity_sd` trades: less is smooth and
late."""

HSD_MM_PER_DEG = 0.36
HSD_NOISE_MM = AOP_NOISE_DEG.scaled(HSD_MM_PER_DEG)
"""HSD in millimetres. On the head's way down HSD changes by 0.37 mm per degree of AoP, and landmark errors of
1 mm make 1.7 mm of HSD where they make 4.8 degrees of AoP (0.35 mm per degree): one factor does for both."""

REPEATABILITY, ABSOLUTE = "repeatability", "absolute"
"""Names of the two intervals."""

PS_LENGTH_MM = 38.0
"""Typical length of the pubic symphysis: the yardstick of a picture without a scale."""


class EstimateStatus(StrEnum):
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
        absolute_half: half the width of the absolute interval, which covers that too; None where it is not known.
        rate_per_s: change of the value per second; 0 while held.
        age_s: time since the last accepted measurement.
        status: `measured` where this moment's measurement was accepted; `predicted` up to `COAST_S` after the
            last accepted one; `held` up to `SHOW_S`: the value stands still, the interval goes on growing.
    """

    value: float
    std: float
    rate_per_s: float
    age_s: float
    status: EstimateStatus
    absolute_half: float | None = None

    @property
    def lo95(self) -> float:
        """Lower end of the 95 % interval of repeatability: what this scan would give again."""
        return self.value - 1.96 * self.std

    @property
    def hi95(self) -> float:
        """Upper end of the 95 % interval of repeatability."""
        return self.value + 1.96 * self.std

    @property
    def absolute_lo95(self) -> float | None:
        """Lower end of the absolute 95 % interval: where an expert would put it; None where it is not known."""
        return None if self.absolute_half is None else self.value - self.absolute_half

    @property
    def absolute_hi95(self) -> float | None:
        """Upper end of the absolute 95 % interval; None where it is not known."""
        return None if self.absolute_half is None else self.value + self.absolute_half

    @property
    def shown_interval(self) -> tuple[float, float, str]:
        """Lower and upper end of the interval that is shown, and its name: the absolute one where it is known."""
        if self.absolute_half is None:
            return self.lo95, self.hi95, REPEATABILITY
        return self.value - self.absolute_half, self.value + self.absolute_half, ABSOLUTE


class Track:
    """One number followed through one unbroken segment of a stream.

    Time comes from the frames' own stamps, in seconds, and may be uneven. A stamp equal to the last one is
    another measurement of the same moment; an earlier one is a `TrackError`. Where time or scale jumps
    (`Frame.segment`), make a new track.

    What a measurement is worth, its *weight*, is its quality, and less beside a refusal, before it and after it
    (`stream.tracking.hypothesis`). The same weight counts in the filter, at the start, in the vote on a change of
    scene, and in what is held.

    Args:
        noise: what the filter assumes.
        after_refusal: the frame before the first one was refused.
    """

    def __init__(self, noise: FilterNoise, *, after_refusal: bool = False) -> None:
        self._nominal = noise
        self._level = 1.0
        self._noise = noise  # at the level learned so far
        self._time_s = -math.inf  # of the last measurement or refusal
        self._lead: Hypothesis | None = None  # what is shown, once there is enough for it
        self._rival: Hypothesis | None = None  # what contradicts it
        self._is_refused = after_refusal  # since the last measurement
        self._edge_s = -math.inf  # time of the first measurement after the last refusal

    @property
    def noise_level(self) -> float:
        """The measurements' noise as learned so far: standard deviation over the nominal one, 0.5 to 3."""
        return math.sqrt(self._level)

    def update(self, t_s: float, value: float, *, quality: float = 1.0) -> Estimate | None:
        """Takes in one measurement and returns the estimate at its time; None where nothing can be shown.

        Args:
            t_s: when the frame was taken, in seconds.
            value: what was measured on it, in the track's unit.
            quality: 0 to 1; the variance of the white noise is divided by it. One of 0 is not taken in.

        Raises:
            TrackError: time goes back, or an argument is not a number in its range.
        """
        self._check_time(t_s)
        if not (abs(value) <= LARGEST_VALUE and 0.0 <= quality <= 1.0):
            raise TrackError(
                f"value {value!r} with quality {quality!r} at {t_s} s: a track takes values up to"
                f" {LARGEST_VALUE:g} and qualities from 0 to 1; call refuse() where a frame has none"
            )
        if self._is_refused:
            self._edge_s, self._is_refused = t_s, False
        since_s, self._time_s = t_s - self._time_s, t_s
        self._take(Reading(t_s=t_s, value=value, quality=quality, edge=edge_weight(t_s - self._edge_s)), since_s)
        return self.predict(t_s)

    def refuse(self, t_s: float) -> Estimate | None:
        """Notes that a frame could not be measured, and returns the estimate at its time.

        What was measured just before it weighs less from now on.

        Raises:
            TrackError: time goes back, or is not a number.
        """
        self._check_time(t_s)
        self._time_s = t_s
        if not self._is_refused:
            self._is_refused = True
            self._lead, self._rival = self._doubted(self._lead), self._doubted(self._rival)
        return self.predict(t_s)

    def predict(self, t_s: float) -> Estimate | None:
        """Returns the estimate at `t_s` from what was measured up to then; None where nothing can be shown.

        The track does not change by it, so it may be asked for any time from the last measurement on.

        Raises:
            TrackError: `t_s` is before the last measurement, or not a number.
        """
        self._check_time(t_s)
        lead = self._lead
        if lead is None or lead.evidence <= ENOUGH or lead.age_s(t_s) > SHOW_S:
            return None
        if lead.total_weight(t_s, within_s=SHOW_S) < LEAST_WORTH:
            return None
        age_s = lead.age_s(t_s)
        held = age_s > COAST_S
        now = predict(lead.belief, age_s, noise=self._noise)
        shown = predict(lead.belief, COAST_S, noise=self._noise) if held else now
        return Estimate(
            value=float(shown.x[0]),
            std=math.sqrt(now.P[0, 0]),
            rate_per_s=0.0 if held else float(shown.x[1]),
            age_s=age_s,
            status=EstimateStatus.HELD
            if held
            else EstimateStatus.PREDICTED
            if age_s > 0.0
            else EstimateStatus.MEASURED,
        )

    def state(self, t_s: float) -> TrackState | None:
        """What is believed at `t_s`, from the last measurement or refusal on; None where nothing is followed."""
        lead = self._lead
        if lead is None:
            return None
        belief = predict(lead.belief, lead.age_s(t_s), noise=self._noise)
        return TrackState(t_s=t_s, belief=belief, noise=self._noise, begun_s=lead.first_s)

    def _check_time(self, t_s: float) -> None:
        if not math.isfinite(t_s):
            raise TrackError(f"time {t_s!r} s is not a number; give a frame's presentation time in seconds")
        if t_s < self._time_s:
            raise TrackError(f"time goes back from {self._time_s} s to {t_s} s; begin a new track in a new segment")

    def _take(self, reading: Reading, since_s: float) -> None:
        """Gives a reading to the hypothesis it agrees with; the rival takes the lead where it outweighs it.

        An outlier leaves the lead alone. Were it taken in with a small weight, a run of them at a high frame rate
        would drag the value along, and its interval would follow without having seen a reason.
        """
        lead = self._lead
        if lead is None or lead.age_s(reading.t_s) > FORGET_S:
            # The learned noise is kept: it belongs to the source, not to what was followed.
            self._lead, self._rival = Hypothesis.begin(reading, noise=self._noise), None
            return
        if lead.age_s(reading.t_s) > SHOW_S and self._edge_s > lead.last_s:
            lead = replace(lead, evidence=0.0)  # nothing was shown meanwhile: it must be found again
        self._learn(lead, reading, since_s)
        taken = lead.with_reading(reading, noise=self._noise)
        if taken is not None:
            self._lead, self._rival = taken, None
            return
        self._lead = lead
        rival = self._rival and self._rival.with_reading(reading, noise=self._noise)
        self._rival = rival = rival or Hypothesis.begin(reading, noise=self._noise)
        if rival.evidence > max(lead.total_weight(rival.first_s, within_s=VOTE_S), ENOUGH):
            self._lead, self._rival = rival, None

    def _learn(self, lead: Hypothesis, reading: Reading, since_s: float) -> None:
        """Learns the level of the noise from how far the reading is off what was expected."""
        nis = lead.normalised_innovation_squared(reading, noise=self._noise)
        self._level = update_noise_level(self._level, nis, since_s, noise=self._nominal)
        self._noise = self._nominal.at_level(self._level)

    def _doubted(self, hypothesis: Hypothesis | None) -> Hypothesis | None:
        return hypothesis and hypothesis.after_refusal(noise=self._noise)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracks:
    """The tracked values at one frame; None where nothing may be shown."""

    aop: Estimate | None
    hsd_min: Estimate | None
    hsd_perp: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackStates:
    """What the tracks believe at one frame; None where one follows nothing."""

    aop: TrackState | None
    hsd_min: TrackState | None
    hsd_perp: TrackState | None


class Tracker:
    """Follows AoP in degrees and both HSDs in pixels, frame by frame; starts anew with each segment.

    Args:
        noise: what the filter assumes of AoP, in degrees; of HSD it assumes `HSD_MM_PER_DEG` of that.
    """

    def __init__(self, noise: FilterNoise = AOP_NOISE_DEG) -> None:
        self._noise = noise
        self._segment: int | None = None
        self._aop = Track(noise)
        self._absolute = AbsoluteWidth()
        self._hsd: tuple[Track, Track] | None = None  # once a scale is known: minimum, perpendicular
        self._is_refused = False  # the frame before

    def follow(self, frame: Frame, biometry: Biometry) -> Tracks:
        """Returns the tracked values at `frame`, its own measurement taken in where it has one.

        Raises:
            TrackError: the frame's time is before the one before it in the same segment.
        """
        self._enter(frame.segment)
        t_s, quality = frame.pts_s, biometry.quality
        if biometry.reason is not None:
            return self._refused(t_s)
        if self._hsd is None and biometry.landmarks is not None:
            noise = self._noise.scaled(HSD_MM_PER_DEG * px_per_mm(frame, biometry, biometry.landmarks))
            self._hsd = self._new_track(noise), self._new_track(noise)
        self._is_refused = False
        shortest, perpendicular = self._hsd or (None, None)
        self._absolute.take(t_s, biometry.absolute_half_deg, weight=quality)
        return Tracks(
            aop=self._absolute.around(_followed(self._aop, t_s, biometry.aop_deg, quality)),
            hsd_min=_followed(shortest, t_s, biometry.hsd_min, quality),
            hsd_perp=_followed(perpendicular, t_s, biometry.hsd_perp, quality),
        )

    def refuse(self, frame: Frame) -> None:
        """Notes a frame that was refused before it was read: what was read beside it weighs less.

        Raises:
            TrackError: the frame's time is before the one before it in the same segment.
        """
        self._enter(frame.segment)
        self._refused(frame.pts_s)

    def states(self, t_s: float) -> TrackStates:
        """What is believed at the time of the frame that was just followed or refused."""
        shortest, perpendicular = self._hsd or (None, None)
        return TrackStates(
            aop=self._aop.state(t_s),
            hsd_min=shortest.state(t_s) if shortest else None,
            hsd_perp=perpendicular.state(t_s) if perpendicular else None,
        )

    def _enter(self, segment: int) -> None:
        if segment != self._segment:
            self._segment = segment
            self._aop, self._hsd = self._new_track(self._noise), None
            self._absolute = AbsoluteWidth()

    def _new_track(self, noise: FilterNoise) -> Track:
        """A refusal casts doubt on what comes next in a new segment too: it is of the view, not of the scale."""
        return Track(noise, after_refusal=self._is_refused)

    def _refused(self, t_s: float) -> Tracks:
        self._is_refused = True
        shortest, perpendicular = self._hsd or (None, None)
        return Tracks(
            aop=self._absolute.around(self._aop.refuse(t_s)),
            hsd_min=shortest.refuse(t_s) if shortest else None,
            hsd_perp=perpendicular.refuse(t_s) if perpendicular else None,
        )


def _followed(track: Track | None, t_s: float, value: float | None, quality: float) -> Estimate | None:
    if track is None:
        return None
    return track.predict(t_s) if value is None else track.update(t_s, value, quality=quality)


def px_per_mm(frame: Frame, biometry: Biometry, landmarks: Landmarks) -> float:
    """The scale that HSD's noise is given in, in the pixels HSD is given in.

    Without spacing, and on a challenge's square, it is that of a symphysis of typical length. Only noise is scaled
    with it, never a measurement: that it is rough is mended by the learned noise level.
    """
    side = find_protocol(biometry.protocol).side_px
    if frame.spacing and side is None:
        return 1.0 / frame.spacing.y_mm
    height, width = frame.image.shape
    scale_x, scale_y = (side / width, side / height) if side else (frame.aspect, 1.0)
    (x0, y0), (x1, y1) = landmarks.ps_superior, landmarks.ps_inferior
    return math.hypot((x1 - x0) * scale_x, (y1 - y0) * scale_y) / PS_LENGTH_MM
