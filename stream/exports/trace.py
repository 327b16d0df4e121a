"""Where the numbers of a frame come from: record, landmarks, mask, source, model and configuration, with hashes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from stream.common.errors import OptionError, RunUnreadable
from stream.exports.summary import run_id_of
from stream.exports.verification import read_log
from stream.labour.recorded_run import TABLE
from stream.labour.run_masks import RunMasks
from stream.outputs.masks import MASKS_NAME
from stream.outputs.run_log import configuration_sha256

if TYPE_CHECKING:
    from stream.labour.recorded_run import RecordedRun


def trace_frame(run: RecordedRun, index: int) -> dict[str, Any]:
    """What the numbers of a frame rest on, as plain JSON values.

    The source's hash is that of the log; a mask that was not kept is null.

    Raises:
        OptionError: the run has no such frame.
        RunUnreadable: a file of it is damaged.
    """
    if not 0 <= index < len(run):
        raise OptionError(f"--frame {index}: the run has the frames 0 to {len(run) - 1}")
    record = run.table.record(index)
    return {
        "run": run_id_of(run),
        "frame": index,
        "record": {"file": TABLE, "line": index + 1, "values": record},
        "landmarks_px": record.get("landmarks_px"),
        "mask": _mask(run, index),
        "source_sha256": _source(run),
        "model": dict(run.model),
        "engine": record.get("engine") or run.manifest.get("engine"),
        "configuration_sha256": configuration_sha256(run.manifest),
        "options": dict(run.options),
        "versions": run.manifest.get("versions"),
    }


def _mask(run: RecordedRun, index: int) -> dict[str, Any] | None:
    """Where the mask of a frame is, and the hash of its labels."""
    if not (run.folder / MASKS_NAME).exists():
        return None
    masks = RunMasks(run)
    if index not in masks:
        return None
    labels = masks[index].labels
    return {
        "file": MASKS_NAME,
        "size": [labels.shape[1], labels.shape[0]],
        "labels_sha256": hashlib.sha256(labels.tobytes()).hexdigest(),
    }


def _source(run: RecordedRun) -> str | None:
    """The hash of the recording that was run, as the log has it; None of a live feed, and without a log."""
    try:
        entries, _ = read_log(run.folder)
    except RunUnreadable:
        return None
    ends = [entry.get("source_sha256") for entry in entries if entry.get("event") == "end"]
    return ends[-1] if ends else None
