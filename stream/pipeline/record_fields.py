"""The record that is written for every frame, defined once: JSON Lines, CSV, JSON Schema, data dictionary follow it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from stream.frames.frame import SegmentCause
from stream.frames.reason import Reason, ReasonKind
from stream.measurement.biometry import LANDMARK_NAMES
from stream.measurement.protocols import PROTOCOLS
from stream.pipeline.record import UNCALIBRATED, WITHHELD_BY_PROTOCOL, FrameState, Measurement
from stream.pipeline.record_field import (
    BOOLEAN_OR_NULL,
    COUNT,
    NUMBER,
    NUMBER_OR_NULL,
    SHARE_OR_NULL,
    TEXT_OR_NULL,
    RecordField,
    one_of,
    pair_of,
    spread_pair,
)
from stream.tracking.tracker import EstimateStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from stream.frames.regions import Point
    from stream.tracking.tracker import Estimate

RECORD_SCHEMA = "partum.measurement/2"
"""Since 2 the tracked values of frames whose own reading was not accepted stand in fields of their own."""
CLOCK_FIELDS = ("latency_ms",)
"""The fields of a record that two runs over the same recording do not share."""
DROP_REASONS = [reason for reason in Reason if reason.kind is ReasonKind.DROPPED]


def _xy(point: Point | None) -> list[float] | None:
    return [round(point[0], 3), round(point[1], 3)] if point else None


def _rounded(value: float | None, digits: int = 3, *, scale: float | None = 1.0) -> float | None:
    return None if value is None or scale is None else round(value * scale, digits)


_NOT_MEASURED = frozenset({FrameState.REFUSED, FrameState.DROPPED})
_DROPPED = frozenset({FrameState.DROPPED})
_STATUSES = one_of([*EstimateStatus], nullable=True)


REPEATABLE = "repeatability, what this scan would give again; not a bias that all frames of a patient share."


def _absolute_bounds(name: str, unit: str) -> Iterator[tuple[str, str, str]]:
    for end, word in (("lo95", "Lower"), ("hi95", "Upper")):
        yield (
            f"absolute_{end}",
            f"{name}_absolute_{end}",
            f"{word} end of the absolute 95 % interval of {name}_{unit}: where an expert would put it, by the errors on"
            " people no network learned from; null where the model does not know it.",
        )


def _tracked(name: str, meaning: str, unit: str, *, track: str, has_absolute: bool = False) -> Iterator[RecordField]:
    """The filtered value and its 95 % intervals, in `unit`; null where there is no track.

    What does not rest on this frame's own reading stands in fields of its own, so that nobody who reads a column takes
    it for measured.
    """

    def number(measurement: Measurement, bound: str, *, is_measured: bool) -> float | None:
        estimate: Estimate | None = getattr(measurement, name)
        if estimate is None or (estimate.status is EstimateStatus.MEASURED) != is_measured:
            return None
        return _rounded(getattr(estimate, bound), scale=measurement.mm_per_px if unit == "mm" else 1.0)

    own = f"{name}_{unit}"
    for kind, text in (
        ("", f"{meaning}, where this frame's own reading was accepted; null otherwise."),
        (
            "_extrapolated",
            f"In place of {own} where this frame has no accepted reading: predicted from the last one, then held"
            f" (see {track}); null where nothing may be shown.",
        ),
    ):
        for bound, stem, said in (
            ("value", f"{name}{kind}", text),
            ("lo95", f"{name}{kind}_lo95", f"Lower end of the 95 % interval of {name}{kind}_{unit}: {REPEATABLE}"),
            ("hi95", f"{name}{kind}_hi95", f"Upper end of the 95 % interval of {name}{kind}_{unit}: {REPEATABLE}"),
            *(_absolute_bounds(f"{name}{kind}", unit) if has_absolute else ()),
        ):
            yield RecordField(
                name=f"{stem}_{unit}",
                meaning=said,
                form=NUMBER_OR_NULL,
                value=partial(number, bound=bound, is_measured=not kind),
                null_in=_DROPPED if kind else _NOT_MEASURED,
            )


def _raw_absolute() -> Iterator[RecordField]:
    """Where an expert would put AoP, by this frame alone: all that a still picture has."""

    def number(measurement: Measurement, *, sign: int) -> float | None:
        read = measurement.biometry
        if read is None or read.aop_deg is None or read.absolute_half_deg is None:
            return None
        return _rounded(read.aop_deg + sign * read.absolute_half_deg)

    for sign, (_, name, meaning) in zip((-1, 1), _absolute_bounds("aop_raw", "deg"), strict=True):
        yield RecordField(
            name=f"{name}_deg",
            meaning=meaning,
            form=NUMBER_OR_NULL,
            value=partial(number, sign=sign),
            null_in=_NOT_MEASURED,
        )


def _length(name: str, meaning: str) -> Iterator[RecordField]:
    """HSD in one of its two forms: read and tracked, in pixels and in millimetres."""

    def read(measurement: Measurement, *, in_mm: bool) -> float | None:
        value: float | None = getattr(measurement.biometry, name) if measurement.biometry else None
        return _rounded(value, scale=measurement.mm_per_px if in_mm else 1.0)

    pixels = "; ".join(f"{each.hsd_px} ({each.name})" for each in PROTOCOLS.values() if each.hsd_px)
    for unit, of_what in (
        ("px", f"in pixels: {pixels}"),
        ("mm", "in millimetres; null without pixel spacing and under the challenge protocols"),
    ):
        yield RecordField(
            name=f"{name}_raw_{unit}",
            meaning=f"Head-symphysis distance, {meaning}, read from this frame alone, {of_what}.",
            form=NUMBER_OR_NULL,
            value=partial(read, in_mm=unit == "mm"),
            null_in=_NOT_MEASURED,
        )
        yield from _tracked(name, f"The same, tracked, in {unit}", unit, track=f"{name}_track")


def _status(name: str, value: Callable[[Measurement], Estimate | None], meaning: str) -> RecordField:
    def status(measurement: Measurement) -> str | None:
        estimate = value(measurement)
        return str(estimate.status) if estimate else None

    return RecordField(name=name, meaning=meaning, form=_STATUSES, value=status, null_in=_DROPPED)


def _spread_landmarks(value: object) -> list[object]:
    points = value if isinstance(value, dict) else {}
    return [number for name in LANDMARK_NAMES for number in points.get(name) or (None, None)]


RECORD_FIELDS: tuple[RecordField, ...] = (
    RecordField(
        name="schema",
        meaning="Version of this record's form.",
        form={"const": RECORD_SCHEMA},
        value=lambda measurement: RECORD_SCHEMA,
    ),
    RecordField(
        name="index",
        meaning="Number of the frame in the order read, from 0, without gaps.",
        form=COUNT,
        value=lambda measurement: measurement.frame.index,
    ),
    RecordField(
        name="pts_s",
        meaning="Presentation time of the frame in seconds from the start of the stream.",
        form=NUMBER,
        value=lambda measurement: round(measurement.frame.pts_s, 6),
    ),
    RecordField(
        name="segment",
        meaning="Number of the unbroken run of frames of one geometry that the frame belongs to; tracks start anew"
        " where it grows.",
        form=COUNT,
        value=lambda measurement: measurement.frame.segment,
    ),
    RecordField(
        name="segment_cause",
        meaning="Why that segment began: the first (start), another connection, a loop's seam, a jump in time, or a"
        " change of size, pixel aspect, scale, depth (the picture was zoomed), sector (found elsewhere on the screen),"
        " pane, orientation (flipped or turned), or a cut to another picture altogether.",
        form=one_of([*SegmentCause]),
        value=lambda measurement: str(measurement.frame.segment_cause),
    ),
    RecordField(
        name="state",
        meaning="What became of the frame. Every frame read has exactly one state.",
        form=one_of([*FrameState]),
        value=lambda measurement: str(measurement.state),
    ),
    RecordField(
        name="reason",
        meaning="Why a frame has no reading of its own: refused frames, or dropped ones"
        f" ({', '.join(DROP_REASONS)}); null for measured frames.",
        form=one_of([*Reason], nullable=True),
        value=lambda measurement: str(measurement.reason) if measurement.reason else None,
        null_in=frozenset({FrameState.MEASURED}),
        form_in={FrameState.REFUSED: {"type": "string"}, FrameState.DROPPED: one_of(DROP_REASONS)},
    ),
    RecordField(
        name="plane_probability",
        meaning="Probability that the frame is a standard plane, 0 to 1, by the model's plane gate: of a model with a"
        " second look calibrated out of fold, for as many standard planes as others, else the plane head's own. Of a"
        " frame that an early exit did not decode, the plane head's. Null where the network was not asked.",
        form=SHARE_OR_NULL,
        value=lambda measurement: _rounded(measurement.plane_probability, 4),
        null_in=_DROPPED,
    ),
    RecordField(
        name="protocol",
        meaning="How AoP and HSD were measured.",
        form=one_of([*PROTOCOLS]),
        value=lambda measurement: measurement.protocol,
    ),
    RecordField(
        name="aop_raw_deg",
        meaning="Angle of progression read from this frame alone, degrees.",
        form=NUMBER_OR_NULL,
        value=lambda measurement: _rounded(measurement.biometry.aop_deg if measurement.biometry else None),
        null_in=_NOT_MEASURED,
        form_in={FrameState.MEASURED: NUMBER},
    ),
    *_raw_absolute(),
    *_tracked(
        "aop",
        "Tracked angle of progression, degrees",
        "deg",
        track="track",
        has_absolute=True,
    ),
    *_length("hsd_min", "shortest distance from the inferior PS end to the head's outline"),
    *_length(
        "hsd_perp",
        "distance from the inferior PS end to the head along the infrapubic line (perpendicular to the PS axis)",
    ),
    _status(
        "track",
        lambda measurement: measurement.aop,
        "Where the AoP comes from: measured is this frame (aop_deg); predicted goes on from the last accepted reading,"
        " up to 0.5 s, and held is that value up to 1 s (aop_extrapolated_deg); null where there is none.",
    ),
    RecordField(
        name="track_age_s",
        meaning="Time since the last accepted AoP reading, seconds.",
        form={**NUMBER_OR_NULL, "minimum": 0},
        value=lambda measurement: _rounded(measurement.aop.age_s if measurement.aop else None),
        null_in=_DROPPED,
    ),
    _status(
        "hsd_min_track",
        lambda measurement: measurement.hsd_min,
        "Likewise of hsd_min: its filter may take a reading for an outlier where that of AoP does not.",
    ),
    _status("hsd_perp_track", lambda measurement: measurement.hsd_perp, "Likewise of hsd_perp."),
    RecordField(
        name="landmarks_px",
        meaning="Points [x, y] the reading was taken from, in pixels of the frame, y down, pixel centres at integers;"
        " null where not measured. hsd_perp_foot is null where the head does not cross the infrapubic line.",
        form={
            "type": ["object", "null"],
            "properties": {name: pair_of(NUMBER, nullable=True) for name in LANDMARK_NAMES},
            "required": list(LANDMARK_NAMES),
            "additionalProperties": False,
        },
        value=lambda measurement: (
            {name: _xy(getattr(measurement.landmarks, name)) for name in LANDMARK_NAMES}
            if measurement.landmarks
            else None
        ),
        null_in=_NOT_MEASURED,
        form_in={FrameState.MEASURED: {"type": "object"}},
        columns=tuple(f"{name}_{axis}_px" for name in LANDMARK_NAMES for axis in "xy"),
        spread=_spread_landmarks,
    ),
    RecordField(
        name="mirrored",
        meaning="Whether the picture shows the PS on the right; null where not measured.",
        form=BOOLEAN_OR_NULL,
        value=lambda measurement: (
            measurement.biometry.mirrored if measurement.biometry and measurement.reads_orientation else None
        ),
        null_in=_NOT_MEASURED,
    ),
    RecordField(
        name="quality",
        meaning="Quality of the mask's shape, 0 to 1; where the model says what error to expect, times the expected"
        " error of its surest frames over that of this frame. Null where not measured.",
        form=SHARE_OR_NULL,
        value=lambda measurement: _rounded(
            measurement.biometry.quality if measurement.biometry and measurement.landmarks else None
        ),
        null_in=_NOT_MEASURED,
    ),
    RecordField(
        name="aop_expected_error_deg",
        meaning="Absolute error of aop_raw_deg that the model expects of this frame, degrees; null where not measured,"
        " or where the model does not say.",
        form={**NUMBER_OR_NULL, "minimum": 0},
        value=lambda measurement: _rounded(measurement.biometry.expected_error_deg if measurement.biometry else None),
        null_in=_NOT_MEASURED,
    ),
    RecordField(
        name="hsd_mm_withheld",
        meaning="Why a measured frame has no HSD in millimetres: its pixel spacing is not known, or the protocol"
        " defines none.",
        form=one_of([UNCALIBRATED, WITHHELD_BY_PROTOCOL], nullable=True),
        value=lambda measurement: measurement.hsd_mm_withheld,
        null_in=_NOT_MEASURED,
    ),
    RecordField(
        name="origin_px",
        meaning="Column and row, in the picture the source gave, of the frame's first pixel: [0, 0] unless it was cut"
        " to the sector.",
        form=pair_of(COUNT),
        value=lambda measurement: list(measurement.frame.origin),
        columns=("origin_x_px", "origin_y_px"),
        spread=spread_pair,
    ),
    RecordField(
        name="spacing_mm",
        meaning="Millimetres per pixel of the frame, [x, y]; null where unknown.",
        form=pair_of({**NUMBER, "exclusiveMinimum": 0}, nullable=True),
        value=lambda measurement: (
            [measurement.frame.spacing.x_mm, measurement.frame.spacing.y_mm] if measurement.frame.spacing else None
        ),
        columns=("spacing_x_mm", "spacing_y_mm"),
        spread=spread_pair,
    ),
    RecordField(
        name="spacing_note",
        meaning="Why spacing_mm is null though a scale was given, read before, or declared for another part of the"
        " picture; null otherwise.",
        form=TEXT_OR_NULL,
        value=lambda measurement: measurement.frame.spacing_note or None,
    ),
    RecordField(
        name="engine",
        meaning="What ran the network on this frame: back-end, precision, device. It changes where an engine fails and"
        " another goes on; null where the network was not asked.",
        form=TEXT_OR_NULL,
        value=lambda measurement: measurement.engine or None,
        null_in=_DROPPED,
        form_in={FrameState.MEASURED: {"type": "string"}},
    ),
    RecordField(
        name="engine_mark",
        meaning="Why the engine that ran the network was not accepted, where it was forced to run; null otherwise.",
        form=TEXT_OR_NULL,
        value=lambda measurement: measurement.engine_warning or None,
    ),
    RecordField(
        name="latency_ms",
        meaning="Time from the frame's capture to its result, milliseconds. The only field that differs between two"
        " runs over one recording.",
        form={**NUMBER, "minimum": 0},
        value=lambda measurement: round(measurement.latency_ms, 3),
    ),
)
"""What is written for every frame, in order. A new field is added here, and nowhere else."""


def record_of(measurement: Measurement) -> dict[str, object]:
    """The line written to `measurements.jsonl`: plain JSON values, None where there is no value."""
    return {field.name: field.value(measurement) for field in RECORD_FIELDS}


def flatten(record: Mapping[str, object]) -> dict[str, object]:
    """The row of CSV: nested fields of a record are spread over columns, the same ones for every record."""
    return {
        column: cell
        for field in RECORD_FIELDS
        for column, cell in zip(field.columns or (field.name,), field.spread(record[field.name]), strict=True)
    }
