"""What was aimed at on a GPU, what was reached, and the table of both. The standard library alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FRAME_MS = 1.0
"""From a 1920 x 1080 frame in the host's memory to its labels there, one frame at a time, median."""
STREAMS_FPS = 5000.0
"""Frames a second over several streams that share the engine, fitting into the network's input included."""
SHARE_ALONE = 0.9
"""Of the frames a second that the engine alone reaches by device events, copies included."""


def targets(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The aims, each with the best value of an accepted engine; None where nothing was measured."""
    frame = _best(results, lambda found: -found["frame_to_labels_ms"]["p50"])
    streams = _best(results, lambda found: max(found["streams_fps"].values()))
    share = _best(results, lambda found: found["overlapped"]["share_of_engine_alone"])
    rows = [
        ("from frame to labels, batch 1, median, ms", "at most", FRAME_MS, frame and (-frame[0], frame[1])),
        ("frames per second over streams", "at least", STREAMS_FPS, streams),
        ("share of the engine alone by device events", "at least", SHARE_ALONE, share),
    ]
    return [
        {
            "what": what,
            "wanted": f"{bound} {limit:g}",
            "reached": best and round(best[0], 4),
            "by": best and best[1],
            "met": best and (best[0] <= limit if bound == "at most" else best[0] >= limit),
        }
        for what, bound, limit, best in rows
    ]


_PEAK_OF = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def share_of_arithmetic(results: Mapping[str, Any]) -> dict[str, float]:
    """How near the device comes to its own peak of large matrix products, in the largest batch, by step.

    Convention: operations of the batch over (time by device events times the peak of the engine's precision).
    """
    peaks = results.get("peaks", {}).get("operations_per_s", {})
    shares = {}
    for name, found in results.items():
        peak = peaks.get(_PEAK_OF.get(found.get("precision", ""), ""))
        timed = {int(batch): ms for batch, ms in (found.get("device_ms") or {}).items()}
        if peak and timed and found.get("operations_per_frame"):
            batch = max(timed)
            shares[name] = round(found["operations_per_frame"] * batch / (timed[batch] / 1e3 * peak), 4)
    return shares


def accepted(results: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Steps that measured an engine which was accepted, by name."""
    for name, found in results.items():
        if found.get("acceptance", {}).get("accepted"):
            yield name, found


def _best(results: Mapping[str, Any], value: Any) -> tuple[float, str] | None:
    """The greatest value among the engines that have one, and whose it is."""
    found = []
    for name, step in accepted(results):
        try:
            found.append((float(value(step)), name))
        except (KeyError, TypeError, ValueError):
            continue  # not measured
    return max(found, default=None)


def summary(content: Mapping[str, Any]) -> str:
    """A short table, last."""
    lines = [f"GPU: {content['machine'].get('gpu') or 'none'}"]
    if content["rehearsal"]:
        lines.append("A rehearsal on the CPU: no number below is of a GPU.")
    for name, found in content["results"].items():
        if "acceptance" not in found:
            continue
        delta = (found["acceptance"]["aop_delta_deg"].get("robust") or {}).get("p95")
        words = [
            "accepted" if found["acceptance"]["accepted"] else "REFUSED",
            f"AoP p95 {delta:.2f} deg" if delta is not None else "",
            _of(found, "latency_ms", "p50", "network {:.3f} ms"),
            _of(found, "frame_to_labels_ms", "p50", "frame to labels {:.3f} ms"),
            _of(found, "device_ms", "1", "device {:.3f} ms"),
            _of(found, "overlapped", "frames_per_second", "{:.0f} frames/s in large batches"),
            f"{max(found['streams_fps'].values()):.0f} frames/s over streams" if found.get("streams_fps") else "",
        ]
        lines.append(f"{name:16} {', '.join(word for word in words if word)}")
    for row in content.get("targets", ()):
        reached = "not measured" if row["reached"] is None else f"{row['reached']:g} ({row['by']})"
        verdict = {True: "met", False: "MISSED", None: "-"}[row["met"]]
        lines.append(f"{verdict:8} {row['what']}: {row['wanted']}, reached {reached}")
    return "\n".join(lines)


def _of(found: Mapping[str, Any], table: str, key: str, words: str) -> str:
    value = (found.get(table) or {}).get(key)
    return "" if value is None else words.format(value)
