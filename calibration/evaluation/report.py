"""The files of an evaluation: `per_image.csv` and `masks/` as frames come, `metrics.json` at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2

from calibration.evaluation.metrics import REGIONS
from calibration.evaluation.summary import difference, summarise
from stream.common.atomic_file import write_atomic
from stream.common.csv_cells import csv_line
from stream.common.errors import OutputError
from stream.measurement.protocols import DEFAULT_PROTOCOL
from stream.outputs.manifest import NOTICE, environment_facts, now_utc
from stream.outputs.tables import LineWriter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

    from calibration.data.base import DataSet
    from calibration.evaluation.frames import FrameResult
    from engines.base import Engine
    from stream.measurement.biometry import Biometry
    from stream.measurement.folder_orientation import FolderOrientation

SCHEMA = "partum.evaluation/1"
FILES = ("metrics.json", "per_image.csv", "landmarks", "masks", "cases.png", "agreement.png")

DEFINITIONS = {
    "dice": "(2 |A and B| + 1) / (|A| + |B| + 1); an empty prediction gives 0",
    "asd_px": "mean distance of the boundary pixels of both masks to the other boundary; an empty prediction gives 100",
    "hd_px": "greatest distance of any pixel of one mask to the other mask; an empty prediction gives 100",
    "hd95_px": "95th percentile of the boundary distances, the larger direction; an empty prediction gives 100",
    "scored": "a region counts on frames whose annotation shows it; distances are in pixels of the image",
    "all": "PS and FH together as one class",
    "aop_deg": "measured on the predicted mask minus measured by the same protocol on the annotated one, degrees",
    "hsd_min": "shortest distance, likewise; robust: pixels of the image; iugc2024: pixels of 512 x 512",
    "landmarks": "distance of the found points from the published ones, pixels of the image, ends of the PS by x; and"
    " measured AoP minus that of the published points",
    "ungated": "every predicted mask is measured, whatever the plane gate says",
    "gated": "as the pipeline: frames below the plane threshold are refused",
    "normal_log_odds": "natural logarithm of the odds that the picture is normal, as the mask alone shows",
    "orientation_of_truth": "decided once, from all annotated masks; those that contradict it are not measured",
    "trained_on": "frames that the model has learned from, or nearly the same ones, told by their thumbnails; null"
    " where the model does not say; on such frames these numbers flatter it, and new_frames leaves them out",
    "share_measured": "of the frames whose annotated mask can be measured",
    "risk_coverage": "mean absolute error of the most confident share of frames; confidence: mean probability of a"
    " structure over the pixels given to it, PS or FH, whichever is less",
    "mean_ci95": "95 % interval of the mean, whole groups drawn again 2000 times; null for a single group",
    "bland_altman": "differences measured minus true; limits at 1.96 SD; its intervals count frames as independent",
}

SCORES = ("dice", "asd_px", "hd_px", "hd95_px")
VALUES = (
    "aop_true_deg",
    "aop_deg",
    "aop_error_deg",
    "hsd_true_px",
    "hsd_px",
    "hsd_error_px",
    "true_reason",
    "reason",
    "gated_reason",
)
"""Columns of each region, and of each protocol."""


class Report:
    """Writes a row and a mask for every frame. A row is on disk before the next frame is read.

    Args:
        folder: exists and holds no earlier results.
        protocols: whose columns the table has.
    """

    def __init__(self, folder: Path, protocols: Sequence[str]) -> None:
        self._folder, self._protocols = folder, tuple(protocols)
        self._masks = folder / "masks"
        try:
            self._masks.mkdir()
        except OSError as error:
            raise OutputError(f"{self._masks}: cannot be made ({error.strerror}); choose another --out") from error
        self._lines = LineWriter(folder / "per_image.csv")
        self._write_row(csv_columns(self._protocols))

    def add(self, result: FrameResult, labels: NDArray[np.uint8]) -> None:
        """Writes the frame's mask, coded 0/1/2, and its row."""
        write_atomic(self._masks / f"{result.name}.png", cv2.imencode(".png", labels)[1].tobytes())
        self._write_row(csv_row(result))

    def close(self) -> None:
        self._lines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write_row(self, cells: Sequence[object]) -> None:
        self._lines.add(csv_line(cells))


def csv_columns(protocols: Sequence[str]) -> list[str]:
    """The header of `per_image.csv`."""
    names = ["name", "group", "split", "look", "width", "height"]
    names += ["plane", "plane_probability", "called_standard", "mask_confidence"]
    names += ["normal_log_odds_true", "normal_log_odds", "was_trained_on"]
    names += [f"{region}_{score}" for region in REGIONS for score in SCORES]
    return names + [f"{protocol}_{value}" for protocol in protocols for value in VALUES]


def csv_row(result: FrameResult) -> list[str]:
    """The cells of a frame under `csv_columns`; empty where there is no value."""
    cells = [result.name, result.group, result.split, result.look, str(result.width), str(result.height)]
    cells += ["" if result.plane is None else str(result.plane).lower(), _number(result.plane_probability)]
    cells += [str(result.is_called_standard).lower(), _number(result.confidence)]
    cells += [_number(found.orientation_log_odds or None) if found else "" for found in _default(result)]
    cells += ["" if result.was_trained_on is None else str(result.was_trained_on).lower()]
    for region in REGIONS:
        score = result.scores.get(region)
        cells += [_number(getattr(score, name)) if score else "" for name in SCORES]
    for protocol, found in result.found.items():
        true = result.truth.get(protocol)
        for quantity in ("aop_deg", "hsd_min"):
            cells += [
                _number(getattr(true, quantity)) if true else "",
                _number(getattr(found, quantity)),
                _number(difference(true, found, quantity)) if true else "",
            ]
        cells += [str(biometry.reason or "") if biometry else "" for biometry in (true, found, result.gated(protocol))]
    return cells


def _default(result: FrameResult) -> tuple[Biometry | None, Biometry | None]:
    """True and found, by the one protocol that looks which way round a mask is."""
    return result.truth.get(DEFAULT_PROTOCOL), result.found.get(DEFAULT_PROTOCOL)


def evaluation_metrics(
    results: Sequence[FrameResult],
    *,
    dataset: DataSet,
    engine: Engine,
    options: dict[str, object],
    truth: FolderOrientation | None = None,
) -> dict[str, object]:
    """The content of `metrics.json`: what was evaluated, with what, and the numbers, of all and of each part.

    Args:
        results: of all frames.
        dataset: what was evaluated.
        engine: with what.
        options: as the user gave them.
        truth: which way round the annotated masks are, where that had to be found out.
    """
    spec = engine.spec
    return {
        "schema": SCHEMA,
        "notice": NOTICE,
        "finished_utc": now_utc(),
        "options": options,
        "layout": dataset.layout,
        "splits": list(dataset.splits),
        "engine": engine.name,
        "model": {"name": spec.name, "sha256": spec.sha256, "plane_threshold": spec.plane_threshold},
        "trained_on": trained_on(results),
        "orientation_of_truth": _orientation(truth) if truth and truth.views else None,
        **environment_facts(),
        "definitions": DEFINITIONS,
        "overall": round_values(summarise(results, plane_threshold=spec.plane_threshold)),
        "by_split": round_values(_parts(results, "split", spec.plane_threshold)),
        "by_look": round_values(_parts(results, "look", spec.plane_threshold)),
        "new_frames": round_values(_new_frames(results, spec.plane_threshold)),
    }


def trained_on(results: Sequence[FrameResult]) -> dict[str, int] | None:
    """How many of the frames the model has learned from; None where it does not say what it was trained on."""
    known = [result.was_trained_on for result in results if result.was_trained_on is not None]
    return {"frames": sum(known), "of": len(known)} if known else None


def _orientation(truth: FolderOrientation) -> dict[str, object]:
    read_as = truth.orientation
    return {
        "read_as": str(read_as) if read_as else None,
        "log_odds": round(truth.log_odds, 3),
        "views": truth.views,
    }


def round_values(content: object) -> object:
    """The same content with every number to five decimals, for people to read."""
    if isinstance(content, float):
        return round(content, 5)
    if isinstance(content, dict):
        return {name: round_values(value) for name, value in content.items()}
    return [round_values(value) for value in content] if isinstance(content, list | tuple) else content


def _parts(results: Sequence[FrameResult], attribute: str, plane_threshold: float) -> dict[str, object]:
    """The same numbers for each split or look; {} where no frame names one, "" for frames that do not."""
    names = sorted({getattr(result, attribute) for result in results})
    if not any(names):
        return {}
    parts = {name: [result for result in results if getattr(result, attribute) == name] for name in names}
    return {name: summarise(part, plane_threshold=plane_threshold) for name, part in parts.items()}


def _new_frames(results: Sequence[FrameResult], plane_threshold: float) -> dict[str, object] | None:
    """The same numbers of the frames alone that the model has not learned from; None where there are none, or all."""
    new = [result for result in results if result.was_trained_on is False]
    return summarise(new, plane_threshold=plane_threshold) if 0 < len(new) < len(results) else None


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
