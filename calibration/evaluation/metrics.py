"""Segmentation metrics (Dice, ASD, HD95) as the IUGC 2024 challenge defines them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOTHING_FOUND_PX = 100.0
"""What the challenge gives for ASD and HD where the prediction is empty; HD95, which it lacks, follows them."""

REGIONS = {"ps": (1,), "fh": (2,), "all": (1, 2)}
"""The label codes of each region that is scored; `all` takes PS and FH together as one class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionScore:
    """How well one region of a frame was found.

    Attributes:
        true_px, found_px: area in the annotation and in the prediction.
        dice: [0, 1]; None, like the distances, where the annotation does not show the region.
        asd_px, hd_px, hd95_px: distances in pixels of the mask, 0 or more.
    """

    true_px: int
    found_px: int
    dice: float | None = None
    asd_px: float | None = None
    hd_px: float | None = None
    hd95_px: float | None = None


def score_region(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> RegionScore:
    """Scores one region, (H, W) bool each.

    Convention: an annotation without the region gives no score: the challenge has no such frames. A prediction
    without it gives Dice 0 and 100 px for every distance.
    """
    true_px, found_px = int(np.count_nonzero(truth)), int(np.count_nonzero(found))
    if not true_px:
        return RegionScore(true_px=0, found_px=found_px)
    if not found_px:
        worst = NOTHING_FOUND_PX
        return RegionScore(true_px=true_px, found_px=0, dice=0.0, asd_px=worst, hd_px=worst, hd95_px=worst)
    asd_px, hd95_px = boundary_distances(found, truth)
    return RegionScore(
        true_px=true_px,
        found_px=found_px,
        dice=dice(found, truth),
        asd_px=asd_px,
        hd_px=hausdorff_distance(found, truth),
        hd95_px=hd95_px,
    )


def score_labels(found: NDArray[np.uint8], truth: NDArray[np.uint8]) -> dict[str, RegionScore]:
    """Scores every region of `REGIONS` on label masks (H, W) of one size, 0 background, 1 PS, 2 FH."""
    return {name: score_region(np.isin(found, codes), np.isin(truth, codes)) for name, codes in REGIONS.items()}


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Overlap of two regions, (H, W) bool each.

    Convention: (2 |A and B| + 1) / (|A| + |B| + 1), in (0, 1]; two empty regions give 1. Worked value: 4 and 6
    pixels that share 3 give 7 / 11. Source: the IUGC 2024 evaluator.
    """
    overlap = np.count_nonzero(first & second)
    return float((2 * overlap + 1) / (np.count_nonzero(first) + np.count_nonzero(second) + 1))


def hausdorff_distance(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """The greatest distance from any pixel of one region to the nearest of the other.

    Convention: pixels, between pixel centres, over all pixels of both regions and not their outlines only, the
    larger of the two directions; 0 for equal regions. Neither may be empty. Worked value: single pixels at (0, 0)
    and (3, 4) give 5. Source: SimpleITK's HausdorffDistanceImageFilter, which the IUGC 2024 evaluator calls.
    """
    first, second = _cropped(first, second)
    return max(float(_distance_to(second)[first].max()), float(_distance_to(first)[second].max()))


def boundary_distances(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[float, float]:
    """ASD and HD95 of two regions, neither of them empty.

    Convention: pixels, from each boundary pixel of one region to the nearest boundary pixel of the other. ASD is
    the mean over the boundary pixels of both together. HD95 is the 95th percentile of each direction (linear
    between values), the larger of the two. A region that fills the picture has no boundary: 100 px, as for an
    empty one. Worked value: single pixels at (0, 0) and (3, 4) give 5 and 5. Source: ASD as in the IUGC 2024
    evaluator, where the boundary is what lies at distance 0 in SimpleITK's SignedMaurerDistanceMap.
    """
    edges = _cropped(boundary(first), boundary(second))
    if not all(edge.any() for edge in edges):
        return NOTHING_FOUND_PX, NOTHING_FOUND_PX
    there = _distance_to(edges[1])[edges[0]]
    back = _distance_to(edges[0])[edges[1]]
    asd_px = float((there.sum() + back.sum()) / (there.size + back.size))
    return asd_px, float(max(np.percentile(there, 95), np.percentile(back, 95)))


def boundary(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a region that touch the background by a side or a corner, (H, W) bool.

    Convention: beyond the picture's border there is nothing to touch. Worked value: of a 3 x 3 block all but the
    middle; of a block in a corner of the picture only its inner sides.
    """
    solid = region.astype(np.uint8)
    inside = cv2.erode(solid, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1)
    edge: NDArray[np.bool_] = region & (inside == 0)
    return edge


def _distance_to(region: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Exact Euclidean distance of every pixel to the region, which is not empty."""
    outside = (~region).astype(np.uint8)
    rough = np.asarray(cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), dtype=np.float64)
    # OpenCV's roots are right to single precision; the squares are whole numbers, which undoes that.
    exact: NDArray[np.float64] = np.sqrt(np.rint(rough * rough))
    return exact


def _cropped(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Both regions, cut to the box around them: beyond it there is nothing to measure, and frames are large."""
    left, top, width, height = cv2.boundingRect((first | second).astype(np.uint8))
    box = (slice(top, top + height), slice(left, left + width))
    return first[box], second[box]
