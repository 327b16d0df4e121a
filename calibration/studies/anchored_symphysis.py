"""AoP with the symphysis followed as the rigid bone that it is: in a frame that moves with it, over seconds.

A candidate for the track, judged by `calibration.studies.tracking`: the picture around the PS is registered from frame
to frame, both ends of its axis are averaged in the coordinates that move with it, and AoP is read anew from those ends
and the frame's own tangent point.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from stream.measurement.biometry import Landmarks

    Series = NDArray[np.float64]

MEMORY_S = 2.0
"""Over which the ends are averaged."""
BONE, SURROUNDINGS = (0.6, 0.35), (1.3, 1.3)
"""Half axes of the ellipse around the PS within which the picture is registered, in lengths of the PS."""
LEAST_CORNERS = 6
MOST_RETURN_PX = 0.7
"""A corner that does not come back within this when it is followed backwards was lost."""


def anchored_aop(
    pictures: Sequence[NDArray[np.uint8]],
    landmarks: Sequence[Landmarks | None],
    t_s: Series,
    aop_deg: Series,
    quality: Series,
    *,
    within: tuple[float, float] = BONE,
) -> Series:
    """AoP (n,) of each frame by the anchored symphysis, degrees; NaN where a frame has no reading.

    Args:
        pictures: (n) of (H, W) uint8, normal ones.
        landmarks: of each frame's reading, pixels.
        t_s: (n,) of each frame.
        aop_deg: (n,) read from each; NaN where there is no reading.
        quality: (n,) of each reading; NaN likewise.
        within: half axes of what is registered, in lengths of the PS.
    """
    motion, last = np.eye(3), None
    ends, motions, found = np.full((len(t_s), 4), np.nan), [], np.full(len(t_s), np.nan)
    for row, (picture, read) in enumerate(zip(pictures, landmarks, strict=True)):
        if row and last is not None:
            motion = registered(pictures[row - 1], picture, last, within=within) @ motion
        motions.append(motion)
        if read is None or not math.isfinite(aop_deg[row]):
            continue
        last = read
        back = np.asarray(np.linalg.inv(motion), np.float64)
        ends[row] = np.concatenate([_moved(back, read.ps_inferior), _moved(back, read.ps_superior)])
        age = t_s[row] - t_s[: row + 1]
        weights = np.exp(-age / MEMORY_S) * np.where(np.isfinite(ends[: row + 1, 0]), quality[: row + 1], 0.0)
        mean = np.average(np.nan_to_num(ends[: row + 1]), axis=0, weights=np.nan_to_num(weights) + 1e-9)
        inferior, superior = _moved(motion, mean[:2]), _moved(motion, mean[2:])
        own = _angle(np.array(read.ps_inferior), np.array(read.ps_superior), read.tangent)
        found[row] = aop_deg[row] + _angle(inferior, superior, read.tangent) - own
    return found


def registered(
    before: NDArray[np.uint8], after: NDArray[np.uint8], read: Landmarks, *, within: tuple[float, float] = BONE
) -> NDArray[np.float64]:
    """The rigid motion (3, 3) of the PS from one picture to the next; none where too few corners are found again."""
    superior, inferior = np.array(read.ps_superior), np.array(read.ps_inferior)
    along = inferior - superior
    length, middle = float(np.linalg.norm(along)), (superior + inferior) / 2
    region = np.zeros(before.shape, np.uint8)
    axes = (round(within[0] * length), round(within[1] * length))
    cv2.ellipse(
        region,
        (round(middle[0]), round(middle[1])),
        axes,
        math.degrees(math.atan2(along[1], along[0])),
        0,
        360,
        255,
        -1,
    )
    corners = cv2.goodFeaturesToTrack(before, 60, 0.01, 3, mask=region)
    if corners is None or len(corners) < LEAST_CORNERS:
        return np.eye(3)
    size = {"winSize": (15, 15), "maxLevel": 2}
    there, seen, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None, **size)  # type: ignore[call-overload]
    again, seen_again, _ = cv2.calcOpticalFlowPyrLK(after, before, there, None, **size)  # type: ignore[call-overload]
    kept = (seen.ravel() > 0) & (seen_again.ravel() > 0)
    kept &= np.linalg.norm((again - corners).reshape(-1, 2), axis=1) < MOST_RETURN_PX
    if kept.sum() < LEAST_CORNERS:
        return np.eye(3)
    similarity, _ = cv2.estimateAffinePartial2D(corners[kept], there[kept], method=cv2.LMEDS)
    if similarity is None:
        return np.eye(3)
    turn = similarity[:, :2] / math.hypot(similarity[0, 0], similarity[1, 0])
    shift = there[kept].reshape(-1, 2).mean(axis=0) - turn @ corners[kept].reshape(-1, 2).mean(axis=0)
    return np.vstack([np.column_stack([turn, shift]), [0.0, 0.0, 1.0]])


def _moved(motion: NDArray[np.float64], point: Sequence[float] | Series) -> Series:
    x, y = point
    return np.asarray((motion @ np.array([x, y, 1.0]))[:2])


def _angle(inferior: Series, superior: Series, tangent: Sequence[float]) -> float:
    """From the axis to the tangent, degrees in [0, 360), in a normal picture."""
    axis, side = superior - inferior, np.array(tangent) - inferior
    return math.degrees(math.atan2(axis[1] * side[0] - axis[0] * side[1], float(axis @ side))) % 360.0
