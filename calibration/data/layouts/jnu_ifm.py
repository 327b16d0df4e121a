"""JNU-IFM: `us_data/<video>/image/<video>_<frame>.png`, its masks, and what each frame shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calibration.data.exams import exam_of
from calibration.data.layouts.folder import by_stem, files_in
from calibration.data.layouts.pictures import LabelledPicture, PictureSet
from calibration.data.layouts.tables import read_table, whole_number
from calibration.data.listing import shorten_names
from calibration.errors import DataSetError
from stream.sources.files.images.source import natural_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LOOKED_FOR = "us_data/ with <video>/image/ and frame_label.csv in it (JNU-IFM)"

NONE, ONLY_PS, ONLY_FH, BOTH = 3, 4, 5, 6
"""What a frame shows, by the codes of `frame_label`."""

_TABLES = ("frame_label.csv", "framelabel.csv")
_SUFFIXES = (".png",)


def matches(path: Path) -> bool:
    """Whether a folder has this layout: the set itself, or its `us_data`."""
    return bool(_videos_in(_data_folder(path)))


def open_jnu_ifm(path: Path) -> PictureSet:
    """Lists the frames; the standard planes are those that show both structures.

    `frame_label.csv` lies in each video's folder, or once at the root with a column `video_name`. A frame that
    shows nothing may lack a mask: its mask is empty.

    Raises:
        DataSetError: a frame has no label or no mask, a label or a mask no frame, or a label is not known.
    """
    data = _data_folder(path)
    common = _common_labels(data)
    videos = _videos_in(data)
    strangers = (common or {}).keys() - {video.name for video in videos}
    if strangers:
        raise DataSetError(
            f"{path}: frame_label.csv names videos that are not there: {shorten_names(sorted(strangers))}"
        )
    pictures = []
    for video in videos:
        labels = common.get(video.name, {}) if common is not None else _own_labels(video)
        pictures += _pictures_of(video, labels)
    return PictureSet(path, "jnu_ifm", pictures)


def _data_folder(path: Path) -> Path:
    return path / "us_data" if (path / "us_data").is_dir() else path


def _videos_in(data: Path) -> list[Path]:
    found = [folder for folder in data.iterdir() if (folder / "image").is_dir()]
    return sorted(found, key=lambda folder: natural_key(folder.name))


def _common_labels(data: Path) -> dict[str, dict[str, int]] | None:
    """The labels of all videos, where one table beside or above them gives them."""
    for path in (folder / name for folder in (data, data.parent) for name in _TABLES):
        if path.is_file():
            table: dict[str, dict[str, int]] = {}
            for row in read_table(path, ("video_name", "frame_id", "frame_label")):
                video = row["video_name"]
                _take(table.setdefault(video, {}), row, video=video, origin=path)
            return table
    return None


def _own_labels(video: Path) -> dict[str, int]:
    path = next((video / name for name in _TABLES if (video / name).is_file()), video / _TABLES[0])
    labels: dict[str, int] = {}
    for row in read_table(path, ("frame_id", "frame_label")):
        _take(labels, row, video=video.name, origin=path)
    return labels


def _take(labels: dict[str, int], row: Mapping[str, str], *, video: str, origin: Path) -> None:
    """Enters one row's label under the frame's name, `<video>_<frame>`."""
    number = row["frame_id"].removesuffix(".png").removeprefix(f"{video}_")
    name = f"{video}_{whole_number(number, origin=f'{origin}, frame_id')}"
    if name in labels:
        raise DataSetError(f"{origin}: names frame {name} twice; keep one row for each")
    label = whole_number(row["frame_label"], origin=f"{origin}, {name}")
    if label not in (NONE, ONLY_PS, ONLY_FH, BOTH):
        raise DataSetError(f"{origin}: {name} has the label {label}; expected 3 none, 4 only PS, 5 only FH or 6 both")
    labels[name] = label


def _pictures_of(video: Path, labels: Mapping[str, int]) -> list[LabelledPicture]:
    images = by_stem(files_in(video / "image", _SUFFIXES))
    masks = by_stem(files_in(video / "mask", _SUFFIXES)) if (video / "mask").is_dir() else {}
    masks = {stem.removesuffix("_mask"): path for stem, path in masks.items()}
    for what, names in (
        ("frame_label.csv has no label for the frames", images.keys() - labels.keys()),
        ("there is no image for the labels", labels.keys() - images.keys()),
        ("there is no image for the masks", masks.keys() - images.keys()),
        ("there is no mask for the frames", {name for name in images if labels.get(name) != NONE} - masks.keys()),
    ):
        if names:
            raise DataSetError(f"{video}: {what} {shorten_names(sorted(names, key=natural_key))}; unpack the set again")
    return [
        LabelledPicture(
            name=name,
            group=exam_of(video.name),
            image_path=image_path,
            mask_path=masks.get(name),
            is_empty=labels[name] == NONE,
            plane=labels[name] == BOTH,
        )
        for name, image_path in images.items()
    ]
