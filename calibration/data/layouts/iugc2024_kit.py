"""The starting kit of IUGC 2024: `pos/<video>/<video>.avi` with `mask/` beside it, and `neg/*.avi`."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from calibration.data.exams import exam_of
from calibration.data.layouts.clips import Clip, ClipSet
from calibration.data.layouts.folder import files_in
from calibration.data.layouts.iugc2024 import masks_below, stem_of
from calibration.errors import DataSetError
from stream.sources.files.images.source import natural_key
from stream.sources.files.kinds import VIDEO_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

LOOKED_FOR = "videos in pos/ and neg/ (IUGC 2024 starting kit)"

_EVERY_FRAME = range(sys.maxsize)


def matches(path: Path) -> bool:
    """Whether a folder has this layout."""
    return bool(_videos_below(path / "pos") or _videos_below(path / "neg"))


def open_iugc2024_kit(path: Path) -> ClipSet:
    """Lists the videos: every frame of those in `pos` is a standard plane, none of those in `neg` is.

    Raises:
        DataSetError: a mask is not named after its video and frame.
    """
    masks = masks_below(path / "pos")
    clips = [
        *(_clip(video, standard=_EVERY_FRAME, masks=_masks_of(video, masks)) for video in _videos_below(path / "pos")),
        *(_clip(video, standard=(), masks={}) for video in _videos_below(path / "neg")),
    ]
    if masks:
        orphan = next(iter(masks.values()))
        raise DataSetError(f"{orphan}: no video for this mask; expected <video>_<frame>_6.png and <video>.avi")
    return ClipSet(path, "iugc2024", clips)


def _videos_below(folder: Path) -> list[Path]:
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())] if folder.is_dir() else []
    found = [path for each in folders for path in files_in(each, VIDEO_SUFFIXES)]
    return sorted(found, key=lambda path: natural_key(path.name))


def _clip(video: Path, *, standard: Container[int], masks: dict[int, Path]) -> Clip:
    stem = stem_of(video.name)
    return Clip(name=stem, group=exam_of(stem), path=video, standard=standard, masks=masks)


def _masks_of(video: Path, masks: dict[str, Path]) -> dict[int, Path]:
    """Takes the masks of a video out of `masks`."""
    pattern = re.compile(re.escape(stem_of(video.name)) + r"_(\d+)(?:_6)?")
    found = {int(match[1]): name for name in masks if (match := pattern.fullmatch(name))}
    return {frame: masks.pop(name) for frame, name in found.items()}
