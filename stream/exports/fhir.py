"""A finished run as FHIR: a Bundle of Observations (R4), one for each number, without a patient."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from importlib import metadata
from typing import TYPE_CHECKING, Any

from stream.exports.codes import PRIVATE, SCHEME_UID
from stream.exports.summary import push_quantities
from stream.outputs.manifest import NOTICE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stream.exports.summary import ExportedFrame, Quantity, ReviewedFrame, RunSummary
    from stream.labour.pushes import Push

    Resource = dict[str, Any]

SYSTEM = f"urn:oid:{SCHEME_UID}"
UCUM = "http://unitsofmeasure.org"
UNITS = {"deg": ("deg", "deg"), "mm": ("mm", "mm"), "px": ("pixels", "{pixels}"), "s": ("s", "s")}
"""How a unit is written, and its UCUM code."""
CATEGORY: dict[str, Any] = {
    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "imaging"}]
}
DEVICE = "partum"


def fhir_bundle(summary: RunSummary) -> Resource:
    """A collection of Observations: of each exported frame, push and review, and of the run's counts of frames.

    The subject is left out: whoever files them says whose they are. A replayed recording does not say when it was
    scanned, so its Observations have no `effective`.
    """
    resources = [
        *(each for frame in summary.frames for each in _of_frame(summary, frame)),
        *(each for number, push in enumerate(summary.pushes, 1) for each in _of_push(summary, number, push)),
        *(_of_review(summary, review) for review in summary.reviews),
        *_counts(summary),
    ]
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": _instant(summary),
        "entry": [{"fullUrl": f"urn:uuid:{each['id']}", "resource": each} for each in resources],
    }


def _observation(
    summary: RunSummary, key: str, code: str, *, time_s: float | None, components: Sequence[Resource]
) -> Resource:
    """An Observation without its value."""
    found: Resource = {
        "resourceType": "Observation",
        "id": _id(summary, key),
        "contained": [_device(summary)],
        "status": "preliminary",
        "category": [CATEGORY],
        "code": _concept(code),
        "issued": _instant(summary),
        "note": [{"text": each} for each in (NOTICE, *summary.notices)],
        "device": {"reference": f"#{DEVICE}"},
        "component": [*components, *_trace(summary)],
    }
    if summary.run.is_live and time_s is not None:
        found["effectiveDateTime"] = (summary.run.started + timedelta(seconds=time_s)).isoformat()
    return found


def _of_frame(summary: RunSummary, frame: ExportedFrame) -> Iterator[Resource]:
    where: list[Resource] = [
        {"code": _concept("FRAME"), "valueInteger": frame.index},
        {"code": _concept("TIME"), "valueQuantity": _amount(frame.time_s, "s")},
    ]
    for quantity in frame.quantities:
        found = _observation(
            summary,
            f"frame {frame.index} {quantity.name}",
            quantity.name.upper(),
            time_s=frame.time_s,
            components=[*_intervals(quantity), *where],
        )
        yield found | {"valueQuantity": _amount(quantity.value, quantity.unit)}


def _of_push(summary: RunSummary, number: int, push: Push) -> Iterator[Resource]:
    """The levels of a push, then the push that has them as members."""
    members = []
    for quantity in push_quantities(push):
        found = _observation(
            summary,
            f"push {number} {quantity.name}",
            quantity.name.upper(),
            time_s=push.start_s,
            components=_intervals(quantity),
        )
        members.append({"reference": f"urn:uuid:{found['id']}"})
        yield found | {"valueQuantity": _amount(quantity.value, quantity.unit)}
    times = [
        {"code": _concept(code), "valueQuantity": _amount(value, "s")}
        for code, value in (("PUSH_START", push.start_s), ("PUSH_END", push.end_s))
    ]
    origin = {
        "code": _concept("PUSH_ORIGIN"),
        "valueCodeableConcept": _concept("PUSH_MARKED" if push.marked else "PUSH_FOUND"),
    }
    whole = _observation(summary, f"push {number}", "PUSH", time_s=push.start_s, components=[*times, origin])
    if not members:
        yield whole | {"valueInteger": number}
        return
    yield whole | {"hasMember": members, "valueInteger": number}


def _of_review(summary: RunSummary, review: ReviewedFrame) -> Resource:
    """What a person said of a frame, with what was read automatically beside it; who, and when."""
    components: list[Resource] = [
        *(
            {"code": _concept(each.name.upper()), "valueQuantity": _amount(each.value, each.unit)}
            for each in (*review.values, *review.automatic)
        ),
        {"code": _concept("FRAME"), "valueInteger": review.index},
        {"code": _concept("TIME"), "valueQuantity": _amount(review.time_s, "s")},
    ]
    if review.reason:
        components.append({"code": _concept("REASON"), "valueString": review.reason})
    key = f"review {review.index} {review.edited_utc}"
    found = _observation(summary, key, "REVIEW", time_s=review.time_s, components=components)
    found |= {"issued": review.edited_utc, "performer": [{"display": review.by}], "valueString": review.kind}
    if review.note:
        found["note"] = [*found["note"], {"authorString": review.by, "text": review.note}]
    return found


def _counts(summary: RunSummary) -> Iterator[Resource]:
    for name, count in summary.counts.items():
        code = "FRAMES_IN" if name == "frames_in" else f"FRAMES_{name.upper()}"
        yield _observation(summary, name, code, time_s=0.0, components=()) | {"valueInteger": count}


def _intervals(quantity: Quantity) -> list[Resource]:
    return [
        {
            "code": _concept(code),
            "valueRange": {"low": _amount(bounds[0], quantity.unit), "high": _amount(bounds[1], quantity.unit)},
        }
        for code, bounds in (("REP_95", quantity.repeatability), ("ABS_95", quantity.absolute))
        if bounds
    ]


def _trace(summary: RunSummary) -> list[Resource]:
    """What the number leads back to."""
    facts = (
        ("RUN", summary.run_id),
        ("MODEL", str(summary.run.model.get("sha256"))),
        ("CONFIGURATION", summary.configuration_sha256),
        ("PROTOCOL", summary.run.protocol),
    )
    return [{"code": _concept(code), "valueString": value} for code, value in facts]


def _device(summary: RunSummary) -> Resource:
    return {
        "resourceType": "Device",
        "id": DEVICE,
        "deviceName": [{"name": "Partum", "type": "model-name"}],
        "version": [{"value": metadata.version("partum")}, {"value": f"model {summary.run.model.get('name')}"}],
    }


def _concept(code: str) -> Resource:
    return {"coding": [{"system": SYSTEM, "code": code, "display": PRIVATE[code]}], "text": PRIVATE[code]}


def _amount(value: float, unit: str) -> Resource:
    shown, code = UNITS[unit]
    return {"value": round(value, 6), "unit": shown, "system": UCUM, "code": code}


def _id(summary: RunSummary, key: str) -> str:
    """The same for the same number of the same run: to file it twice changes nothing."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{SCHEME_UID} {summary.run_id} {key}"))


def _instant(summary: RunSummary) -> str:
    """When the numbers were there."""
    finished = summary.run.manifest.get("finished_utc")
    return datetime.fromisoformat(finished).isoformat() if finished else summary.run.started.isoformat()
