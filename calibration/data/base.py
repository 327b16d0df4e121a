"""The interface of a data set: labelled frames, each with its group."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from calibration.errors import DataSetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SPLITS", "DataSet", "DataSetError", "LabelledFrame"]

SPLITS = ("train", "val", "test")
"""The names of published splits, in the order in which they are read."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LabelledFrame:
    """One frame of a data set with whatever is known about it.

    Attributes:
        name: unique within the data set, and a sound file name: `03744`, `20190909T155747I1_12`.
        group: video, examination or patient. Frames of a group are alike: never split it.
        split: `train`, `val` or `test` as published; empty where the data set has no splits.
        look: kind of scanner or picture, for reports; empty where unknown.
        image: (H, W) uint8.
        mask: (H, W) uint8, 0 background, 1 PS, 2 FH; None where nobody drew one.
        plane: whether it is a standard plane; None where nobody said.
        mirrored: whether the PS lies on the right; None where nobody said.
        landmarks: points in pixels of the image (x, y) by name, as published; empty where there are none.
    """

    name: str
    group: str
    split: str = ""
    look: str = ""
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8] | None = None
    plane: bool | None = None
    mirrored: bool | None = None
    landmarks: Mapping[str, tuple[float, float]] = field(default_factory=dict)


class DataSet(Protocol):
    """A data set on disk. Opening one reads its tables and checks its file names; pixels are read by `frames`."""

    @property
    def layout(self) -> str:
        """Which layout it was recognised as: `iugc2024`, `mha_pairs`, `jnu_ifm`, `folder`, `recordings`."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The published splits that are there, in the order train, val, test; () where there are none."""

    def count(self, split: str | None = None) -> int:
        """How many frames `frames` will give, without decoding where tables or headers say it."""

    def frames(self, split: str | None = None) -> Iterator[LabelledFrame]:
        """Reads the frames of a split, or all, in a fixed order; each video is decoded once, frame by frame.

        Raises:
            DataSetError: a frame and its mask do not belong together, or a file is broken.
        """
