"""Finished runs of known content, made by the real pipeline from drawn pictures, within a fraction of a second."""

from __future__ import annotations

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
