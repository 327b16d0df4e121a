"""Orientation errors on masks nothing was fitted to, alone and as folders.

    python -m benchmarks.experiments.orientation DATASET

Weights are fitted on grouped folds, and each mask is judged by those that have not seen its group; its mirror image has
the negative of its log odds. Folders are masks of some groups drawn together. Writes `results/orientation.json`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from benchmarks.reporting.environment import write_result
from calibration.fitting.orientation import (
    PHANTOMS,
    cues_of,
    fit_weights,
    frames_with_masks,
    out_of_fold_log_odds,
    phantom_masks,
)
from stream.measurement.biometry import Orientation
from stream.measurement.folder_orientation import FolderOrientation
from stream.measurement.orientation_cues import MIRRORED_TO, NORMAL_FROM, orientation_from_log_odds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

FOLDS, SEEDS = 5, range(8)
BANDS = (-2.0, -3.0, -4.0, -4.5, -5.0, -6.0)
"""Ends of the band that are compared."""
FOLDER_GROUPS = (1, 3, 10, 30)
FOLDERS = 200
"""How many folders of so many groups are drawn."""


def reading_shares(log_odds: NDArray[np.float64]) -> dict[str, float]:
    """Shares of normal masks that are read right, wrong, and not at all, in 100."""
    found = [orientation_from_log_odds(float(value)) for value in log_odds]
    return _shares(found, right=Orientation.NORMAL)


def mirrored_reading_shares(log_odds: NDArray[np.float64]) -> dict[str, float]:
    """The same of their mirror images."""
    return _shares([orientation_from_log_odds(-float(value)) for value in log_odds], right=Orientation.MIRRORED)


def _shares(found: Sequence[Orientation | None], *, right: Orientation) -> dict[str, float]:
    counts = {
        "right": sum(one is right for one in found),
        "refused": sum(one is None for one in found),
        "wrong": sum(one is not None and one is not right for one in found),
    }
    return {name: round(100 * count / len(found), 2) for name, count in counts.items()}


def folders(
    masks: Sequence[NDArray[np.uint8]], groups: Sequence[str], log_odds: NDArray[np.float64]
) -> dict[str, Mapping[str, object]]:
    """How folders of a few groups are decided, by log odds out of fold; and their masks, once that is done."""
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    names, rng = sorted(members), np.random.default_rng(0)
    results: dict[str, Mapping[str, object]] = {}
    for count in FOLDER_GROUPS:
        drawn = (
            [[name] for name in names]
            if count == 1
            else [list(rng.choice(names, count, replace=False)) for _ in range(FOLDERS)]
        )
        decided: dict[float, list[Orientation | None]] = {1.0: [], -1.0: []}
        each: list[Orientation | None] = []
        for folder in drawn:
            chosen = [index for name in folder for index in members[name]]
            for sign, kept in decided.items():
                found = FolderOrientation()
                for index in chosen:
                    found.add_log_odds(masks[index], sign * float(log_odds[index]))
                kept.append(found.orientation)
                if sign > 0:
                    each += [found.of_mask(float(log_odds[index])) for index in chosen]
        results[f"{count} groups"] = {
            "folders": len(drawn),
            "normal": _shares(decided[1.0], right=Orientation.NORMAL),
            "mirrored": _shares(decided[-1.0], right=Orientation.MIRRORED),
            "masks_of_normal": _shares(each, right=Orientation.NORMAL),
        }
    return results


def by_scanner(cues: NDArray[np.float64], scanners: Iterable[str], phantoms: NDArray[np.float64]) -> dict[str, object]:
    """Masks of each kind of scanner by weights of the others alone: as far from what was learned as the data allow."""
    kinds = np.array(list(scanners))
    found: dict[str, object] = {}
    for scanner in sorted(set(kinds)):
        others = kinds != scanner
        if others.any():
            weights = fit_weights(np.concatenate([cues[others], phantoms]))
            found[scanner] = {"masks": int((~others).sum()), **reading_shares(cues[~others] @ weights)}
    return found


def main(folder: Path) -> None:
    """Measures and writes the result file."""
    frames = frames_with_masks(folder)
    masks = [frame.mask for frame in frames if frame.mask is not None]
    groups = [frame.group for frame in frames]
    cues, phantoms = cues_of(masks), cues_of(phantom_masks(PHANTOMS))
    weights = fit_weights(np.concatenate([cues, phantoms]))
    runs = [out_of_fold_log_odds(cues, groups, phantoms, folds=FOLDS, seed=seed) for seed in SEEDS]
    every = np.concatenate(runs)
    results: dict[str, object] = {
        "masks": len(masks),
        "groups": len(set(groups)),
        "folds": FOLDS,
        "seeds": len(SEEDS),
        "weights": dict(zip(("skewness", "offset", "tilt"), [round(float(one), 1) for one in weights], strict=True)),
        "band": [MIRRORED_TO, NORMAL_FROM],
        "alone_in_100": {"normal": reading_shares(every), "mirrored": mirrored_reading_shares(every)},
        "normal_read_as_mirrored_in_100_by_band": {
            f"{band:g}": [round(100 * float(np.mean(run <= band)), 2) for run in runs] for band in BANDS
        },
        "by_look_in_100": by_scanner(cues, (frame.look for frame in frames), phantoms),
        "folders_in_100": folders(masks, groups, runs[0]),
    }
    path = write_result("orientation", results, command="python -m benchmarks.experiments.orientation DATA/psfhs")
    Console().print(results)
    Console().print(str(path))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.experiments.orientation DATASET")
    main(Path(sys.argv[1]))
