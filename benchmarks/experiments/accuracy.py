"""What the plane gate of a model lets through, and how right the tracked AoP is on simulated recordings.

    python -m benchmarks.experiments.accuracy DATA [MODEL.onnx]

Writes `results/accuracy.json`. The frames are the validation sources of `default.toml` other than PSFHS, which hold out
whole groups by content. Those that the model was trained on all the same, as far as it says, are counted
(`trained_on`): they flatter it. The threshold is the model's own. How right
masks are is what `partum evaluate` says.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from benchmarks.reporting.environment import write_result
from calibration.evaluation.evaluate import training_frames_of
from calibration.evaluation.statistics.agreement import describe_spread
from calibration.evaluation.statistics.ranks import area_under_roc
from engines.registry import load_engine
from stream.common.clock import MonotonicClock
from stream.frames.frame import Frame
from stream.inference.frame_analyzer import FrameAnalyzer, infer_frame
from stream.measurement.protocols import DEFAULT_PROTOCOL
from stream.phantom.source import PhantomSource
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import FrameState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from calibration.data.training_frames import TrainingFrames
    from engines.base import Engine


SIMULATED = ("phantom:", "phantom:?mirrored=1", *(f"phantom:?seed={seed}&duration=5" for seed in range(1, 7)))


def rounded_spread(values: Sequence[float]) -> dict[str, float]:
    """Mean, median and 95th percentile of one value or more."""
    found = describe_spread(np.asarray(values, dtype=np.float64))
    if found is None:
        raise ValueError("a spread takes one value or more, got none; check that the data folder holds frames")
    return {"mean": round(found.mean, 3), "median": round(found.median, 3), "p95": round(found.p95, 3)}


def plane_gate(engine: Engine, images: Sequence[NDArray[np.uint8]]) -> dict[str, int]:
    """How many frames of a kind pass the gate, and how many end with a number on the screen, each seen alone."""
    passed = measured = 0
    for image in images:
        analyzer = FrameAnalyzer.of(engine.spec, protocol=DEFAULT_PROTOCOL)  # remembers no other frame
        frame = Frame(image=image, index=0, pts=0, time_base=Fraction(1, 25), captured_ns=0)
        reading = analyzer.analyze(frame, *infer_frame(engine, frame))
        passed += reading.plane_probability >= engine.spec.plane_threshold
        measured += reading.biometry.reason is None
    return {"frames": len(images), "called_standard": passed, "measured": measured}


def plane_auc(
    engine: Engine, standard: Sequence[NDArray[np.uint8]], other: Sequence[NDArray[np.uint8]]
) -> float | None:
    """How often a standard plane of a data set has a higher plane logit than another frame of it."""
    logits = [float(engine.infer(image[None, None]).plane_logit[0]) for image in (*standard, *other)]
    return area_under_roc(np.array(logits), np.arange(len(logits)) < len(standard))


def trained_on(learned: TrainingFrames | None, images: Sequence[NDArray[np.uint8]]) -> int | None:
    """How many of the frames, or near copies of them, the model has learned from; None where it does not say."""
    return None if learned is None else sum(learned.holds(image) for image in images)


def simulated_recording(engine: Engine, uri: str) -> dict[str, object]:
    """Error of the tracked AoP against the exact truth, and how often the truth lies in its 95 % interval."""
    source = PhantomSource(uri, clock=MonotonicClock())
    errors, inside, standard = [], [], 0
    with Pipeline(source, engine) as pipeline:
        for measurement in pipeline:
            truth = source.truth(measurement.frame.index)
            standard += truth.is_standard_plane
            if truth.is_standard_plane and measurement.state is FrameState.MEASURED and measurement.aop:
                errors.append(measurement.aop.value - truth.aop_deg)
                inside.append(measurement.aop.lo95 <= truth.aop_deg <= measurement.aop.hi95)
    return {
        "standard_frames": standard,
        "measured": len(errors),
        "aop_bias_deg": round(float(np.mean(errors)), 2),
        "aop_abs_error_deg": rounded_spread(np.abs(errors).tolist()),
        "interval_coverage": round(float(np.mean(inside)), 3),
    }


def main(data: Path, model: Path | None) -> None:
    """Measures and writes the result file."""
    # Only here, not at the top: it needs the training extra.
    from calibration.learning.held_out import held_out_frames

    with load_engine(model) as engine:
        planes = held_out_frames(data, size=engine.spec.width)
        learned = training_frames_of(engine, model)
        results: dict[str, object] = {
            "engine": engine.name,
            "model_sha256": engine.spec.sha256,
            "plane_auc_on_held_out_planes": plane_auc(engine, planes["planes/labelled"], planes["planes/negative"]),
            "plane_gate_on_held_out_frames": {name: plane_gate(engine, images) for name, images in planes.items()},
            "trained_on": {name: trained_on(learned, images) for name, images in planes.items()},
        }
    results["simulated_recordings"] = {uri: simulated_recording(load_engine(model), uri) for uri in SIMULATED}
    path = write_result("accuracy", results, command="python -m benchmarks.experiments.accuracy DATA")
    Console().print(results)
    Console().print(str(path))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python -m benchmarks.experiments.accuracy DATA [MODEL.onnx]")
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else None)
