"""PSFHS and FH-PS-AOP 2023: `image_mha/NNNNN.mha` and `label_mha/NNNNN.mha`, all of them standard planes."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from calibration.datasets.folder import by_stem, files_in, paired
from calibration.datasets.manifest import read_manifest
from calibration.datasets.near_duplicates import near_duplicate_groups
from calibration.datasets.pictures import Picture, PictureSet, read_picture

if TYPE_CHECKING:
    from pathlib import Path

LOOKED_FOR = "image_mha/ and label_mha/ (PSFHS, FH-PS-AOP 2023)"

_SUFFIXES = (".mha",)


def matches(path: Path) -> bool:
    """Whether a folder has this layout."""
    return (path / "image_mha").is_dir() and (path / "label_mha").is_dir()


def open_mha_pairs(path: Path) -> PictureSet:
    """Lists the pairs.

    Nothing in these sets says which frames come from one woman or one video. `manifest.csv` at the root or
    above it may give groups; a frame it does not name is grouped with those it nearly equals
    (`near_duplicate_groups`), for which all images are read once, when the first frames are asked for.

    Raises:
        DataSetError: an image has no label, or a label no image.
    """
    image_folder, label_folder = path / "image_mha", path / "label_mha"
    images, masks = by_stem(files_in(image_folder, _SUFFIXES)), by_stem(files_in(label_folder, _SUFFIXES))
    paired(images, masks, image_folder=image_folder, mask_folder=label_folder)
    manifest = read_manifest(path)
    return MhaPairs(
        path,
        "mha_pairs",
        [
            Picture(
                name=name,
                group=manifest.group_of(name) or "",
                image_path=image_path,
                mask_path=masks[name],
                look=manifest.look_of(name),
                plane=True,
            )
            for name, image_path in images.items()
        ],
    )


class MhaPairs(PictureSet):
    """Pictures whose group, where no manifest gives it, is the name of the first of its near-duplicates."""

    def group_of(self, picture: Picture) -> str:
        return picture.group or self._groups[picture.name]

    @cached_property
    def _groups(self) -> dict[str, str]:
        names = [picture.name for picture in self.items(None)]
        first = near_duplicate_groups(read_picture(picture.image_path) for picture in self.items(None))
        return {name: names[index] for name, index in zip(names, first, strict=True)}
