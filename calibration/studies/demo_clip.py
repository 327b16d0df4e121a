"""Makes the demonstration clip: one real frame brought to motion by smooth warps of a known AoP course.

    python -m calibration.studies.demo_clip DATA/psfhs/val/images/04090.png stream/demo

The frame is of PSFHS (Chen et al., Sci Data 2024, doi 10.1038/s41597-024-03266-4, CC BY 4.0); its mask lies in
`../masks`. Its pixels are made square by the scanner's ruler, so that turns are true turns. It is an animated still:
nothing in it moves as tissue would. The head is turned and drawn near about the inferior PS end, so that AoP changes by
exactly the turn and HSD by exactly the scale; the PS, the sector and the scanner's marks stay. Towards the end the view
slides off the symphysis, which is no standard plane.

Written are `demo.mp4` and `demo.csv`, the course: what AoP and HSD each frame was given.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np

from stream.measurement.biometry import Orientation
from stream.measurement.protocols import measure
from stream.preprocessing.depth_ruler import read_ruler
from stream.preprocessing.sector.detection import PixelExtrema, find_sector, small_copy
from stream.sources.files.images.source import read_grey

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEIGHT_PX = 512
RATE_HZ = 24
DURATION_S = 14
PUSHES_S = ((1.5, 4.6), (5.4, 8.6))
"""Start and end of each push."""
PUSH_DEG = (9.0, 13.0)
NEARER_PER_DEG = 0.005
"""HSD shrinks by this share per degree of AoP: about 0.37 mm per degree at 80 mm from the head's centre."""
OFF_PLANE_S = (9.9, 12.2)
"""The view slides off the symphysis during this time; half a second of it on either side is neither."""
SLIDE_S = 0.5
NOTE = "ANIMATED STILL: one PSFHS frame, warped (CC BY 4.0)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipMoment:
    """What the clip shows at one time.

    Attributes:
        turn_deg: of the head about the inferior PS end; AoP grows by it.
        nearer: scale of the head about that end; HSD is multiplied by it.
        slide: 0 on the standard plane, 1 with the symphysis out of view.
        probe_px: shift of the whole picture under the sector.
    """

    time_s: float
    turn_deg: float
    nearer: float
    slide: float
    probe_px: tuple[float, float]


def smooth_step(x: float) -> float:
    """0 below 0, 1 above 1, with zero slope at both."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


def clip_moment(index: int) -> ClipMoment:
    """The moment of frame `index`."""
    time_s = index / RATE_HZ
    turn = 0.6 * np.sin(2 * np.pi * 0.3 * time_s)  # breathing
    for (start, end), degrees in zip(PUSHES_S, PUSH_DEG, strict=True):
        turn += degrees * smooth_step((time_s - start) / 1.2) * smooth_step((end - time_s) / 1.0)
    start, end = OFF_PLANE_S
    slide = smooth_step((time_s - start) / SLIDE_S) * smooth_step((end - time_s) / SLIDE_S)
    probe = (1.6 * np.sin(2 * np.pi * 0.23 * time_s), 1.1 * np.sin(2 * np.pi * 0.31 * time_s + 1))
    return ClipMoment(time_s=time_s, turn_deg=turn, nearer=1 - NEARER_PER_DEG * turn, slide=slide, probe_px=probe)


def moving_share(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How much each pixel follows the head, (H, W) in [0, 1]: 1 on the head, 0 on the PS, smooth between."""
    to_head = cv2.distanceTransform((mask != 2).astype(np.uint8), cv2.DIST_L2, 5)
    to_ps = cv2.distanceTransform((mask != 1).astype(np.uint8), cv2.DIST_L2, 5)
    margin = 0.012 * mask.shape[0]
    near, far = np.maximum(to_head - margin, 0.0), np.maximum(to_ps - margin, 0.0)
    share = far / np.maximum(near + far, 1e-3)
    fading = np.exp(-0.5 * (near / (0.12 * mask.shape[0])) ** 2)
    return np.asarray(share * share * (3 - 2 * share) * fading, dtype=np.float32)


def ultrasound_region(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The ultrasound fan, (H, W) 0 or 1: the hull of the largest bright region."""
    bright = cv2.morphologyEx(
        (cv2.GaussianBlur(image, (0, 0), 3) > 6).astype(np.uint8), cv2.MORPH_OPEN, np.ones((15, 15))
    )
    contours, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    fan = np.zeros_like(image)
    cv2.fillPoly(fan, [cv2.convexHull(max(contours, key=cv2.contourArea))], 1)
    return fan


class Still:
    """A frame with its mask, ready to be moved.

    Args:
        image, mask: (H, W) uint8, the PS on the left; mask 0, 1 PS, 2 FH.
    """

    def __init__(self, image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
        self._image, self._mask, self._fan = image, mask, ultrasound_region(image)
        biometry = measure(mask, orientation=Orientation.NORMAL)
        if biometry.landmarks is None or biometry.aop_deg is None or biometry.hsd_min is None:
            raise ValueError(f"the still cannot be measured: {biometry.reason}; choose another frame")
        self._vertex = np.array(biometry.landmarks.ps_inferior)
        self.aop_deg, self.hsd_px = biometry.aop_deg, biometry.hsd_min
        height, width = image.shape
        self._x, self._y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self._image.shape[1], self._image.shape[0]

    def at(self, moment: ClipMoment, rng: np.random.Generator) -> NDArray[np.uint8]:
        """The picture of a moment; a new array."""
        # Where each pixel comes from: first the probe's shift and slide, then the head's own motion undone.
        x = self._x - moment.probe_px[0] + 0.5 * self._image.shape[1] * moment.slide
        y = self._y - moment.probe_px[1] + 0.12 * self._image.shape[0] * moment.slide
        share = cv2.remap(self._share(moment), _map(x), _map(y), cv2.INTER_LINEAR)
        # The head lies below the PS axis and leads to the right: a growing AoP turns it counter-clockwise on the
        # screen, about the vertex, so the source lies clockwise.
        turn = np.deg2rad(moment.turn_deg) * share
        zoom = 1 / (1 + (moment.nearer - 1) * share)
        dx, dy = x - self._vertex[0], y - self._vertex[1]
        from_x = self._vertex[0] + zoom * (np.cos(turn) * dx - np.sin(turn) * dy)
        from_y = self._vertex[1] + zoom * (np.sin(turn) * dx + np.cos(turn) * dy)
        moved = cv2.remap(self._image * self._fan, _map(from_x), _map(from_y), cv2.INTER_CUBIC)
        lifted = 1 - 0.55 * moment.slide  # contact is lost while the probe slides
        noise = np.asarray(rng.standard_normal(moved.shape), dtype=np.float32)
        grain = 1 + 0.035 * cv2.GaussianBlur(noise, (0, 0), 0.8)
        picture = np.where(self._fan > 0, moved * lifted * grain, self._image)
        return np.asarray(np.clip(np.round(picture), 0, 255), dtype=np.uint8)

    def _share(self, moment: ClipMoment) -> NDArray[np.float32]:
        """How much each pixel follows the head where the head lies at that moment."""
        centre = (float(self._vertex[0]), float(self._vertex[1]))
        motion = cv2.getRotationMatrix2D(centre, moment.turn_deg, moment.nearer)
        head = (self._mask == 2).astype(np.uint8)
        moved = cv2.warpAffine(head, motion, self._mask.shape[::-1], flags=cv2.INTER_NEAREST)
        return moving_share(np.where(self._mask == 1, 1, 2 * moved).astype(np.uint8))


def _map(coordinates: NDArray[np.floating]) -> NDArray[np.float32]:
    """Coordinates in the one type that OpenCV's remap takes."""
    return np.asarray(coordinates, dtype=np.float32)


def write_clip(still: Still, folder: Path) -> None:
    """Writes `demo.mp4` and `demo.csv`."""
    rng = np.random.default_rng(4090)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        av.open(str(folder / "demo.mp4"), "w", options={"movflags": "+faststart"}) as container,
        (folder / "demo.csv").open("w", newline="") as file,
    ):
        container.metadata["comment"] = f"partum-note: {NOTE}"
        stream = container.add_stream("libx264", rate=Fraction(RATE_HZ), options={"crf": "18", "preset": "veryslow"})
        stream.width, stream.height = still.size
        stream.pix_fmt = "yuv420p"
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["index", "pts_s", "standard_plane", "aop_deg", "hsd_min_px"])
        for index in range(DURATION_S * RATE_HZ):
            moment = clip_moment(index)
            picture = av.VideoFrame.from_ndarray(still.at(moment, rng), format="gray")
            container.mux(stream.encode(picture))
            plane = {True: "yes", False: "no"}.get(moment.slide == 0) if moment.slide in (0.0, 1.0) else "between"
            table.writerow(
                [
                    index,
                    f"{moment.time_s:.4f}",
                    plane,
                    f"{still.aop_deg + moment.turn_deg:.3f}",
                    f"{still.hsd_px * moment.nearer:.3f}",
                ]
            )
        container.mux(stream.encode())


def pixel_aspect(image: NDArray[np.uint8]) -> float:
    """Width of a pixel over its height, by the ruler on the picture."""
    gathered = PixelExtrema((image.shape[0], image.shape[1]))
    gathered.add(small_copy(image))
    found = find_sector(gathered)
    ruler = read_ruler(image, found.mask) if found else None
    if ruler is None:
        raise ValueError("the still shows no ruler that can be read; choose another frame")
    return ruler.spacing.x_mm / ruler.spacing.y_mm


def load_still(path: Path) -> Still:
    """Loads a PSFHS frame and its mask, enlarged to the clip's size."""
    original = read_grey(path)
    size = (2 * round(HEIGHT_PX * pixel_aspect(original) / 2), HEIGHT_PX)
    mask = read_grey(path.parent.parent / "masks" / path.name)
    smooth = [
        cv2.resize(np.where(mask == code, 255, 0).astype(np.uint8), size, interpolation=cv2.INTER_CUBIC)
        for code in (1, 2)
    ]
    enlarged = np.where(smooth[0] > 127, 1, np.where(smooth[1] > 127, 2, 0)).astype(np.uint8)
    image = cv2.resize(original, size, interpolation=cv2.INTER_CUBIC)
    return Still(np.asarray(image, dtype=np.uint8), enlarged)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m calibration.studies.demo_clip PSFHS_IMAGE.png FOLDER")
    write_clip(load_still(Path(sys.argv[1])), Path(sys.argv[2]))
