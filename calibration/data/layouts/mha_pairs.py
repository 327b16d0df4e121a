"""PSFHS and FH-PS-AOP 2023: `image_mha/NNNNN.mha` and `label_mha/NNNNN.mha`, all of them standard planes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calibration.data.layouts.folder import by_stem, files_in, pair_by_stem
from calibration.data.layouts.pictures import LabelledPicture, PictureSet
from calibration.data.manifest import read_manifest

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
    above it may give groups; on top of them frames that are alike are grouped, as in every set of pictures.

    Raises:
        DataSetError: an image has no label, or a label no image.
    """
    image_folder, label_folder = path / "image_mha", path / "label_mha"
    images, masks = by_stem(files_in(image_folder, _SUFFIXES)), by_stem(files_in(label_folder, _SUFFIXES))
    pair_by_stem(images, masks, image_folder=image_folder, mask_folder=label_folder)
    manifest = read_manifest(path)
    return PictureSet(
        path,
        "mha_pairs",
        [
            LabelledPicture(
                name=name,
                group=manifest.group_of(name) or name,
                image_path=image_path,
                mask_path=masks[name],
                look=manifest.look_of(name),
                plane=True,
            )
            for name, image_path in images.items()
        ],
    )
