"""Finished runs of known content, made by the real pipeline from drawn pictures, within a fraction of a second."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2

from stream.api.preprocessing import preprocessor_for
from stream.app.options.session_options import SessionOptions
from stream.app.run import SourceRun, open_recording
from stream.frames.frame import PixelSpacing
from stream.labour.recorded_run import RecordedRun
from tests.fakes.doubles import GreyLevelEngine, picture

if TYPE_CHECKING:
    from pathlib import Path

SPACING = PixelSpacing(0.5, 0.5)
SHA256 = "5e" * 32
"""Of the model that measures them, which is no file."""


def picture_folder(folder: Path, count: int, *, off_plane: range = range(0)) -> Path:
    """PNG files of `picture` whose head moves on by 0.2 pixels each; 25 a second when they are played."""
    folder.mkdir(parents=True)
    for index in range(count):
        image = picture(62 + 0.2 * (index % 40), standard=index not in off_plane)
        cv2.imwrite(str(folder / f"{index:04d}.png"), image)
    return folder


def run_of(source: Path, out: Path, **options: Any) -> Path:
    """Runs a recording of drawn pictures; returns the folder of its results."""
    defaults: dict[str, Any] = {"sector": "whole", "overlay": False, "spacing": SPACING}
    asked = SessionOptions(source=str(source), out=out, **defaults | options)
    frames = open_recording(asked)
    preprocessor = preprocessor_for(
        asked.uri, frames, protocol=asked.protocol, options=asked.preprocessing, spacing=asked.spacing
    )
    engine = GreyLevelEngine()
    engine.spec = replace(engine.spec, sha256=SHA256)
    with SourceRun(asked, engine, source=frames, preprocessor=preprocessor) as run:
        run.run(lambda: None)
    return out


def finished_run(folder: Path, count: int = 12, *, off_plane: range = range(0), **options: Any) -> RecordedRun:
    """A run of `count` drawn pictures, in `folder / "run"`, its source beside it."""
    source = picture_folder(folder / "pictures", count, off_plane=off_plane)
    return RecordedRun(run_of(source, folder / "run", **options))


RISE_S, TOP_S = 2.0, 8.0


def with_push(run: RecordedRun) -> RecordedRun:
    """The run with its AoP rewritten to rest, a push of 15 degrees, and rest, at one frame a quarter of a second."""
    path = run.folder / "measurements.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for index, record in enumerate(records):
        time_s = 0.25 * index
        share = min(max((time_s - 15) / RISE_S, 0), max((15 + RISE_S + TOP_S + RISE_S - time_s) / RISE_S, 0), 1)
        record |= {"pts_s": time_s, "aop_raw_deg": 120 + 15 * share, "aop_deg": 120 + 15 * share}
        record |= {"aop_lo95_deg": record["aop_deg"] - 3, "aop_hi95_deg": record["aop_deg"] + 3}
        record |= {"aop_absolute_lo95_deg": record["aop_deg"] - 12, "aop_absolute_hi95_deg": record["aop_deg"] + 12}
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return RecordedRun(run.folder)
