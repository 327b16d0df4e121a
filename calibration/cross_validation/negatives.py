"""Frames that are no standard planes, to judge the gate by: structures taken away, other anatomy, no signal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from calibration.learning.augmentation.appearance import dilate
from calibration.learning.augmentation.negatives import no_signal
from calibration.learning.augmentation.tissue import fill_with_tissue
from calibration.learning.frames import fit_image, frames_of, phantoms
from calibration.learning.settings.training import SourceSettings

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SEED = 1_000_003
"""No training draws by it."""
BLANKS, PHANTOMS = 40, 20
_MARGIN_PX = 4
_SOURCES = 60
_MOST_OF_STRUCTURE = 0.02
"""Share of a region that may show the source's own structure."""
_DARK = 10


def fold_negatives(
    images: NDArray[np.uint8], drawn: NDArray[np.uint8], *, data: Path, fold: int
) -> dict[str, NDArray[np.uint8]]:
    """Negatives by kind, (k, S, S) uint8 each, of frames that the fold's networks did not learn from.

    Args:
        images: (n, S, S) uint8 standard planes.
        drawn: (n, S, S) their masks.
        data: folder of the data sets.
        fold: whose held-out clips and pelvic-floor frames are taken.
    """
    side = images.shape[-1]
    kinds = {
        "PS filled with tissue": fill_structure(images, drawn, 1),
        "PS from another frame": clone_structure(images, drawn, 1),
        "FH filled with tissue": fill_structure(images, drawn, 2),
    }
    for path in ("clips", "pelvic_floor"):
        source = SourceSettings(path=path, folds=4, fold=fold % 4, take="held_out", per_group=24)
        kinds[path] = np.stack([fit_image(frame.image, side) for frame in frames_of(source, data, size=side, seed=0)])
    kinds["phantom off plane"] = np.stack(
        [frame.image for frame in phantoms(PHANTOMS, side, SEED + fold) if not frame.plane]
    )
    blank = no_signal(torch.zeros(BLANKS, 1, side, side), torch.Generator().manual_seed(SEED + fold))
    kinds["no signal"] = (blank[:, 0] * 255).byte().numpy()
    return kinds


def fill_structure(images: NDArray[np.uint8], drawn: NDArray[np.uint8], code: int) -> NDArray[np.uint8]:
    """A structure filled as in training, with draws of its own: (n, S, S)."""
    out = []
    generator = torch.Generator().manual_seed(SEED)
    for start in range(0, len(images), 16):
        picture = torch.from_numpy(images[start : start + 16])[:, None].float() / 255
        mask = torch.from_numpy(drawn[start : start + 16])[:, None]
        region = dilate((mask == code).float(), _MARGIN_PX)
        out.append((fill_with_tissue(picture, region, (mask > 0).float(), generator)[:, 0] * 255).byte().numpy())
    return np.concatenate(out)


def clone_structure(images: NDArray[np.uint8], drawn: NDArray[np.uint8], code: int) -> NDArray[np.uint8]:
    """A structure covered by what another frame, mirrored, shows there; seamless (Perez et al., SIGGRAPH 2003).

    Mirrored, the tissue behind the PS lies where the PS was. Trainings that fill seamlessly too do so with other
    frames, other places and another solver. Frames for which no other frame is without the structure there are left
    out: (k, S, S), k at most n.
    """
    rng = np.random.default_rng(SEED)
    out = []
    ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _MARGIN_PX + 1,) * 2)
    for image, mask in zip(images, drawn, strict=True):
        region = cv2.dilate((mask == code).astype(np.uint8) * 255, ball)
        region[[0, -1]] = region[:, [0, -1]] = 0
        source = _source_for(region > 0, code, images, drawn, rng)
        if source is None:
            continue
        left, top, width, height = cv2.boundingRect(region)
        centre = (left + width // 2, top + height // 2)
        colour = [cv2.cvtColor(np.ascontiguousarray(each), cv2.COLOR_GRAY2BGR) for each in (source, image)]
        out.append(cv2.seamlessClone(colour[0], colour[1], region, centre, cv2.NORMAL_CLONE)[:, :, 0])
    return np.stack(out) if out else images[:0]


def _source_for(
    region: NDArray[np.bool_], code: int, images: NDArray[np.uint8], drawn: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.uint8] | None:
    """Of `_SOURCES` mirrored frames the one with least darkness in a region, of those without the structure there."""
    if not region.any():
        return None
    shown = [(images[other][:, ::-1], drawn[other][:, ::-1]) for other in rng.integers(0, len(images), _SOURCES)]
    fit = [picture for picture, codes in shown if (codes == code)[region].mean() <= _MOST_OF_STRUCTURE]
    return min(fit, key=lambda picture: float((picture < _DARK)[region].mean()), default=None)
