"""Data sets of single pictures, each with its own mask file or none."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np

from calibration.data.base import LabelledFrame
from calibration.data.groups import content_groups
from calibration.data.listing import Listing, as_data_set_error, shorten_names
from calibration.errors import DataSetError
from stream.sources import open_source
from stream.sources.files.images.source import read_grey
from stream.sources.files.kinds import IMAGE_SUFFIXES
from stream.sources.files.masks import read_mask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_log = logging.getLogger(__name__)

PICTURE_SUFFIXES = IMAGE_SUFFIXES | {".mha", ".mhd"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPicture:
    """One picture, with what tables and file names say of it; see `LabelledFrame` for the rest.

    Attributes:
        image_path: of the picture.
        mask_path: of its mask; None where there is none.
        is_empty: nothing is to be seen in it, so that its mask is empty though there is no file.
        landmarks: points (x, y) in its pixels, by name.
    """

    name: str
    group: str
    image_path: Path
    mask_path: Path | None = None
    is_empty: bool = False
    split: str = ""
    look: str = ""
    plane: bool | None = None
    landmarks: Mapping[str, tuple[float, float]] = field(default_factory=dict)


class PictureSet(Listing[LabelledPicture]):
    """A data set that lists its pictures; they are read one by one.

    A mask may be one pixel higher or wider than its image, or less: copies of these sets were scaled, and the
    two rounded apart. It is resampled to the image's size, and a warning names what was. Any larger difference
    is an error.
    """

    def count(self, split: str | None = None) -> int:
        return len(self.items(split))

    def frames(self, split: str | None = None) -> Iterator[LabelledFrame]:
        refitted = []
        for picture in self.items(split):
            image = read_picture(picture.image_path)
            mask = _mask_of(picture, image)
            if mask is not None and mask.shape != image.shape:
                mask = _refitted(picture, mask, image)
                refitted.append(picture.name)
            yield LabelledFrame(
                name=picture.name,
                group=self.group_of(picture),
                split=picture.split,
                look=picture.look,
                image=image,
                mask=mask,
                plane=picture.plane,
                landmarks=picture.landmarks,
            )
        if refitted:
            _log.warning(
                "%s: masks one pixel off their images' size, resampled: %s", self.path, shorten_names(refitted)
            )

    def group_of(self, picture: LabelledPicture) -> str:
        """The group of a picture: by content, on top of the groups that tables and names give."""
        return self._groups[picture.name]

    @cached_property
    def _groups(self) -> dict[str, str]:
        """Of all pictures, whatever their split: reads each once, when the first frames are asked for."""
        pictures = self.items(None)
        images = (read_picture(picture.image_path) for picture in pictures)
        groups = content_groups(images, [picture.group for picture in pictures])
        return {picture.name: group for picture, group in zip(pictures, groups, strict=True)}


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Reads a file with one picture as grey, (H, W), as the pipeline would see it.

    Raises:
        DataSetError: it cannot be read, or holds several pictures.
    """
    with as_data_set_error():
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return read_grey(path)
        with open_source(str(path)) as source:
            images = [frame.image for frame in source]
    if len(images) != 1:
        raise DataSetError(f"{path}: holds {len(images)} pictures; expected one")
    return images[0]


def check_size(mask: NDArray[np.uint8], image: NDArray[np.uint8], *, mask_origin: str, image_origin: str) -> None:
    """Raises DataSetError where a mask has not its picture's size."""
    if mask.shape != image.shape:
        raise DataSetError(
            f"{mask_origin}: is {_size(mask)}, but {image_origin} is {_size(image)}; save the mask at that size"
        )


def _mask_of(picture: LabelledPicture, image: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    if picture.mask_path is None:
        return np.zeros_like(image) if picture.is_empty else None
    with as_data_set_error():
        return read_mask(picture.mask_path)


def _refitted(picture: LabelledPicture, mask: NDArray[np.uint8], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mask at its image's size, where the two were scaled from one size and rounded to different ones.

    Raises:
        DataSetError: they differ by more than one pixel, so that rounding cannot be the cause.
    """
    if max(abs(mask.shape[0] - image.shape[0]), abs(mask.shape[1] - image.shape[1])) > 1:
        check_size(mask, image, mask_origin=str(picture.mask_path), image_origin=picture.image_path.name)
    return cv2.resize(mask, image.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT).astype(np.uint8, copy=False)


def _size(pixels: NDArray[np.uint8]) -> str:
    return "x".join(map(str, pixels.shape[::-1]))
