"""Recordings in one folder, each with masks for some frames, for all of them, or for none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from calibration.data.layouts.clips import Clip, ClipSet
from calibration.data.layouts.folder import by_stem, files_in
from calibration.data.listing import as_data_set_error, shorten_names
from calibration.data.manifest import read_manifest
from calibration.errors import DataSetError
from stream.sources.files.kinds import DICOM_SUFFIXES, STACK_SUFFIXES, VIDEO_SUFFIXES
from stream.sources.files.masks import mask_paths

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LOOKED_FOR = "recordings at the root (DICOM, video, MetaImage or NRRD), with <recording>_masks beside them or without"

_SUFFIXES = DICOM_SUFFIXES | STACK_SUFFIXES | VIDEO_SUFFIXES
_MASKS = "_masks"
_STACKS = (".mha", ".mhd")


def matches(path: Path) -> bool:
    """Whether a folder has this layout."""
    return bool(files_in(path, _SUFFIXES))


def open_recordings(path: Path) -> ClipSet:
    """Lists the recordings, each a group of its own unless `manifest.csv` says otherwise.

    `<recording>_masks/` holds mask files whose name ends in the frame's number, counted from 0, for as many
    frames as were drawn; `<recording>_masks.mha` holds one slice for each frame. Frames without a mask are
    unlabelled. Other files are passed over.

    Raises:
        DataSetError: two recordings have one name, masks have no recording, or a mask no number.
    """
    files = by_stem(files_in(path, _SUFFIXES))
    stacks = {name.removesuffix(_MASKS): file for name, file in files.items() if _is_stack(file)}
    folders = {
        entry.name.removesuffix(_MASKS): entry
        for entry in path.iterdir()
        if entry.name.endswith(_MASKS) and entry.is_dir()
    }
    recordings = {name: file for name, file in files.items() if not _is_stack(file)}
    _check_owners(path, recordings, stacks, folders)
    manifest = read_manifest(path)
    return ClipSet(
        path,
        "recordings",
        [
            Clip(
                name=name,
                group=manifest.group_of(name) or name,
                path=file,
                look=manifest.look_of(name),
                masks=_masks_in(folders[name]) if name in folders else {},
                mask_stack=stacks.get(name),
            )
            for name, file in recordings.items()
        ],
    )


def _is_stack(file: Path) -> bool:
    return file.stem.endswith(_MASKS) and file.suffix.lower() in _STACKS


def _check_owners(path: Path, recordings: Iterable[str], stacks: Iterable[str], folders: Iterable[str]) -> None:
    orphans = sorted({*stacks, *folders} - set(recordings))
    if orphans:
        raise DataSetError(
            f"{path}: masks without a recording: {shorten_names(orphans)}; name them <recording>{_MASKS}"
        )
    double = sorted(set(stacks) & set(folders))
    if double:
        raise DataSetError(f"{path}: both a folder and a stack of masks for {shorten_names(double)}; keep one of them")


def _masks_in(folder: Path) -> dict[int, Path]:
    """The masks of a folder by the last number in their names."""
    masks: dict[int, Path] = {}
    with as_data_set_error():
        files = mask_paths(folder)
    for file in files:
        numbers = re.findall(r"\d+", file.stem)
        if not numbers:
            raise DataSetError(f"{file}: no frame number in its name; end it in one, counted from 0")
        index = int(numbers[-1])
        if index in masks:
            raise DataSetError(f"{file}: a second mask for frame {index}, besides {masks[index].name}; keep one")
        masks[index] = file
    return masks
