"""Accuracy of measurement alone: against references, under boundary noise, over time.

    python -m benchmarks.experiments.measurement DATA

Writes `results/measurement.json`. DATA holds `aop_reference.csv`, `psfhs/{train,val}/masks` and `iugc2024_masks`.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks.reporting.environment import write_result
from calibration.fitting.boundary_noise import add_boundary_noise
from calibration.fitting.courses import Degradation
from calibration.fitting.filter_noise import evaluate_tracking
from stream.measurement.biometry import Orientation
from stream.measurement.protocols import PROTOCOLS, measure
from stream.sources.files.masks import read_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOISE_SEEDS = range(6)
RATES_HZ = (12.5, 25.0, 30.0, 60.0)
COURSE_SEEDS = range(1000, 1024)
SLIDING = Degradation(edge_deg=(5.0, 20.0))
"""As always, and the readings beside each gap are off."""


def against_reference(data: Path) -> dict[str, object]:
    """Largest deviation from every finite reference value, and how `robust` differs from both challenges."""
    worst = {"iugc2024_aop_deg": 0.0, "iugc2024_hsd_px": 0.0, "fhps2023_aop_deg": 0.0}
    differences: dict[str, list[float]] = {"iugc2024": [], "fhps2023": []}
    rows = list(csv.DictReader((data / "aop_reference.csv").open(newline="")))
    for row in track(rows, "references", console=Console(stderr=True)):
        mask = read_mask(data / "psfhs" / row["split"] / "masks" / f"{row['id']}.png")
        iugc, fhps = measure(mask, protocol="iugc2024"), measure(mask, protocol="fhps2023")
        robust = measure(mask, orientation=Orientation.NORMAL).aop_deg
        for name, value, column in (
            ("iugc2024_aop_deg", iugc.aop_deg, "iugc2024_aop_deg"),
            ("iugc2024_hsd_px", iugc.hsd_min, "iugc2024_hsd_px512"),
            ("fhps2023_aop_deg", fhps.aop_deg, "fhps2023_aop_deg"),
        ):
            reference = float(row[column])
            if np.isfinite(reference):
                worst[name] = max(worst[name], abs((value if value is not None else np.inf) - reference))
        for name, other in (("iugc2024", iugc.aop_deg), ("fhps2023", fhps.aop_deg)):
            if robust is not None and other is not None:
                differences[name].append(robust - other)
    return {
        "masks": len(rows),
        "largest_deviation": {name: float(f"{value:.2g}") for name, value in worst.items()},
        "robust_minus_other_deg": {
            name: {"mean": round(float(np.mean(d)), 2), "sd": round(float(np.std(d)), 2)}
            for name, d in differences.items()
        },
    }


def under_noise(masks: list[NDArray[np.uint8]]) -> dict[str, object]:
    """Absolute change of AoP when both outlines are moved by noise of 2 px (correlated over 3.5 px)."""
    changes: dict[str, list[float]] = {name: [] for name in PROTOCOLS}
    for number, mask in enumerate(masks):
        for protocol, found in changes.items():
            before = measure(mask, protocol=protocol, orientation=Orientation.NORMAL).aop_deg
            for seed in NOISE_SEEDS:
                noisy = add_boundary_noise(mask, np.random.default_rng([number, seed]))
                after = measure(noisy, protocol=protocol, orientation=Orientation.NORMAL).aop_deg
                if before is not None and after is not None:
                    found.append(abs(after - before))
    return {
        name: {"mean": round(float(np.mean(found)), 2), "p95": round(float(np.percentile(found, 95)), 2)}
        for name, found in changes.items()
    }


def main(data: Path) -> None:
    """Measures and writes the result file."""
    iugc = [read_mask(path) for path in sorted((data / "iugc2024_masks").glob("*/*.png"))]
    val = [read_mask(path) for path in sorted((data / "psfhs" / "val" / "masks").glob("*.png"))[::4]]
    enlarged = [np.asarray(cv2.resize(mask, (512, 512), interpolation=cv2.INTER_NEAREST), np.uint8) for mask in val]
    results: dict[str, object] = {
        "references": against_reference(data),
        "abs_change_of_aop_under_2px_noise_deg": {
            "iugc2024_masks_512": under_noise(iugc),
            "psfhs_val_every_4th_512": under_noise(enlarged),
            "psfhs_val_every_4th_256": under_noise(val),
        },
        "tracking": {f"{rate:g}_hz": asdict(evaluate_tracking(COURSE_SEEDS, rate_hz=rate)) for rate in RATES_HZ},
        "tracking_where_views_slide_off_the_plane": {
            f"{rate:g}_hz": asdict(evaluate_tracking(COURSE_SEEDS, rate_hz=rate, degradation=SLIDING))
            for rate in RATES_HZ
        },
    }
    path = write_result("measurement", results, command="python -m benchmarks.experiments.measurement DATA")
    Console().print(results)
    Console().print(str(path))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.experiments.measurement DATA")
    main(Path(sys.argv[1]))
