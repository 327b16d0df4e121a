"""Loads the frames a training draws from, and draws them."""

from __future__ import annotations

import csv
import logging
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from calibration.data import open_dataset
from calibration.data.bands import drawn_angles, stratum_of
from calibration.data.base import LabelledFrame
from calibration.data.fingerprint import Fingerprint
from calibration.data.groups import KnownFrames, all_signatures, content_groups, frame_signatures
from calibration.data.split import grouped_folds, grouped_holdout
from calibration.errors import ConfigError, DataSetError
from calibration.learning.batch import Batch
from calibration.learning.weak_labels.run import WEIGHTS_FILE
from engines.preprocess import Letterbox
from stream.common.csv_cells import unmarked
from stream.phantom.render import render
from stream.phantom.sample import sample_scene
from stream.phantom.truth import scene_masks
from stream.sources.files.masks import read_mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from calibration.learning.settings.training import SourceSettings

PHANTOM = "phantom:"
KINDS = ("labelled", "unlabelled", "negative")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Frames of one kind from one source.

    Attributes:
        name: `source/kind`, for messages.
        mass: how often a step draws from it, relative to the others.
        batch: all its frames; images are uint8 here.
        reach: (n,) the chances of its frames, added up; the last one is 1.
    """

    name: str
    mass: float
    batch: Batch
    reach: Tensor

    def at(self, place: float) -> int:
        """The frame at a place in [0, 1)."""
        return min(int(torch.searchsorted(self.reach, place, right=True)), len(self.batch) - 1)


@dataclass(frozen=True, slots=True, eq=False)
class FrameStore:
    """Everything a run draws from. `fingerprint` names its exact content; `seen` is how its real frames look."""

    pools: tuple[Pool, ...]
    fingerprint: str
    groups: frozenset[str]
    seen: KnownFrames

    def draw(self, count: int, generator: torch.Generator) -> Batch:
        """Draws `count` frames with replacement: first the pool by mass, then a frame of it by its chance."""
        masses = torch.tensor([pool.mass for pool in self.pools])
        chosen = torch.multinomial(masses, count, replacement=True, generator=generator)
        places = torch.rand(count, generator=generator)
        rows = [
            select_rows(self.pools[pool].batch, [self.pools[pool].at(place)])
            for pool, place in zip(chosen.tolist(), places.tolist(), strict=True)
        ]
        return as_float(concatenate(rows))


def load_store(sources: Sequence[SourceSettings], data: Path, *, size: int, seed: int) -> FrameStore:
    """Reads all sources.

    Raises:
        DataSetError: a data set is not what its layout says.
        ConfigError: a source has a mass for a kind of frame of which it holds none.
    """
    pools: list[Pool] = []
    fingerprint = Fingerprint()
    groups: set[str] = set()
    signatures: dict[str, NDArray[np.float32]] = {}
    for place, source in enumerate(sources):
        found: dict[str, list[Batch]] = defaultdict(list)
        members: dict[str, list[str]] = defaultdict(list)
        skipped: Counter[str] = Counter()
        teacher = SyntheticMasks(data / source.synthetic) if source.synthetic and source.unlabelled > 0 else None
        for frame in frames_of(source, data, size=size, seed=seed + place):
            fingerprint.add(frame)
            example, kind = _example(frame, source, teacher, size=size)
            if example is not None and example.synthetic.any():
                _add_synthetic(fingerprint, frame, example)
            if example is None:
                if source.unlabelled > 0:
                    skipped[kind] += 1
                continue
            groups.add(f"{_origin(source, seed + place)}/{frame.group}")
            if source.path != PHANTOM:
                signatures[f"{source.path}/{frame.name}"] = frame_signatures(frame.image)
            found[kind].append(example)
            members[kind].append(frame.group)
        for reason, count in skipped.items():
            log.warning("%s: %d frames left out: %s", source.path, count, reason)
        for kind in KINDS:
            mass = getattr(source, kind)
            if mass > 0 and not found[kind]:
                raise ConfigError(f"{source.path}: a mass for {kind} frames, but it holds none; set {kind} = 0")
            if mass > 0:
                likely = draw_probabilities(members[kind], source.balance)
                if source.even:
                    likely = even_out(likely, concatenate(found[kind]).masks.numpy(), source.even)
                reach = likely.cumsum(0)
                pools.append(Pool(f"{source.path}/{kind}", mass, concatenate(found[kind]), reach))
    seen = KnownFrames(tuple(signatures), np.stack([*signatures.values()]) if signatures else all_signatures(()))
    return FrameStore(tuple(pools), fingerprint.hexdigest(), frozenset(groups), seen)


def draw_probabilities(groups: Sequence[str], balance: float) -> Tensor:
    """How likely each frame is to be drawn: (n,) float64, sum 1, in proportion to its group's size ** -balance.

    Worked value: groups a, a, a, a, b with balance 0.5 give a 1/6 each and b 1/3.
    """
    sizes = Counter(groups)
    weights = torch.tensor([sizes[group] ** -balance for group in groups], dtype=torch.float64)
    return weights / weights.sum()


def even_out(likely: Tensor, masks: NDArray[np.uint8], even: float) -> Tensor:
    """Chances (n,) changed so that bins of 10 degrees of AoP and of the PS' direction are drawn more alike.

    Args:
        likely: chances, sum 1.
        masks: (n, h, w) drawn masks.
        even: 0 changes nothing, 1 draws all bins that hold a frame with the same chance; each chance is multiplied by
            its two bins' shares to the power -even / 2.
    """
    angles = np.array([drawn_angles(mask) for mask in masks])
    weights = likely.numpy().copy()
    factor = np.ones_like(weights)
    for column in angles.T:
        bins = np.floor(np.nan_to_num(column, nan=-1e3) / 10).astype(int)
        kinds, inverse = np.unique(bins, return_inverse=True)
        factor *= np.bincount(inverse, weights, len(kinds))[inverse] ** (-even / 2)
    weights *= factor
    return torch.from_numpy(weights / weights.sum())


def _origin(source: SourceSettings, seed: int) -> str:
    """What makes groups of one name the same: the data set, whatever its folder; of phantoms, the seed."""
    return f"{PHANTOM}{seed}" if source.path == PHANTOM else source.path.partition("/")[0]


def _add_synthetic(fingerprint: Fingerprint, frame: LabelledFrame, example: Batch) -> None:
    """Takes in a teacher's mask and its weight: written anew, they are other data."""
    written = replace(frame, mask=example.masks[0].numpy(), landmarks={"weight": (float(example.mask_weights), 0.0)})
    fingerprint.add(written)


def select_rows(batch: Batch, rows: Sequence[int]) -> Batch:
    """Some frames of a batch."""
    index = torch.as_tensor(rows)
    return Batch(**{name: getattr(batch, name)[index] for name in Batch.__dataclass_fields__})


def concatenate(batches: Sequence[Batch]) -> Batch:
    """Several batches as one."""
    names = Batch.__dataclass_fields__
    return Batch(**{name: torch.cat([getattr(batch, name) for batch in batches]) for name in names})


def as_float(batch: Batch) -> Batch:
    """Images from uint8 to float32 in [0, 1], masks from uint8 to int64."""
    return replace(batch, images=batch.images.float() / 255, masks=batch.masks.long())


def downscale(batch: Batch, size: int) -> Batch:
    """The same frames at a smaller side: images by area, masks by nearest neighbour."""
    masks = functional.interpolate(batch.masks[:, None].float(), (size, size), mode="nearest-exact")
    return replace(
        batch, images=functional.interpolate(batch.images, (size, size), mode="area"), masks=masks[:, 0].long()
    )


def fit_image(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Letterboxes a grey image to (size, size), as the pipeline does."""
    height, width = image.shape
    return Letterbox(image_height=height, image_width=width, height=size, width=size).apply(image)


def fit_mask(mask: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Letterboxes a mask to (size, size): each class is resampled like an image, the largest share wins."""
    ps, fh = (fit_image(np.where(mask == code, 255, 0).astype(np.uint8), size) for code in (1, 2))
    return np.where((ps > 127) & (ps >= fh), 1, np.where(fh > 127, 2, 0)).astype(np.uint8)


def _example(
    frame: LabelledFrame, source: SourceSettings, teacher: SyntheticMasks | None, *, size: int
) -> tuple[Batch | None, str]:
    """The frame with its weights and kind; None and the reason where nothing can be learned from it."""
    plane = {"": None, "standard": True, "other": False}[source.plane] if frame.plane is None else frame.plane
    mask, weight, synthetic = frame.mask if source.use_masks else None, 1.0, False
    if source.empty:
        mask = np.zeros(frame.image.shape, np.uint8)
    kind = "negative" if plane is False else "labelled"
    if mask is None and kind == "labelled":
        if teacher is None:
            return None, "no mask, and no folder 'synthetic' named"
        kind, synthetic = "unlabelled", True
        mask, weight = teacher.of(frame)
        if mask is None:
            return None, "its synthetic mask was not trusted"
    elif mask is None:
        mask, weight = np.zeros(frame.image.shape, np.uint8), 0.0
    return (
        Batch(
            images=torch.from_numpy(fit_image(frame.image, size))[None, None],
            masks=torch.from_numpy(fit_mask(mask, size))[None],
            planes=torch.tensor([float(plane is True)]),
            mask_weights=torch.tensor([weight]),
            plane_weights=torch.tensor([float(plane is not None)]),
            synthetic=torch.tensor([synthetic]),
            normal=torch.tensor([_normal(frame, source)]),
        ),
        kind,
    )


def _normal(frame: LabelledFrame, source: SourceSettings) -> float:
    """1 a normal picture, 0 a mirrored one, 0.5 where nobody knows."""
    if frame.mirrored is not None:
        return float(not frame.mirrored)
    return {"": 0.5, "normal": 1.0, "mirrored": 0.0}[source.orientation]


class SyntheticMasks:
    """The masks a teacher wrote into a folder, by `partum weak-labels`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        table = folder / WEIGHTS_FILE
        try:
            with table.open(newline="", encoding="utf-8") as file:
                self._weights = {unmarked(row["name"]): float(row["weight"]) for row in csv.DictReader(file)}
        except (OSError, KeyError, ValueError) as error:
            raise DataSetError(f"{table}: cannot be read ({error}); run partum weak-labels") from error

    def of(self, frame: LabelledFrame) -> tuple[NDArray[np.uint8] | None, float]:
        """The frame's mask and weight; None and 0 where the teacher was not trusted.

        Raises:
            DataSetError: the teacher did not see this frame, or its mask has another size.
        """
        if frame.name not in self._weights:
            raise DataSetError(f"{self._folder / WEIGHTS_FILE}: no row for {frame.name}; run partum weak-labels again")
        weight = self._weights[frame.name]
        if weight <= 0:
            return None, 0.0
        path = self._folder / f"{frame.name}.png"
        mask = read_mask(path)
        if mask.shape != frame.image.shape:
            raise DataSetError(
                f"{path}: {mask.shape}, but its frame is {frame.image.shape}; run partum weak-labels again"
            )
        return mask, weight


def frames_of(source: SourceSettings, data: Path, *, size: int, seed: int) -> Iterator[LabelledFrame]:
    """The frames of one source, less those that folds, shares and exclusions leave out.

    `size` and `seed` are of simulated frames alone.
    """
    if source.path == PHANTOM:
        yield from phantoms(source.count, size, seed)
        return
    dataset = open_dataset(data / source.path, source.layout or None)
    chosen = [frame for frame in dataset.frames(source.split or None) if source.look in ("", frame.look)]
    if source.folds:
        groups = content_groups((frame.image for frame in chosen), [frame.group for frame in chosen])
        chosen = [replace(frame, group=group) for frame, group in zip(chosen, groups, strict=True)]
        strata = [stratum_of(frame) for frame in chosen]
        held_out = grouped_folds(groups, source.folds, seed=0, strata=strata)[source.fold]
        chosen = [frame for k, frame in enumerate(chosen) if (k in held_out) == (source.take == "held_out")]
    chosen = [frame for frame in chosen if frame.name not in source.exclude]  # folds do not depend on it
    if source.share < 1:
        kept = grouped_holdout([frame.group for frame in chosen], source.share, seed=source.share_seed)
        if source.rest_unlabelled:
            chosen = [frame if k in kept else replace(frame, mask=None) for k, frame in enumerate(chosen)]
        else:
            chosen = [frame for k, frame in enumerate(chosen) if k in kept]
    yield from thin_out(chosen, source.per_group) if source.per_group else chosen


def thin_out(frames: Iterable[LabelledFrame], per_group: int) -> list[LabelledFrame]:
    """At most so many frames of each group, evenly spread: neighbouring frames of a video teach nothing new."""
    groups: dict[str, list[LabelledFrame]] = defaultdict(list)
    for frame in frames:
        groups[frame.group].append(frame)
    kept = []
    for members in groups.values():
        places = np.linspace(0, len(members) - 1, min(per_group, len(members))).round().astype(int)
        kept += [members[place] for place in places]
    return kept


def phantoms(count: int, size: int, seed: int) -> Iterator[LabelledFrame]:
    """Draws `count` simulated standard planes and as many that are none, half of them mirrored."""
    for standard in (True, False):
        for index in range(count):
            rng = np.random.default_rng([seed, int(standard), index])
            mirrored = bool(rng.integers(2))
            scene = sample_scene(rng, standard=standard, mirrored=mirrored)
            name = f"phantom_{int(standard)}_{index}"
            # Beside the midline a bright ramus lies where the PS would be: those frames teach no mask.
            mask = scene_masks(scene, size) if standard else None
            image = render(scene, rng, size)
            yield LabelledFrame(name=name, group=name, image=image, mask=mask, plane=standard, mirrored=mirrored)
