"""Data sets of recordings, whose frames are matched to masks by decoding and counting."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from calibration.data.base import LabelledFrame
from calibration.data.layouts.pictures import check_size
from calibration.data.listing import Listing, as_data_set_error
from calibration.errors import DataSetError
from stream.sources import open_source
from stream.sources.files.masks import read_mask, recode
from stream.sources.files.volumes.metaimage import read_slices

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One recording, with what tables and file names say of it; see `LabelledFrame` for the rest.

    Frames are counted from 0, as decoded.

    Attributes:
        path: of the recording.
        frame_count: as a table of the data set says; None where none says it.
        masks: mask files by frame.
        mask_stack: a MetaImage file with one mask a frame, in place of `masks`.
        standard: the frames that are standard planes; None where nobody said.
        landmarks: the points of each frame that has any.
    """

    name: str
    group: str
    path: Path
    split: str = ""
    look: str = ""
    frame_count: int | None = None
    masks: Mapping[int, Path] = field(default_factory=dict)
    mask_stack: Path | None = None
    standard: Container[int] | None = None
    landmarks: Mapping[int, Mapping[str, tuple[float, float]]] = field(default_factory=dict)


class ClipSet(Listing[Clip]):
    """A data set that lists its recordings; frames are named `<recording>_<frame>`."""

    def count(self, split: str | None = None) -> int:
        with as_data_set_error():
            return sum(_count_of(clip) for clip in self.items(split))

    def frames(self, split: str | None = None) -> Iterator[LabelledFrame]:
        for clip in self.items(split):
            with as_data_set_error():
                yield from _frames_of(clip)


def _count_of(clip: Clip) -> int:
    if clip.frame_count is not None:
        return clip.frame_count
    with open_source(str(clip.path)) as source:
        declared = source.info.frame_count
        return sum(1 for _ in source) if declared is None else declared


def _frames_of(clip: Clip) -> Iterator[LabelledFrame]:
    images = _counted_images(clip) if clip.frame_count is None else _promised_images(clip, clip.frame_count)
    stacked = _stacked_masks(clip)
    for index, image in enumerate(images):
        yield LabelledFrame(
            name=f"{clip.name}_{index}",
            group=clip.group,
            split=clip.split,
            look=clip.look,
            image=image,
            mask=_mask_of(clip, index, image, stacked),
            plane=None if clip.standard is None else index in clip.standard,
            landmarks=clip.landmarks.get(index, {}),
        )


def _promised_images(clip: Clip, frame_count: int) -> Iterator[NDArray[np.uint8]]:
    """The images of a recording whose length a table gives.

    All are decoded before the first is given: where one was lost on the way, those behind it would meet the
    masks of their neighbours.
    """
    with open_source(str(clip.path)) as source:
        images = [frame.image for frame in islice(source, frame_count + 1)]
    if len(images) != frame_count:
        decoded = "more" if len(images) > frame_count else str(len(images))
        raise DataSetError(
            f"{clip.path}: its table says {frame_count} frames, but {decoded} were decoded;"
            " masks would meet wrong frames: copy the video again"
        )
    yield from images


def _counted_images(clip: Clip) -> Iterator[NDArray[np.uint8]]:
    """The images of a recording of unknown length, one by one, with its masks checked against what it declares.

    Only a picture lost in decoding is found as late as at the end: recordings may be too long to be held.
    """
    decoded = 0
    with open_source(str(clip.path)) as source:
        declared = source.info.frame_count
        if declared is not None:
            _check_masks(clip, declared)
        for frame in source:
            yield frame.image
            decoded = frame.index + 1
    if declared is None:
        _check_masks(clip, decoded)
    elif decoded != declared and (clip.masks or clip.mask_stack):
        raise DataSetError(
            f"{clip.path}: declares {declared} frames, but {decoded} were decoded;"
            " masks may have met wrong frames: export the recording again"
        )


def _check_masks(clip: Clip, frame_count: int) -> None:
    beyond = sorted(index for index in clip.masks if index >= frame_count)
    if beyond:
        raise DataSetError(
            f"{clip.masks[beyond[0]]}: a mask for frame {beyond[0]}, but {clip.path.name} has {frame_count} frames,"
            " counted from 0"
        )
    if clip.mask_stack is not None:
        slices = sum(1 for _ in read_slices(clip.mask_stack))
        if slices != frame_count:
            raise DataSetError(
                f"{clip.mask_stack}: holds {slices} masks, but {clip.path.name} {frame_count} frames; give one for each"
            )


def _stacked_masks(clip: Clip) -> Iterator[NDArray[np.uint8]] | None:
    if clip.mask_stack is None:
        return None
    origin = str(clip.mask_stack)
    slices = enumerate(read_slices(clip.mask_stack))
    return (recode(values, origin=f"{origin} slice {index}") for index, values in slices)


def _mask_of(
    clip: Clip, index: int, image: NDArray[np.uint8], stacked: Iterator[NDArray[np.uint8]] | None
) -> NDArray[np.uint8] | None:
    """The mask of the frame that was decoded as number `index`; of a stack, the next slice."""
    if stacked is not None:
        mask, origin = next(stacked, None), str(clip.mask_stack)
    elif index in clip.masks:
        mask, origin = read_mask(clip.masks[index]), str(clip.masks[index])
    else:
        return None
    if mask is None:
        raise DataSetError(f"{origin}: holds {index} masks, but {clip.path.name} more frames; give one for each")
    check_size(mask, image, mask_origin=origin, image_origin=f"frame {index} of {clip.path.name}")
    return mask
