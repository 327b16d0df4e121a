"""Accuracy of preprocessing: view changes detected, false ones, and heads cut by the sector.

Run: python -m benchmarks.experiments.preprocessing DATA. Writes benchmarks/results/watch.json:

    false_seams  recordings in which nothing changes, at their own rate and at a half and a third of it
    changes      real frames that are moved, then flipped, turned or zoomed, as H.264 codes them: how many of each were
                 told, in the first picture after it, as what they are
    cut_heads    drawn masks that a moved sector cuts: how far AoP is off, with and without refusals
"""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
from rich.console import Console

from calibration.fitting.probe_motion import animate_still
from stream.common.clock import MonotonicClock
from stream.measurement.biometry import Orientation
from stream.measurement.protocols import measure
from stream.preprocessing.sector.detection import PixelExtrema, find_outline, find_sector, small_copy
from stream.preprocessing.view_change import ViewChange, ViewChangeDetector
from stream.sources import open_source
from stream.sources.demo import DEMO_CLIP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

RESULT = Path("benchmarks/results/watch.json")
CHANGED_AT, LENGTH = 10, 20
RATES_HZ = (12.5, 25.0, 60.0)
QUALITIES = (20, 30)
MOST_PICTURES = 400
SHIFTS = 8
"""Places of the sector that are tried on each mask."""


def zoom_picture(picture: Picture, zoom: float) -> Picture:
    """Zooms a picture about the middle of the probe's face."""
    height, width = picture.shape
    matrix = np.array([[zoom, 0, width / 2 * (1 - zoom)], [0, zoom, 0]], np.float32)
    return np.asarray(cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_AREA), np.uint8)


CHANGES: Mapping[str, tuple[Callable[[Picture], Picture], ViewChange]] = {
    "none": (lambda picture: picture, ViewChange.NONE),
    "brighter": (lambda picture: np.asarray(cv2.convertScaleAbs(picture, alpha=1.5), np.uint8), ViewChange.NONE),
    "darker": (lambda picture: np.asarray(cv2.convertScaleAbs(picture, alpha=0.5), np.uint8), ViewChange.NONE),
    "mirrored": (lambda picture: picture[:, ::-1], ViewChange.MIRRORED),
    "upside down": (lambda picture: picture[::-1], ViewChange.UPSIDE_DOWN),
    "turned": (lambda picture: picture[::-1, ::-1], ViewChange.TURNED),
    **{
        f"zoomed by {zoom:g}": (lambda picture, zoom=zoom: zoom_picture(picture, zoom), ViewChange.ZOOMED)  # type: ignore[misc]
        for zoom in (0.5, 0.7, 0.8, 0.9, 1.1, 1.25, 1.5)
    },
}


def detected_changes(images: Sequence[Picture], rate_hz: float) -> list[ViewChange]:
    """What the detector tells of each picture, looking at the sector that is found in the first ones."""
    copies = [small_copy(np.ascontiguousarray(image)) for image in images]
    gathered = PixelExtrema((images[0].shape[0], images[0].shape[1]))
    for copy in copies[:CHANGED_AT]:
        gathered.add(copy)
    found = find_outline(gathered)
    detector = ViewChangeDetector(found.mask if found else np.full_like(copies[0], 255))
    return [detector.update(copy, number / rate_hz) for number, copy in enumerate(copies)]


def encode_decode(images: Sequence[Picture], quality: int) -> list[Picture]:
    """Encodes pictures as H.264 at a constant quality, and decodes them."""
    film = io.BytesIO()
    height, width = (side // 2 * 2 for side in images[0].shape)
    with av.open(film, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": str(quality), "preset": "ultrafast", "tune": "zerolatency"}
        for image in images:
            grey = np.ascontiguousarray(image[:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="gray")))
        container.mux(stream.encode())
    film.seek(0)
    with av.open(film, "r") as decoded:
        return [np.asarray(each.to_ndarray(format="gray"), np.uint8) for each in decoded.decode(video=0)]


def recordings(data: Path) -> Iterator[tuple[str, list[Picture], float]]:
    """Recordings in which nothing changes: name, pictures, rate."""
    named = [(path.name, str(path)) for path in sorted((data / "clips").iterdir())]
    named += [("demonstration", str(DEMO_CLIP))]
    named += [(f"phantom {seed}", f"phantom:?duration=10&size=400&seed={seed}") for seed in (3, 5, 7)]
    for name, uri in named:
        with open_source(uri, clock=MonotonicClock()) as source:
            rate_hz = float(source.info.frame_rate_hz or 25)
            yield name, [frame.image for frame in source if frame.index < MOST_PICTURES], rate_hz


def false_seams(data: Path) -> dict[str, dict[str, int]]:
    """Changes told in recordings in which there are none."""
    return {
        name: {
            f"every {step}": sum(
                each is not ViewChange.NONE for each in detected_changes(images[::step], rate_hz / step)
            )
            for step in (1, 2, 3)
        }
        for name, images, rate_hz in recordings(data)
    }


def changes(data: Path) -> dict[str, dict[str, int]]:
    """For each change: how often it was made, told at once as what it is, told as something else, or not told."""
    rng = np.random.default_rng(11)
    paths = sorted((data / "psfhs" / "val" / "images").glob("*.png"))
    rows: dict[str, Counter[str]] = {name: Counter() for name in CHANGES}
    for path in paths[::7]:
        still = np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)
        for name, (then, expected) in CHANGES.items():
            rate_hz, quality = float(rng.choice(RATES_HZ)), int(rng.choice(QUALITIES))
            images = animate_still(still, LENGTH, rate_hz=rate_hz, seed=int(rng.integers(1 << 30)))
            film = [image if number < CHANGED_AT else then(image) for number, image in enumerate(images)]
            found = detected_changes(encode_decode(film, quality), rate_hz)
            others = [each for number, each in enumerate(found) if each is not ViewChange.NONE and number != CHANGED_AT]
            at_once = found[CHANGED_AT]
            rows[name]["made"] += 1
            rows[name]["right"] += at_once is expected and not others
            rows[name]["late or wrong"] += (at_once is not expected and at_once is not ViewChange.NONE) or bool(others)
            rows[name]["missed"] += at_once is ViewChange.NONE and expected is not ViewChange.NONE and not others
    return {name: dict(row) for name, row in rows.items()}


def cut_heads(data: Path) -> dict[str, Any]:
    """AoP of drawn masks that a moved sector cuts, against the whole mask's; and frames refused as they are."""
    rng = np.random.default_rng(5)
    errors: list[tuple[float, bool]] = []
    as_they_are, refused = 0, 0
    for path in sorted((data / "psfhs" / "val" / "images").glob("*.png")):
        image = np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)
        labels = np.asarray(cv2.imread(str(path.parents[1] / "masks" / path.name), cv2.IMREAD_GRAYSCALE), np.uint8)
        gathered = PixelExtrema((image.shape[0], image.shape[1]))
        gathered.add(small_copy(image))
        sector = find_sector(gathered)
        whole = measure(labels, orientation=Orientation.NORMAL)
        if sector is None or whole.aop_deg is None:
            continue
        field = sector.mask > 0
        as_they_are += 1
        refused += measure(labels, orientation=Orientation.NORMAL, field_of_view=field).aop_deg is None
        for _ in range(SHIFTS):
            shift = np.array([[1, 0, rng.integers(-90, 90)], [0, 1, rng.integers(-40, 40)]], np.float32)
            there = np.asarray(cv2.warpAffine(sector.mask, shift, labels.shape[::-1]) > 127)
            cut = np.where(there, labels, 0).astype(np.uint8)
            if (cut == labels).all() or (cut == 1).sum() < 0.6 * (labels == 1).sum():
                continue
            found = measure(cut, orientation=Orientation.NORMAL)
            if found.aop_deg is not None:
                kept = measure(cut, orientation=Orientation.NORMAL, field_of_view=there)
                errors.append((abs(found.aop_deg - whole.aop_deg), kept.aop_deg is not None))
    every = np.array([error for error, _ in errors])
    kept_ones = np.array([error for error, is_kept in errors if is_kept])
    return {
        "frames": as_they_are,
        "frames_refused": refused,
        "cut_masks": len(every),
        "error_p95_deg": round(float(np.quantile(every, 0.95)), 2),
        "kept": len(kept_ones),
        "kept_error_p95_deg": round(float(np.quantile(kept_ones, 0.95)), 2),
        "kept_error_max_deg": round(float(kept_ones.max()), 2),
    }


def main(arguments: Sequence[str]) -> None:
    """Measures and writes."""
    data = Path(arguments[0])
    result = {"false_seams": false_seams(data), "changes": changes(data), "cut_heads": cut_heads(data)}
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    Console(soft_wrap=True).print(str(RESULT))


if __name__ == "__main__":
    main(sys.argv[1:])
