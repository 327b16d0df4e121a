"""How right the tracked AoP is on simulated recordings, whose truth is known.

    python -m benchmarks.experiments.simulated [MODEL.onnx]

Writes `results/simulated.json`. How right a model is on real frames is what `calibration.studies.cross_validation` says
of its recipe, and `partum evaluate` of a data set that it has not learned from.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from benchmarks.reporting.environment import write_result
from calibration.evaluation.statistics.agreement import describe_spread
from engines.registry import load_engine
from stream.common.clock import MonotonicClock
from stream.phantom.source import PhantomSource
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import FrameState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.base import Engine


SIMULATED = ("phantom:", "phantom:?mirrored=1", *(f"phantom:?seed={seed}&duration=5" for seed in range(1, 7)))


def rounded_spread(values: Sequence[float]) -> dict[str, float]:
    """Mean, median and 95th percentile of one value or more."""
    found = describe_spread(np.asarray(values, dtype=np.float64))
    if found is None:
        raise ValueError("a spread takes one value or more, got none; check that the data folder holds frames")
    return {"mean": round(found.mean, 3), "median": round(found.median, 3), "p95": round(found.p95, 3)}


def simulated_recording(engine: Engine, uri: str) -> dict[str, object]:
    """Error of the tracked AoP against the exact truth, and how often the truth lies in each of its 95 % intervals."""
    source = PhantomSource(uri, clock=MonotonicClock())
    errors, repeatability, absolute, standard = [], [], [], 0
    with Pipeline(source, engine) as pipeline:
        for measurement in pipeline:
            truth = source.truth(measurement.frame.index)
            standard += truth.is_standard_plane
            if truth.is_standard_plane and measurement.state is FrameState.MEASURED and measurement.aop:
                errors.append(measurement.aop.value - truth.aop_deg)
                repeatability.append(measurement.aop.lo95 <= truth.aop_deg <= measurement.aop.hi95)
                if measurement.aop.absolute_half is not None:
                    absolute.append(abs(errors[-1]) <= measurement.aop.absolute_half)
    return {
        "standard_frames": standard,
        "measured": len(errors),
        "aop_bias_deg": round(float(np.mean(errors)), 2),
        "aop_abs_error_deg": rounded_spread(np.abs(errors).tolist()),
        "repeatability_coverage": round(float(np.mean(repeatability)), 3),
        "absolute_coverage": round(float(np.mean(absolute)), 3) if absolute else None,
    }


def main(model: Path | None) -> None:
    """Measures and writes the result file."""
    with load_engine(model) as engine:
        results: dict[str, object] = {"engine": engine.name, "model_sha256": engine.spec.sha256}
    results["recordings"] = {uri: simulated_recording(load_engine(model), uri) for uri in SIMULATED}
    path = write_result("simulated", results, command="python -m benchmarks.experiments.simulated")
    Console().print(results)
    Console().print(str(path))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit("usage: python -m benchmarks.experiments.simulated [MODEL.onnx]")
    main(Path(sys.argv[1]) if len(sys.argv) == 2 else None)
