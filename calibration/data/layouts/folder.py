"""A plain folder: `images/` with or without `masks/`, below `train/ val/ test/` or not, or pictures lying open."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from calibration.data.base import SPLITS
from calibration.data.layouts.pictures import PICTURE_SUFFIXES, LabelledPicture, PictureSet
from calibration.data.layouts.tables import key_rows, read_table
from calibration.data.listing import as_data_set_error, shorten_names
from calibration.data.manifest import read_manifest
from calibration.errors import DataSetError
from stream.sources.files.images.source import natural_key
from stream.sources.files.masks import mask_paths

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence, Set
    from pathlib import Path

    from calibration.data.manifest import PictureOrigins

LOOKED_FOR = "images/ at the root or in train/, val/, test/, or pictures at the root (plain folder)"

STANDARD = frozenset({"sp_head", "standard", "positive", "1"})
OTHER = frozenset({"only_head", "only_sp", "none", "negative", "0"})


def matches(path: Path) -> bool:
    """Whether a folder has this layout."""
    return (path / "images").is_dir() or bool(_split_folders(path)) or bool(files_in(path, PICTURE_SUFFIXES))


def open_folder(path: Path) -> PictureSet:
    """Lists the pictures of a plain folder.

    Where there is a folder `masks` beside the pictures, each has a mask of the same stem in it. `labels.csv`
    (columns name and label) at the root or in the split says which are standard planes. `manifest.csv` at the
    root or above it gives groups and scanners (`look`); on top of them pictures that are alike are grouped.

    Raises:
        DataSetError: masks or labels do not belong to the pictures, or a label is not known.
    """
    manifest = read_manifest(path)
    places = _split_folders(path) or {"": path}
    pictures = [
        picture for split, folder in places.items() for picture in _pictures_of(folder, split, manifest=manifest)
    ]
    tables = [folder / "labels.csv" for folder in dict.fromkeys((path, *places.values()))]
    planes = _planes([table for table in tables if table.exists()], {picture.name for picture in pictures})
    return PictureSet(path, "folder", [replace(picture, plane=planes.get(picture.name)) for picture in pictures])


def files_in(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """The files with these suffixes that lie in a folder, not hidden, `2` before `10`."""
    found = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    ]
    return sorted(found, key=lambda path: natural_key(path.name))


def by_stem(files: Iterable[Path]) -> dict[str, Path]:
    """Files by their name without suffix.

    Raises:
        DataSetError: two have one stem.
    """
    every = list(files)
    twice = [stem for stem, times in Counter(path.stem for path in every).items() if times > 1]
    if twice:
        raise DataSetError(f"{every[0].parent}: several files named {shorten_names(twice)}; keep one of each")
    return {path.stem: path for path in every}


def pair_by_stem(
    images: Mapping[str, Path], masks: Mapping[str, Path], *, image_folder: Path, mask_folder: Path
) -> None:
    """Checks that pictures and masks have the same stems.

    Raises:
        DataSetError: a picture has no mask, or a mask no picture.
    """
    bare = [name for name in images if name not in masks]
    if bare:
        raise DataSetError(f"{mask_folder}: no mask for {shorten_names(bare)} of {len(images)} images; add them")
    orphans = [name for name in masks if name not in images]
    if orphans:
        raise DataSetError(f"{image_folder}: no image for the masks {shorten_names(orphans)}; add or take them away")


def _split_folders(path: Path) -> dict[str, Path]:
    return {split: path / split for split in SPLITS if (path / split / "images").is_dir()}


def _pictures_of(folder: Path, split: str, *, manifest: PictureOrigins) -> list[LabelledPicture]:
    image_folder = folder / "images" if (folder / "images").is_dir() else folder
    mask_folder = folder / "masks"
    images = by_stem(files_in(image_folder, PICTURE_SUFFIXES))
    masks: dict[str, Path] = {}
    if mask_folder.is_dir():
        with as_data_set_error():
            masks = by_stem(mask_paths(mask_folder))
        pair_by_stem(images, masks, image_folder=image_folder, mask_folder=mask_folder)
    return [
        LabelledPicture(
            name=name,
            group=manifest.group_of(name) or name,
            image_path=image_path,
            mask_path=masks.get(name),
            split=split,
            look=manifest.look_of(name),
        )
        for name, image_path in images.items()
    ]


def _planes(tables: Sequence[Path], names: Set[str]) -> dict[str, bool]:
    """Whether each picture is a standard plane; {} where there is no table, so that nobody said."""
    planes = {name: plane for table in tables for name, plane in _read_labels(table).items()}
    if not tables:
        return planes
    where = " and ".join(map(str, tables))
    bare = sorted(names - planes.keys())
    if bare:
        raise DataSetError(f"{where}: no label for {shorten_names(bare)}; add them")
    unknown = sorted(planes.keys() - names)
    if unknown:
        raise DataSetError(
            f"{where}: no image for the labels {shorten_names(unknown)}; add the images or take them out"
        )
    return planes


def _read_labels(path: Path) -> dict[str, bool]:
    planes = {}
    for name, row in key_rows(read_table(path, ("name", "label")), "name", origin=path).items():
        label = row["label"].lower()
        if label not in STANDARD | OTHER:
            known = ", ".join(sorted(STANDARD)) + " or " + ", ".join(sorted(OTHER))
            raise DataSetError(f"{path}: {name} is labelled '{row['label']}'; expected {known}")
        planes[_stem(name)] = label in STANDARD
    return planes


def _stem(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if f"{dot}{suffix}".lower() in PICTURE_SUFFIXES else name
