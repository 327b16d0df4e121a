"""Filters of weak labels: which teacher masks may be learned from, and their weight. Arrays only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import cv2
import numpy as np

from calibration.evaluation.metrics import dice
from engines.postprocess import class_labels
from stream.measurement.biometry import Orientation
from stream.measurement.contours import largest_contour
from stream.measurement.protocols import measure

if TYPE_CHECKING:
    from numpy.typing import NDArray

PS, FH = 1, 2
Pair = tuple[float, float]
"""A value of PS and the same of FH, or the lower and upper end of a range."""


class LabelRefusal(StrEnum):
    """Why a frame gets no synthetic mask. The values are the codes written to `weights.csv`."""

    NO_PS = "no_ps"
    NO_FH = "no_fh"
    UNSURE = "unsure"
    INCONSISTENT = "inconsistent"
    SCATTERED = "scattered"
    PS_SIZE = "ps_size"
    FH_SIZE = "fh_size"
    SIZE_RATIO = "size_ratio"
    PS_BELOW_FH = "ps_below_fh"
    RAGGED = "ragged"
    NOT_MEASURABLE = "not_measurable"
    PLANE_UNKNOWN = "plane_unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterLimits:
    """What a mask must reach. Areas are free of scale, so that they hold for pictures squeezed to squares too.

    The 658 masks of PSFHS that people drew span: PS 0.010 to 0.050 of the picture, FH 0.065 to 0.325, FH over PS 3.5
    to 15.6, solidity 0.925 and 0.979 at least, AoP 63 to 192 degrees, one component each. The ranges leave room
    beyond that for other scanners, depths and crops.

    Attributes:
        confidence: least mean probability over a structure's pixels, of PS and of FH.
        consistency_ps, consistency_fh: least Dice between the masks of the frame and of its mirror image.
        wholeness: least share of a structure's pixels that its largest component holds.
        ps_share, fh_share: of the picture's area.
        fh_over_ps: ratio of the areas.
        solidity: least area of a structure over that of its convex hull.
    """

    confidence: float = 0.8
    consistency_ps: float = 0.85
    consistency_fh: float = 0.9
    wholeness: float = 0.95
    ps_share: Pair = (0.002, 0.08)
    fh_share: Pair = (0.03, 0.45)
    fh_over_ps: Pair = (2.5, 40.0)
    solidity: float = 0.85


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class WeakLabel:
    """A teacher's mask and what is thought of it.

    Attributes:
        mask: (H, W) uint8, 0 background, 1 PS, 2 FH, one component each.
        refusal: None where the mask may be learned from.
        confidence, consistency: of PS and of FH, [0, 1].
    """

    mask: NDArray[np.uint8]
    refusal: LabelRefusal | None
    confidence: Pair
    consistency: Pair

    @property
    def weight(self) -> float:
        """How much the mask counts; 0 where it was refused."""
        return 0.0 if self.refusal else label_weight(self.confidence, self.consistency)


def filter_mask(plain: NDArray[np.float32], flipped: NDArray[np.float32], limits: FilterLimits) -> WeakLabel:
    """Makes one mask of two predictions and says whether it may be learned from.

    Args:
        plain: (3, H, W) probabilities of background, PS and FH for the frame.
        flipped: the same for its mirror image, mirrored back.
        limits: what the mask must reach.
    """
    _, height, width = plain.shape
    mean: NDArray[np.float32] = np.mean((plain, flipped), axis=0, dtype=np.float32)
    found = class_labels(mean, height, width)
    mask, wholeness = dominant_components(found)
    sure = structure_confidence(mean, mask)
    consistent = flip_consistency(class_labels(plain, height, width), class_labels(flipped, height, width))
    refusal = (
        presence_refusal(mask)
        or confidence_refusal(sure, limits)
        or consistency_refusal(consistent, limits)
        or anatomy_refusal(mask, wholeness, limits)
    )
    return WeakLabel(mask=mask, refusal=refusal, confidence=sure, consistency=consistent)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities (3, H, W) from logits of the same shape; they add up to 1 at every pixel."""
    raised = np.exp(logits - logits.max(axis=0))
    probabilities: NDArray[np.float32] = raised / raised.sum(axis=0)
    return probabilities


def label_weight(confidence: Pair, consistency: Pair) -> float:
    """How much a mask that was not refused counts in the loss.

    Convention: the lower confidence times the lower consistency of the two structures, (0, 1]; a mask is as good as
    its worse half. Worked value: confidence 0.9 and 0.95, consistency 0.88 and 0.97 give 0.9 * 0.88 = 0.792.
    """
    return min(confidence) * min(consistency)


def structure_confidence(probabilities: NDArray[np.float32], mask: NDArray[np.uint8]) -> Pair:
    """The mean probability of PS over the pixels labelled PS, and of FH over those labelled FH.

    Convention: [0, 1], probabilities (3, H, W), mask (H, W); 0 where a structure is missing. Worked value: PS at two
    pixels with 0.9 and 0.7 gives 0.8.
    """
    ps, fh = (
        float(probabilities[code][mask == code].mean(dtype=np.float64)) if (mask == code).any() else 0.0
        for code in (PS, FH)
    )
    return ps, fh


def flip_consistency(plain: NDArray[np.uint8], flipped: NDArray[np.uint8]) -> Pair:
    """Dice of PS and of FH between the masks of a frame and of its mirror image, the latter mirrored back.

    Convention: (0, 1] as `calibration.evaluation.metrics.dice`. Worked value: PS of 4 and of 6 pixels that share 3
    gives 7 / 11.
    """
    return dice(plain == PS, flipped == PS), dice(plain == FH, flipped == FH)


def dominant_components(labels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Pair]:
    """Keeps the largest piece of PS and of FH, and says what share of each structure's pixels it holds.

    Convention: pieces touch by a side or a corner; shares in [0, 1], 0 where a structure is missing; of equal pieces
    the upper one stays. Worked value: PS in pieces of 19 and 1 pixels leaves the first and gives 0.95.
    """
    kept = np.zeros_like(labels)
    shares = []
    for code in (PS, FH):
        region = (labels == code).view(np.uint8)
        _, pieces, facts, _ = cv2.connectedComponentsWithStats(region, connectivity=8)
        areas = facts[1:, cv2.CC_STAT_AREA]
        if len(areas):
            kept[pieces == 1 + areas.argmax()] = code
        shares.append(float(areas.max() / areas.sum()) if len(areas) else 0.0)
    return kept, (shares[0], shares[1])


def solidity(region: NDArray[np.bool_]) -> float:
    """How little a region's outline is dented.

    Convention: area inside the outer contour over that of its convex hull, [0, 1], through pixel centres, holes
    filled; 0 for a region without area: empty, a pixel, a line. Worked value: a block of 3 x 3 pixels gives 1; an L of
    two strips of 21 x 3 pixels, 76.5 of 238 square pixels, gives 0.32.
    """
    contour = largest_contour(region)
    hull_area = 0.0 if contour is None else cv2.contourArea(cv2.convexHull(contour))
    return cv2.contourArea(contour) / hull_area if contour is not None and hull_area else 0.0


def presence_refusal(mask: NDArray[np.uint8]) -> LabelRefusal | None:
    """`no_ps` or `no_fh` where a structure has no pixel. Worked value: a mask of FH alone gives `no_ps`."""
    for code, refusal in ((PS, LabelRefusal.NO_PS), (FH, LabelRefusal.NO_FH)):
        if not (mask == code).any():
            return refusal
    return None


def confidence_refusal(confidence: Pair, limits: FilterLimits) -> LabelRefusal | None:
    """`unsure` where a structure's confidence is too low. Worked value: (0.79, 0.99) of at least 0.8 is."""
    return LabelRefusal.UNSURE if min(confidence) < limits.confidence else None


def consistency_refusal(consistency: Pair, limits: FilterLimits) -> LabelRefusal | None:
    """`inconsistent` where mirroring changes a mask too much. Worked value: (0.86, 0.89) is, for FH needs 0.9."""
    ps, fh = consistency
    return LabelRefusal.INCONSISTENT if ps < limits.consistency_ps or fh < limits.consistency_fh else None


def anatomy_refusal(mask: NDArray[np.uint8], wholeness: Pair, limits: FilterLimits) -> LabelRefusal | None:
    """Why a mask cannot be of a PS and a head; None where it can.

    Convention: the first of these, in this order. `scattered`: a structure lay in several pieces. `ps_size`,
    `fh_size`, `size_ratio`: areas out of range, ends of a range are within it. `ps_below_fh`: the centroid of PS is
    not above that of FH (y down). `ragged`: solidity too low. `not_measurable`: protocol `robust` refuses the mask;
    it takes pictures either way round, and AoP from 60 to 200 degrees only. Worked value: in a picture of 100 x 100
    a PS of 200 pixels above a head of 400 gives `size_ratio`, 2.

    Args:
        mask: (H, W), one component of PS and one of FH.
        wholeness: what share of each structure that component is.
        limits: the ranges.
    """
    ps, fh = mask == PS, mask == FH
    ps_px, fh_px = np.count_nonzero(ps), np.count_nonzero(fh)
    refusal: LabelRefusal | None = None
    if min(wholeness) < limits.wholeness:
        refusal = LabelRefusal.SCATTERED
    elif not _within(ps_px / mask.size, limits.ps_share):
        refusal = LabelRefusal.PS_SIZE
    elif not _within(fh_px / mask.size, limits.fh_share):
        refusal = LabelRefusal.FH_SIZE
    elif not _within(fh_px / ps_px, limits.fh_over_ps):
        refusal = LabelRefusal.SIZE_RATIO
    elif np.nonzero(ps)[0].mean() >= np.nonzero(fh)[0].mean():
        refusal = LabelRefusal.PS_BELOW_FH
    elif min(solidity(ps), solidity(fh)) < limits.solidity:
        refusal = LabelRefusal.RAGGED
    elif all(measure(mask, orientation=one).reason for one in (Orientation.NORMAL, Orientation.MIRRORED)):
        refusal = LabelRefusal.NOT_MEASURABLE
    return refusal


def _within(value: float, ends: Pair) -> bool:
    return ends[0] <= value <= ends[1]
