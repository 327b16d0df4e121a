"""The frames the network learns from: each with its mask, its plane label, and where it came from.

The layout is that of the data folder described in the README's *Training* section: `psfhs/{train,val}`,
`planes`, `pelvic_floor`, `clips`. Frames are fitted to the network's square with the same letterbox that the
pipeline uses, so that training sees what inference sees.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from engines.preprocess import Letterbox
from stream.sources import open_source
from stream.sources.phantom.render import render
from stream.sources.phantom.sample import sample_scene
from stream.sources.phantom.truth import scene_masks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

FRAMES_PER_CLIP = 24
"""Taken evenly from each clip of other anatomy: neighbouring frames teach nothing new."""

HELD_OUT_CLIP = "pydicom_examples_ybr_color_US30frames.dcm"
HELD_OUT_PELVIC = "pfus1_3.png"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Example:
    """One frame to learn from.

    Attributes:
        image: (H, W) uint8.
        mask: (H, W) uint8, 0 background, 1 PS, 2 FH.
        plane: 1.0 standard plane, 0.0 not.
        mask_weight: 0.0 where the mask says nothing (or is known to be unreliable), else 1.0.
        plane_weight: 0.0 where neither answer would be right, else 1.0.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    plane: float
    mask_weight: float = 1.0
    plane_weight: float = 1.0


def fit(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Letterboxes a grey image to (size, size)."""
    height, width = image.shape
    return Letterbox(image_height=height, image_width=width, height=size, width=size).apply(image)


def fit_mask(mask: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Letterboxes a mask to (size, size): each class is resampled like an image, the largest share wins."""
    shares = [fit(np.where(mask == code, 255, 0).astype(np.uint8), size) for code in (1, 2)]
    ps, fh = shares
    return np.where((ps > 127) & (ps >= fh), 1, np.where(fh > 127, 2, 0)).astype(np.uint8)


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Reads an 8-bit picture as grey.

    Raises:
        FileNotFoundError: it is missing or cannot be decoded.
    """
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise FileNotFoundError(f"{path}: missing or not a picture; see the README's Training section")
    return np.asarray(image, dtype=np.uint8)


def load_psfhs(folder: Path, size: int) -> list[Example]:
    """Loads PSFHS frames (`images/`, `masks/` coded 0/1/2); every one shows both structures."""
    paths = sorted((folder / "images").glob("*.png"))
    if not paths:
        raise FileNotFoundError(f"{folder / 'images'}: no PNG files; see the README's Training section")
    return [
        Example(
            image=fit(read_grey(path), size),
            mask=fit_mask(read_grey(folder / "masks" / path.name), size),
            plane=1.0,
        )
        for path in paths
    ]


def load_planes(folder: Path, size: int) -> dict[bool, list[Example]]:
    """Loads the frames with a plane label; every fourth of each label goes to validation (key True).

    Masks of `only_head` frames are not learned from: some code a visible PS as FH.
    """
    split: dict[bool, list[Example]] = {False: [], True: []}
    seen: dict[str, int] = {}
    with (folder / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            label = row["label"]
            seen[label] = seen.get(label, 0) + 1
            example = Example(
                image=fit(read_grey(folder / "images" / f"{row['name']}.png"), size),
                mask=fit_mask(read_grey(folder / "masks" / f"{row['name']}.png"), size),
                plane=float(label == "sp_head"),
                mask_weight=float(label != "only_head"),
            )
            split[seen[label] % 4 == 0].append(example)
    return split


def without_structures(images: Sequence[NDArray[np.uint8]], size: int) -> list[Example]:
    """Frames known to show neither PS nor FH."""
    empty = np.zeros((size, size), np.uint8)
    return [Example(image=fit(image, size), mask=empty, plane=0.0) for image in images]


def clip_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Yields about FRAMES_PER_CLIP frames, spread evenly over a recording."""
    with open_source(str(path)) as source:
        total = source.info.frame_count or FRAMES_PER_CLIP
        step = max(1, total // FRAMES_PER_CLIP)
        for frame in islice(source, 0, None, step):
            yield frame.image


def load_phantoms(count: int, size: int, seed: int, *, standard: bool) -> list[Example]:
    """Draws `count` independent phantom frames, half of them mirrored.

    Only standard ones teach the masks: beside the midline a bright ramus lies where the PS would be.
    """
    examples = []
    for index in range(count):
        rng = np.random.default_rng([seed, int(standard), index])
        scene = sample_scene(rng, standard=standard, mirrored=bool(rng.integers(2)))
        examples.append(
            Example(
                image=render(scene, rng, size),
                mask=scene_masks(scene, size),
                plane=float(standard),
                mask_weight=float(standard),
            )
        )
    return examples


def load_training(data: Path, *, size: int, phantoms: int, seed: int) -> Mapping[str, list[Example]]:
    """Loads everything the network learns from, by pool. `phantoms` frames of each kind are drawn."""
    planes = load_planes(data / "planes", size)[False]
    clips = [path for path in sorted((data / "clips").iterdir()) if path.name != HELD_OUT_CLIP]
    pelvic = [path for path in sorted((data / "pelvic_floor").glob("*.png")) if path.name != HELD_OUT_PELVIC]
    return {
        "psfhs": load_psfhs(data / "psfhs" / "train", size),
        "planes_standard": [example for example in planes if example.plane],
        "planes_other": [example for example in planes if not example.plane],
        "phantom_standard": load_phantoms(phantoms, size, seed, standard=True),
        "phantom_other": load_phantoms(phantoms, size, seed, standard=False),
        "clips": without_structures([image for path in clips for image in clip_frames(path)], size),
        "pelvic_floor": without_structures([read_grey(path) for path in pelvic], size),
    }


def load_validation(data: Path, *, size: int, seed: int) -> Mapping[str, list[Example]]:
    """Loads the frames the network is chosen by; none of them is learned from."""
    held_out = [
        *clip_frames(data / "clips" / HELD_OUT_CLIP),
        read_grey(data / "pelvic_floor" / HELD_OUT_PELVIC),
    ]
    return {
        "psfhs": load_psfhs(data / "psfhs" / "val", size),
        "planes": load_planes(data / "planes", size)[True],
        "phantom_standard": load_phantoms(40, size, seed + 1, standard=True),
        "phantom_other": load_phantoms(40, size, seed + 1, standard=False),
        "other_anatomy": without_structures(held_out, size),
    }
