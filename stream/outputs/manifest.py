"""`run.json`: what ran, with what, and how it ended; written at the start, replaced at the end."""

from __future__ import annotations

import json
import os
import platform
import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING

from stream.common.atomic_file import write_atomic, write_error
from stream.common.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from engines.base import Engine
    from stream.sources.base import SourceInfo

SCHEMA = "partum.run/1"
NOTICE = "Research use only, not a medical device."
RESERVED_BYTES = 1 << 16
"""Of the disk, for the end of `run.json`: a run that ends because the disk is full must be able to say so."""
LONGEST_ERROR = 2000
PACKAGES = ("partum", "av", "numpy", "opencv-python-headless", "openvino", "onnxruntime", "torch")


class Manifest:
    """The record of a run. `status` is `running` until `finish` says `complete`, `interrupted` or `failed`."""

    def __init__(self, path: Path, *, source: SourceInfo, engine: Engine, options: dict[str, object]) -> None:
        self._path = path
        spec = engine.spec
        self._facts: dict[str, object] = {
            "schema": SCHEMA,
            "notice": NOTICE,
            "run_id": uuid.uuid4().hex,
            "status": "running",
            "error": None,
            "started_utc": now_utc(),
            "finished_utc": None,
            "source": {
                "uri": source.uri,
                "kind": source.kind,
                "width": source.width,
                "height": source.height,
                "frame_count_declared": source.frame_count,
                "frame_rate_declared_hz": float(source.frame_rate_hz) if source.frame_rate_hz else None,
                "spacing_mm": [source.spacing.x_mm, source.spacing.y_mm] if source.spacing else None,
                "note": source.note,
            },
            "options": options,
            "engine": engine.name,
            "engine_facts": asdict(engine.description),
            "engine_notices": list(engine.notices),
            "model": {"name": spec.name, "sha256": spec.sha256, "plane_threshold": spec.plane_threshold},
            "engine_mark": spec.warning or None,
            **environment_facts(),
        }
        self._begin()

    @property
    def facts(self) -> Mapping[str, object]:
        """What is written."""
        return self._facts

    def finish(self, status: str, *, error: str | None, results: dict[str, object]) -> None:
        """Replaces the file by its final form, in the space that it has where there is no other.

        Raises:
            OutputError: it cannot be written.
        """
        self._facts |= {"status": status, "error": error, "finished_utc": now_utc(), "results": results}
        try:
            write_json(self._path, self._facts)
        except OutputError:
            self._finish_in_place()

    def _begin(self) -> None:
        """Writes the first form, and behind it blanks that keep space on the disk for the last."""
        write_atomic(self._path, _as_json(self._facts).ljust(RESERVED_BYTES) + b"\n")

    def _finish_in_place(self) -> None:
        """The disk is full: the last form takes the place of the first, without the results where they do not fit."""
        data = _as_json(self._facts)
        if len(data) > RESERVED_BYTES:
            data = _as_json(self._facts | {"results": None})
        if len(data) > RESERVED_BYTES:
            data = _as_json(self._facts | {"results": None, "error": str(self._facts["error"])[:LONGEST_ERROR]})
        try:
            with self._path.open("r+b") as file:
                file.write(data)
                file.flush()
                os.ftruncate(file.fileno(), len(data))
        except OSError as error:
            raise write_error(self._path, error) from error


def write_json(path: Path, facts: dict[str, object]) -> None:
    """Writes strict JSON, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    write_atomic(path, _as_json(facts))


def _as_json(facts: dict[str, object]) -> bytes:
    return (json.dumps(facts, indent=2, allow_nan=False) + "\n").encode()


def environment_facts() -> dict[str, object]:
    """What a result was made with and on: `versions` of the packages that matter, and the `machine`."""
    return {
        "versions": {name: _version(name) for name in PACKAGES},
        "machine": {
            "system": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "python": platform.python_version(),
        },
    }


def now_utc() -> str:
    """The time of day, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
