"""Which network is worth its milliseconds: candidates trained alike on few steps, accuracy against time on this CPU.

    python -m benchmarks.experiments.candidates DATA OUT

Each is trained by `default.toml`'s recipe at 128 x 128 on psfhs/train and judged on psfhs/val after its last step; its
time is that of one 256 x 256 frame in OpenVINO, all cores. The runs lie in OUT; stopped and started again, it goes on.
Writes `results/candidates.json` and `results/candidates.png`.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console

from benchmarks.reporting.environment import RESULTS, write_result
from benchmarks.rig.timing import interleaved_ms
from engines.registry import load_engine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engines.base import Engine

SHARED: Mapping[str, object] = {"stem_stride": 2, "up_kernel": 1, "plane_hidden": [96, 32], "orientation_head": True}
CANDIDATES: Mapping[str, Mapping[str, object]] = {
    "16-32-64-96-128 residual": {**SHARED, "widths": [16, 32, 64, 96, 128], "block": "residual"},
    "24-48-96-128-192 residual": {**SHARED, "widths": [24, 48, 96, 128, 192], "block": "residual"},
    "32-48-96-160-256 residual": {**SHARED, "widths": [32, 48, 96, 160, 256], "block": "residual"},
    "32-48-96-160-256 plain": {**SHARED, "widths": [32, 48, 96, 160, 256], "block": "plain"},
}
EPOCHS = 12
SIDE = 256
SCORES = {
    "dice_ps": "psfhs/labelled/dice_ps",
    "dice_fh": "psfhs/labelled/dice_fh",
    "aop_error_deg": "psfhs/labelled/aop_error_deg",
}


def accuracy(name: str, network: Mapping[str, object], *, data: Path, out: Path) -> dict[str, float]:
    """Dice and AoP error on psfhs/val of a candidate after its short training."""
    from calibration.studies.common import Scale, run_once, small_config

    config = replace(small_config(Scale(epochs=EPOCHS), seed=0), network=network)
    run = run_once(config, condition=name.replace(" ", "_"), data=data, out=out)
    return {short: round(run.scores[score], 4) for short, score in SCORES.items() if score in run.scores}


def engine_of(network: Mapping[str, object], folder: Path) -> Engine:
    """A candidate with random weights in OpenVINO, at the size that ships: weights do not change its time."""
    from calibration.learning.checkpoint import facts_of, save
    from calibration.learning.settings.training import load_config
    from engines.network.build import make_mask_network
    from engines.onnx.export import export_checkpoint

    config = replace(load_config("default.toml"), network=network)
    checkpoint, model = folder / "candidate.pt", folder / "candidate.onnx"
    save(facts_of(make_mask_network(config.network), config, fingerprint="", seen={}), checkpoint)
    export_checkpoint(checkpoint, model)
    return load_engine(model, "openvino")


def milliseconds() -> dict[str, float]:
    """Time of one frame by candidate."""
    with tempfile.TemporaryDirectory() as folder:
        engines = {name: engine_of(network, Path(folder)) for name, network in CANDIDATES.items()}
    image = np.random.default_rng(0).integers(0, 255, (1, 1, SIDE, SIDE), np.uint8)
    times = interleaved_ms({name: partial(engine.infer, image) for name, engine in engines.items()})
    for engine in engines.values():
        engine.close()
    return times


LEAST_SPANS = {"dice_ps": 0.08, "dice_fh": 0.04, "aop_error_deg": 6.0}
"""Of the picture's axes: differences within what seeds make must not look like differences."""


def draw(results: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Accuracy against time, one point a candidate."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = {"dice_ps": "Dice PS", "dice_fh": "Dice FH", "aop_error_deg": "AoP error, degrees (fhps2023)"}
    for axes, (score, title) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for name, row in results.items():
            axes.plot(row["ms"], row.get(score, np.nan), "o", label=name)
        low, high = axes.get_ylim()
        spare = max(0.0, LEAST_SPANS[score] - (high - low)) / 2
        axes.set(title=title, xlabel="ms a frame, OpenVINO", xlim=(0, None), ylim=(low - spare, high + spare))
        axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    figure.suptitle(
        "Candidates after a short training on psfhs/train, judged on psfhs/val - research use only", fontsize=10
    )
    figure.savefig(path, dpi=110)


def main(data: Path, out: Path) -> None:
    """Trains what is not trained yet, measures, and writes the result file and the picture."""
    found = {name: accuracy(name, network, data=data, out=out) for name, network in CANDIDATES.items()}
    times = milliseconds()
    results = {name: {**scores, "ms": times[name]} for name, scores in found.items()}
    path = write_result("candidates", dict(results), command="python -m benchmarks.experiments.candidates DATA OUT")
    draw(results, RESULTS / "candidates.png")
    Console().print(results)
    Console().print(str(path))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m benchmarks.experiments.candidates DATA OUT")
    main(Path(sys.argv[1]), Path(sys.argv[2]).resolve())
