"""Everything that can only be known on an NVIDIA GPU, in one run and one result file.

    python -m benchmarks.experiments.gpu [DATA]

Builds the shipped model in every precision by `partum build`'s own code, tries each against the float32 reference, and
measures one-frame latency and throughput by batch, with CUDA graphs and without. What fails is kept with its reason.
Writes `results/gpu.json`. `benchmarks/gpu_check.sh` runs this and the tests that need a device.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from benchmarks.reporting.environment import write_result
from calibration.deployment.build import BuildRequest, run_build
from calibration.deployment.quantization.quantize import QuantizeOptions, run_quantize
from calibration.errors import AcceptanceError
from engines.errors import PartumError
from engines.onnx.model_file import read_model_file
from engines.registry import DEFAULT_MODEL
from engines.tensorrt.cache import EngineCache
from engines.tensorrt.engine import TensorRtEngine

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCHES = (1, 4, 16, 64)
PRECISIONS = ("fp32", "fp16", "bf16", "int8")


CALLS, WARM_UP_CALLS = 300, 20
SECONDS = 1.0
"""How long each batch size runs."""


def measure_engine(engine: TensorRtEngine) -> dict[str, Any]:
    """One-frame latency in ms, copies included, and frames per second by batch with two batches under way."""
    image = np.random.default_rng(0).integers(0, 256, (1, 1, engine.spec.height, engine.spec.width), np.uint8)
    times = []
    for call in range(-WARM_UP_CALLS, CALLS):
        start = time.perf_counter_ns()
        engine.infer(image)
        if call >= 0:
            times.append((time.perf_counter_ns() - start) / 1e6)
    shares = {f"p{share:g}": round(float(np.percentile(times, share)), 4) for share in (50.0, 90.0, 99.0, 99.9)}
    rates = {}
    for batch in (size for size in BATCHES if size <= engine.max_batch):
        given = np.repeat(image, 8 * batch, axis=0)  # eight batches a call: copies and kernels overlap
        engine.infer(given)
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < SECONDS:
            engine.infer(given)
            done += len(given)
        rates[str(batch)] = round(done / (time.perf_counter() - began), 1)
    return {"latency_ms": shares, "frames_per_second": rates}


def check_precision(precision: str, model: Path, data: Sequence[Path], cache: EngineCache) -> dict[str, Any]:
    """Builds, tries and measures one precision; a failure is a result too."""
    batch = (1, min(4, BATCHES[-1]), BATCHES[-1])
    request = BuildRequest(model=model, backend="tensorrt", precision=precision, batch=batch, data=data)
    began = time.monotonic()
    try:
        report = run_build(request, cache=cache)
    except AcceptanceError as error:
        return {"refused": str(error)}
    except PartumError as error:
        return {"failed": str(error)}
    found: dict[str, Any] = {"build_s": round(time.monotonic() - began, 2)}
    found["acceptance"] = report.as_json() if report else None
    for use_graph in (True, False):
        stored = next(
            cache.find_path(path) for path, facts in cache.entries() if facts["key"]["precision"] == precision
        )
        with TensorRtEngine(read_model_file(model), stored=stored, use_graph=use_graph) as engine:
            found["cuda_graph" if use_graph else "no_cuda_graph"] = measure_engine(engine)
    return found


def main(data: Sequence[Path]) -> None:
    """Measures and writes the result file."""
    console = Console(stderr=True)
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        cache = EngineCache(Path(folder) / "engines")
        for precision in PRECISIONS:
            model = DEFAULT_MODEL
            if precision == "int8":
                if not data:
                    results[precision] = {"failed": "no DATA to calibrate on"}
                    continue
                model = Path(folder) / "model.int8.onnx"
                run_quantize(QuantizeOptions(model=DEFAULT_MODEL, out=model, data=data))
            console.print(f"== {precision}")
            results[precision] = check_precision(precision, model, data, cache)
    path = write_result("gpu", results, command="python -m benchmarks.experiments.gpu DATA")
    console.print(results)
    console.print(str(path))


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
