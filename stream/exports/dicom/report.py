"""The structured report: an Enhanced SR by TID 1500, each number with its intervals and the lines it was read from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    ContainerContentItem,
    CoordinatesForMeasurement,
    DeviceObserverIdentifyingAttributes,
    EnhancedSR,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    NumContentItem,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom import Dataset, Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import UID, generate_uid

from stream.exports.dicom.captures import MANUFACTURER, MODEL, NOTICE
from stream.exports.dicom.codes import ULTRASOUND_OBSTETRIC, UNITS, private
from stream.exports.summary import push_quantities

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from collections.abc import Sequence as Several

    from stream.exports.dicom.study import Study
    from stream.exports.summary import ExportedFrame, Quantity, ReviewedFrame, RunSummary
    from stream.labour.pushes import Push

    Find = Callable[[int], tuple[Dataset, int | None, tuple[int, int]] | None]

DEVICE_UID = "2.25.331446398049470837273712853274921573118"
"""Of the program as an observer: one for all of its versions."""
LINES = {
    "aop": ("ps_superior", "ps_inferior", "tangent"),
    "aop_raw": ("ps_superior", "ps_inferior", "tangent"),
    "hsd_min": ("ps_inferior", "hsd_min_foot"),
    "hsd_perp": ("ps_inferior", "hsd_perp_foot"),
}
"""Landmarks that a quantity's polyline goes through."""
PIXEL_CENTRE = 0.5
"""DICOM counts from the corner of the first pixel, records from its centre."""


def structured_report(
    summary: RunSummary, study: Study, find: Find, *, evidence: Several[Dataset], version: str, series_number: int
) -> Dataset:
    """The report of a run.

    Args:
        summary: what is in it.
        study: it belongs to.
        find: the image that a frame of the run is in, its number there, and where in the image the frame begins; None
            of a frame whose picture is not there.
        evidence: the images referred to; empty where there are none.
        version: of the program.
        series_number: of the report's own series.
    """
    algorithm = AlgorithmIdentification(
        name=MODEL,
        version=version,
        parameters=[f"{name}: {value}" for name, value in summary.trace.items()],
        family=codes.DCM.ArtificialIntelligence,
    )
    groups = [_frame_group(frame, algorithm, find(frame.index)) for frame in summary.frames]
    groups += [_push_group(number, push, algorithm) for number, push in enumerate(summary.pushes, 1)]
    groups.append(_run_group(summary, algorithm))
    observer = ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=UID(DEVICE_UID), name=MODEL, manufacturer_name=MANUFACTURER, model_name=MODEL
        ),
    )
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=ULTRASOUND_OBSTETRIC,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=list(evidence) or None,
    )
    content[0].ContentSequence.extend(_remarks(summary))
    return EnhancedSR(
        evidence=list(evidence) or [_without_image(study)],
        record_evidence=bool(evidence),
        content=content[0],
        series_instance_uid=generate_uid(prefix=None),
        series_number=series_number,
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description="AoP and HSD, research use only",
    )


def _frame_group(
    frame: ExportedFrame, algorithm: AlgorithmIdentification, image: tuple[Dataset, int | None, tuple[int, int]] | None
) -> MeasurementsAndQualitativeEvaluations:
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=generate_uid(prefix=None), identifier=f"frame {frame.index}"),
        finding_type=private("LABOUR_PROGRESS"),
        algorithm_id=algorithm,
        session=frame.role,
        measurements=[
            *(each for quantity in frame.quantities for each in _measured(quantity, _line(quantity, frame, image))),
            Measurement(name=private("TIME"), value=frame.time_s, unit=UNITS["s"]),
        ],
    )


def _line(
    quantity: Quantity, frame: ExportedFrame, image: tuple[Dataset, int | None, tuple[int, int]] | None
) -> list[CoordinatesForMeasurement] | None:
    """The polyline that a quantity was read from, on its image."""
    names = LINES.get(quantity.name, ())
    if image is None or not names or any(name not in frame.landmarks for name in names):
        return None
    header, number, (left, top) = image
    begin = np.array([left, top]) + PIXEL_CENTRE
    points = begin + np.array([frame.landmarks[name] for name in names])
    inside = np.clip(points, 0, (int(header.Columns), int(header.Rows)))
    return [
        CoordinatesForMeasurement(
            graphic_type="POLYLINE",
            graphic_data=inside,
            source_image=SourceImageForRegion(
                referenced_sop_class_uid=header.SOPClassUID,
                referenced_sop_instance_uid=header.SOPInstanceUID,
                referenced_frame_numbers=None if number is None else [number],
            ),
        )
    ]


def _measured(quantity: Quantity, line: list[CoordinatesForMeasurement] | None = None) -> Iterator[Measurement]:
    """A number, then the ends of its intervals."""
    name = quantity.name.upper()
    yield Measurement(
        name=private(name),
        value=quantity.value,
        unit=UNITS[quantity.unit],
        finding_sites=None,
        referenced_coordinates=line,
    )
    for kind, bounds in (("REP", quantity.repeatability), ("ABS", quantity.absolute)):
        for end, value in zip(("LO95", "HI95"), bounds or (), strict=False):
            yield Measurement(
                name=private(f"{kind}_{end}"),
                value=value,
                unit=UNITS[quantity.unit],
                derivation=private(name),
            )


def _push_group(number: int, push: Push, algorithm: AlgorithmIdentification) -> MeasurementsAndQualitativeEvaluations:
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=generate_uid(prefix=None), identifier=f"push {number}"),
        finding_type=private("PUSH"),
        algorithm_id=algorithm,
        measurements=[
            Measurement(name=private("PUSH_START"), value=push.start_s, unit=UNITS["s"]),
            Measurement(name=private("PUSH_END"), value=push.end_s, unit=UNITS["s"]),
            *(each for quantity in push_quantities(push) for each in _measured(quantity)),
            Measurement(name=private("FRAMES_MEASURED"), value=push.measured, unit=UNITS["1"]),
        ],
        qualitative_evaluations=[
            QualitativeEvaluation(
                name=private("PUSH_ORIGIN"), value=private("PUSH_MARKED" if push.marked else "PUSH_FOUND")
            )
        ],
    )


def _run_group(summary: RunSummary, algorithm: AlgorithmIdentification) -> MeasurementsAndQualitativeEvaluations:
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=generate_uid(prefix=None), identifier=f"run {summary.run_id}"),
        finding_type=private("RUN"),
        algorithm_id=algorithm,
        measurements=[
            Measurement(
                name=private("FRAMES_IN" if name == "frames_in" else f"FRAMES_{name.upper()}"),
                value=count,
                unit=UNITS["1"],
            )
            for name, count in summary.counts.items()
        ],
    )


def _remarks(summary: RunSummary) -> Iterator[ContainerContentItem | TextContentItem]:
    """What the template has no place for: the notice, marks, and what a person said of frames."""
    yield _text("NOTICE", f"{NOTICE}.", "CONTAINS")
    for notice in summary.notices:
        yield _text("NOTICE", notice, "CONTAINS")
    for name, items in (("MARKS", map(_mark, summary.run.marks)), ("REVIEWS", map(_review, summary.reviews))):
        if inside := list(items):
            container = ContainerContentItem(name=private(name), relationship_type="CONTAINS")
            container.ContentSequence = Sequence(inside)
            yield container


def _mark(mark: Mapping[str, Any]) -> TextContentItem:
    words = [str(mark.get("kind") or "mark"), str(mark.get("note") or "")]
    item = _text("MARK", ": ".join(word for word in words if word), "CONTAINS")
    item.ContentSequence = Sequence([_number("TIME", float(mark["pts_s"]), "s")])
    return item


def _review(review: ReviewedFrame) -> TextContentItem:
    """What a person said of a frame; who, when, and the automatic values beside it."""
    item = _text("REVIEW", ": ".join(word for word in (review.kind, review.note) if word), "CONTAINS")
    item.ContentSequence = Sequence(
        [
            _text("REVIEWER", review.by, "HAS PROPERTIES"),
            _text("REVIEWED", review.edited_utc, "HAS PROPERTIES"),  # readers of DICOM's own form lose the time zone
            _number("FRAME", review.index, "1"),
            _number("TIME", review.time_s, "s"),
            *(_number(each.name.upper(), each.value, each.unit) for each in (*review.values, *review.automatic)),
            *([_text("REASON", review.reason, "HAS PROPERTIES")] if review.reason else []),
        ]
    )
    return item


def _text(name: str, value: str, relation: str) -> TextContentItem:
    return TextContentItem(name=private(name), value=value, relationship_type=relation)


def _number(name: str, value: float, unit: str) -> NumContentItem:
    return NumContentItem(name=private(name), value=value, unit=UNITS[unit], relationship_type="HAS PROPERTIES")


def _without_image(study: Study) -> Dataset:
    """Patient and study, for a report that refers to no image."""
    stub = Dataset()
    stub.update(study.attributes)
    stub.SeriesInstanceUID, stub.SOPInstanceUID = generate_uid(prefix=None), generate_uid(prefix=None)
    stub.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    return stub
