"""IUGC 2024 DatasetV3: videos with plane labels for every frame, and masks and landmarks for some."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from calibration.data.base import SPLITS
from calibration.data.exams import exam_of
from calibration.data.layouts.clips import Clip, ClipSet
from calibration.data.layouts.folder import by_stem, files_in
from calibration.data.layouts.landmarks import read_landmarks
from calibration.data.layouts.tables import frame_numbers, key_rows, read_table, whole_number
from calibration.data.listing import shorten_names
from calibration.errors import DataSetError
from stream.sources.files.images.source import natural_key
from stream.sources.files.kinds import VIDEO_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LOOKED_FOR = "videos/ in train/, val/ or test/ (IUGC 2024 DatasetV3)"

_LABELLED_COLUMNS = ("labeled_index", "labeled_frame_index")
_CLASS_TABLES = ("class_label.csv", "cls_label.csv")
_COLOURED = "mask_enhance"


def matches(path: Path) -> bool:
    """Whether a folder has this layout."""
    return any((path / split / "videos").is_dir() for split in SPLITS)


def open_iugc2024(path: Path) -> ClipSet:
    """Reads the tables and lists the videos.

    Some training videos are published as `X__X.avi`, while every table and mask says `X`: `X` it is. Masks are
    found by name wherever they lie below `seg/`, for unpacking may nest folders.

    Raises:
        DataSetError: tables, videos and masks do not belong together; the message says which.
    """
    clips = [clip for split in SPLITS if (path / split / "videos").is_dir() for clip in _clips_of(path / split)]
    return ClipSet(path, "iugc2024", clips)


def stem_of(name: str) -> str:
    """The name of a video without suffix, and without the doubling of `X__X`.

    Convention: halves must be equal to the letter, for `__` also stands in sound names. Worked values:
    `A__A.avi` is `A`; `A__B_0.avi` is `A__B_0`.
    """
    path = PurePath(name)
    stem = path.stem if path.suffix.lower() in VIDEO_SUFFIXES else path.name
    half = (len(stem) - 2) // 2
    return stem[:half] if half > 0 and stem == f"{stem[:half]}__{stem[:half]}" else stem


def masks_below(folder: Path) -> dict[str, Path]:
    """The mask files below a folder by stem; the coloured copies for the eye are passed over."""
    return by_stem(
        path for path in sorted(folder.rglob("*.png")) if path.parent.name != _COLOURED and path.name[0] != "."
    )


def _clips_of(folder: Path) -> list[Clip]:
    """The videos of one split."""
    tables = _Tables(folder)
    videos = _videos_in(folder / "videos")
    for what, names in (
        ("no video for the rows", tables.names - videos.keys()),
        ("no row for the videos", videos.keys() - tables.names),
    ):
        if names:
            raise DataSetError(
                f"{tables.info_path}: {what} {shorten_names(sorted(names))};"
                " unpack the data set again, with file names as GB18030 or UTF-8"
            )
    masks = masks_below(folder / "seg")
    landmarks = read_landmarks(folder / "seg" / "landmark.json")
    clips = []
    for stem in sorted(videos, key=natural_key):
        frame_masks = _claimed_masks(stem, tables.labelled(stem), masks, seg=folder / "seg")
        clips.append(
            Clip(
                name=stem,
                group=exam_of(stem),
                path=videos[stem],
                split=folder.name,
                frame_count=tables.frame_count(stem),
                masks=frame_masks,
                standard=tables.standard(stem),
                landmarks={frame: landmarks.pop(path.stem, {}) for frame, path in frame_masks.items()},
            )
        )
    for what, left in (("masks", masks), ("landmarks", landmarks)):
        if left:
            raise DataSetError(f"{folder / 'seg'}: no labelled frame for the {what} {shorten_names(sorted(left))}")
    return clips


def _videos_in(folder: Path) -> dict[str, Path]:
    videos: dict[str, Path] = {}
    for path in files_in(folder, VIDEO_SUFFIXES):
        stem = stem_of(path.name)
        if stem in videos:
            raise DataSetError(f"{path}: the same video as {videos[stem].name}; keep one of them")
        videos[stem] = path
    return videos


def _claimed_masks(stem: str, labelled: frozenset[int], masks: dict[str, Path], *, seg: Path) -> dict[int, Path]:
    """Takes the masks of a video's labelled frames out of `masks`."""
    claimed: dict[int, Path] = {}
    missing = []
    for frame in sorted(labelled):
        names = [f"{stem}_{frame}_6", f"{stem}_{frame}", *([stem] if len(labelled) == 1 else [])]
        found = next((name for name in names if name in masks), None)
        if found is None:
            missing.append(f"{names[0]}.png or {names[1]}.png")
        else:
            claimed[frame] = masks.pop(found)
    if missing:
        raise DataSetError(f"{seg}: no mask file for labelled frames: {shorten_names(missing)}; unpack the set again")
    return claimed


class _Tables:
    """What the three tables of a split say, once they are known to agree."""

    def __init__(self, folder: Path) -> None:
        """Reads them.

        Raises:
            DataSetError: a table is missing, or they do not speak of the same videos and lengths.
        """
        self.info_path = folder / f"{folder.name}_info.csv"
        class_paths = [folder / "cls" / name for name in _CLASS_TABLES]
        self._class_path = next((path for path in class_paths if path.exists()), class_paths[0])
        self._seg_path = folder / "seg" / "seg_info.csv"
        self._info = _by_stem(self.info_path, ())
        self._classes = _by_stem(self._class_path, ("pos_index", "neg_index"))
        self._seg = _by_stem(self._seg_path, ())
        self._check_names()
        self.names = self._info.keys()

    def frame_count(self, stem: str) -> int:
        """The length of a video, on which the tables agree."""
        counts = {
            path: whole_number(table[stem]["frame_count"], origin=f"{path}, frame_count of {stem}")
            for path, table in (
                (self.info_path, self._info),
                (self._class_path, self._classes),
                (self._seg_path, self._seg),
            )
            if stem in table
        }
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{count} in {path.name}" for path, count in counts.items())
            raise DataSetError(f"{self.info_path.parent}: {stem} has different frame counts: {said}; mend the tables")
        return counts[self.info_path]

    def standard(self, stem: str) -> frozenset[int]:
        """The frames that are standard planes; all others are not."""
        frame_count = self.frame_count(stem)
        origin = f"{self._class_path}, {stem}"
        row = self._classes[stem]
        positive, negative = (
            frame_numbers(row[column], frame_count=frame_count, origin=f"{origin}, {column}")
            for column in ("pos_index", "neg_index")
        )
        both, neither = positive & negative, frozenset(range(frame_count)) - positive - negative
        for what, frames in (("both positive and negative", both), ("neither positive nor negative", neither)):
            if frames:
                raise DataSetError(
                    f"{origin}: {what}: {shorten_names(map(str, sorted(frames)))} of {frame_count} frames"
                )
        return positive

    def labelled(self, stem: str) -> frozenset[int]:
        """The frames that have a mask."""
        row = self._seg.get(stem, {})
        column = next((column for column in _LABELLED_COLUMNS if column in row), None)
        if row and column is None:
            raise DataSetError(f"{self._seg_path}: lacks the column {' or '.join(_LABELLED_COLUMNS)}")
        cell = row[column] if column else ""
        return frame_numbers(cell, frame_count=self.frame_count(stem), origin=f"{self._seg_path}, {stem}, {column}")

    def _check_names(self) -> None:
        for path, unknown in (
            (self._class_path, self._classes.keys() ^ self._info.keys()),
            (self._seg_path, self._seg.keys() - self._info.keys()),
        ):
            if unknown:
                raise DataSetError(
                    f"{path}: does not name the videos of {self.info_path.name}: {shorten_names(sorted(unknown))};"
                    " mend the tables"
                )


def _by_stem(path: Path, columns: Sequence[str]) -> dict[str, Mapping[str, str]]:
    rows = read_table(path, ("filename", "frame_count", *columns))
    return key_rows([{**row, "filename": stem_of(row["filename"])} for row in rows], "filename", origin=path)
