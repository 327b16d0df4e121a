"""Fits how sure preprocessing is of a sector, and measures it on pictures that are none.

The weights stand in `stream.preprocessing.sector.confidence`.

Run: python -m calibration.fitting.sector_confidence DATA [PICTURES ...]. Fitted on the frames of DATA/psfhs/train, as
they are and on drawn screens, on phantoms and clips, and on drawn pictures of other kinds. Judged on DATA/psfhs/val,
DATA/planes and DATA/pelvic_floor, on other seeds, and on the folders PICTURES, which must hold no ultrasound. Prints
the weights and writes benchmarks/results/sector_confidence.json.
"""

from __future__ import annotations

import json
import sys
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from rich.console import Console

from calibration.fitting.other_pictures import KINDS
from stream.common.clock import MonotonicClock
from stream.phantom.source import PhantomSource
from stream.preprocessing.sector.confidence import sector_features
from stream.preprocessing.sector.detection import (
    LEAST_CONFIDENCE,
    PixelExtrema,
    background_level,
    propose_outline,
    small_copy,
)
from stream.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

RESULT = Path("benchmarks/results/sector_confidence.json")
EACH_KIND = 36
RIDGE = 0.02
"""Weight of the squared (standardised) coefficients."""


def features_of_picture(image: Picture) -> tuple[float, ...] | None:
    """Features of the sector found in one picture, in the order of `SectorFeatures`; None where none is found."""
    gathered = PixelExtrema((image.shape[0], image.shape[1]))
    gathered.add(small_copy(image))
    found = propose_outline(gathered)
    if found is None:
        return None
    return astuple(sector_features(gathered.brightest, found.mask, ground=background_level(gathered.brightest)))


def fit_confidence(values: NDArray[np.float64], is_ultrasound: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Logistic regression, both classes weighing alike: weights (K,) and intercept for values (N, K)."""
    mean, spread = values.mean(axis=0), values.std(axis=0)
    x = np.column_stack([(values - mean) / spread, np.ones(len(values))])
    share = np.where(is_ultrasound, 0.5 / is_ultrasound.mean(), 0.5 / (1 - is_ultrasound.mean()))
    penalty = 2 * RIDGE * np.diag([*np.ones(values.shape[1]), 0.0])
    w = np.zeros(x.shape[1])
    for _ in range(60):
        p = 1 / (1 + np.exp(-x @ w))
        gradient = x.T @ (share * (p - is_ultrasound)) / len(x) + penalty @ w
        hessian = (x * (share * p * (1 - p))[:, None]).T @ x / len(x) + penalty
        w = w - np.linalg.solve(hessian, gradient)
    weights = w[:-1] / spread
    return weights, float(w[-1] - weights @ mean)


def place_on_screen(picture: Picture, seed: int) -> Picture:
    """A picture enlarged, somewhere on a black screen with a menu."""
    rng = np.random.default_rng(seed)
    side = int(rng.integers(360, 660))
    screen = np.zeros((720, 1280), np.uint8)
    left, top = int(rng.integers(0, 1280 - side)), int(rng.integers(0, 720 - side))
    screen[top : top + side, left : left + side] = cv2.resize(picture, (side, side))
    for line in range(6):
        cv2.putText(screen, f"Preset {line} Gen {7 * line}", (1050 if left < 500 else 10, 100 + 60 * line), 0, 0.6, 180)
    return screen


def read_pictures(folder: Path) -> Iterator[Picture]:
    """The PNG and JPEG files of a folder that are large enough, in grey."""
    for path in sorted(each for each in folder.iterdir() if each.suffix.lower() in (".png", ".jpg", ".jpeg")):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if image is not None and min(image.shape) > 60:
            yield np.asarray(image, np.uint8)


def phantom_pictures(seeds: Iterable[int]) -> Iterator[Picture]:
    """Pictures of phantoms, some of each."""
    for seed in seeds:
        with PhantomSource(f"phantom:?duration=2&size=400&seed={seed}", clock=MonotonicClock()) as source:
            yield from (frame.image for frame in source if frame.index % 10 == 0)


def read_clips(folder: Path) -> Iterator[Picture]:
    """The first pictures of each recording, some of them."""
    for path in sorted(folder.iterdir()):
        with open_source(str(path), clock=MonotonicClock()) as source:
            yield from (frame.image for frame in source if frame.index % 8 == 0 and frame.index < 40)


def draw_screens(frames: Iterable[Picture]) -> list[Picture]:
    """Every third frame on a drawn screen."""
    return [place_on_screen(frame, number) for number, frame in enumerate(frames) if number % 3 == 0]


def table(
    groups: dict[str, Sequence[Picture]], weights: NDArray[np.float64], intercept: float
) -> dict[str, dict[str, Any]]:
    """For each group: how many pictures, in how many something is found, and how many are accepted."""
    rows = {}
    for name, images in groups.items():
        found = [each for image in images if (each := features_of_picture(image)) is not None]
        sure = [float(1 / (1 + np.exp(-(np.dot(weights, each) + intercept)))) for each in found]
        rows[name] = {
            "pictures": len(images),
            "outline_found": len(found),
            "accepted": sum(value >= LEAST_CONFIDENCE for value in sure),
            "confidence_median": round(float(np.median(sure)), 3) if sure else None,
        }
    return rows


def main(arguments: Sequence[str]) -> None:
    """Fits, prints and writes."""
    data, others = Path(arguments[0]), [Path(each) for each in arguments[1:]]
    train = list(read_pictures(data / "psfhs" / "train" / "images"))[::3]
    positive = [*train, *draw_screens(train), *phantom_pictures((3, 5, 7)), *read_clips(data / "clips")]
    negative = [draw(seed) for draw in KINDS.values() for seed in range(EACH_KIND)]
    found = [
        [each for image in images if (each := features_of_picture(image)) is not None]
        for images in (positive, negative)
    ]
    labels = np.repeat([True, False], [len(each) for each in found])
    weights, intercept = fit_confidence(np.array([*found[0], *found[1]]), labels)
    say = Console(soft_wrap=True).print
    say("WEIGHTS =", tuple(round(float(weight), 3) for weight in weights))
    say("INTERCEPT =", round(intercept, 3))
    val = list(read_pictures(data / "psfhs" / "val" / "images"))
    ultrasound: dict[str, Sequence[Picture]] = {
        "psfhs val": val,
        "psfhs val on screens": draw_screens(val),
        "simulated": list(phantom_pictures((11, 13))),
        "other scanners (planes)": list(read_pictures(data / "planes" / "images")),
        "other scanners (pelvic_floor)": list(read_pictures(data / "pelvic_floor")),
    }
    no_ultrasound: dict[str, Sequence[Picture]] = {
        name: [draw(seed) for seed in range(1000, 1000 + EACH_KIND)] for name, draw in KINDS.items()
    }
    no_ultrasound |= {folder.name: list(read_pictures(folder)) for folder in others}
    result = {
        "least_confidence": LEAST_CONFIDENCE,
        "ultrasound": table(ultrasound, weights, intercept),
        "no_ultrasound": table(no_ultrasound, weights, intercept),
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    say(str(RESULT))


if __name__ == "__main__":
    main(sys.argv[1:])
