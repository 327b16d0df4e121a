"""Roofline: an engine's operations and bytes against this machine's peaks.

A network of `operations` and `bytes` cannot take less than the larger of operations / peak and bytes / bandwidth. The
peaks are those of one large matrix product in each precision, by the same runtime, and of copying memory.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SIDE = 1536
COPIED_BYTES = 256 * 2**20
REPEATS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """What the machine can do, all cores.

    Attributes:
        operations_per_s: by precision: fp32, bf16, int8.
        bytes_per_s: read and written by a copy.
    """

    operations_per_s: Mapping[str, float]
    bytes_per_s: float


def measure_peaks(*, threads: int | None = None) -> Peaks:
    """Measures them; a precision that the machine or the runtime lacks is left out."""
    from engines.backends.openvino import compiled_graph
    from engines.onnx.cost import matrix_product

    operations = 2.0 * SIDE**3
    found = {}
    for precision in ("fp32", "bf16", "int8"):
        try:
            run = compiled_graph(matrix_product(SIDE, int8=precision == "int8"), precision, threads=threads)
        except (EngineError, RuntimeError):
            continue
        found[precision] = operations / _least_s(run)
    source = np.ones(COPIED_BYTES // 8)
    target = np.empty_like(source)
    return Peaks(operations_per_s=found, bytes_per_s=2 * COPIED_BYTES / _least_s(lambda: np.copyto(target, source)))


def _least_s(run: Callable[[], object]) -> float:
    """The least of several times: a peak is what the machine does when nothing disturbs it."""
    run()
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return min(times)


def roofline(content: bytes, precision: str, latency_ms: float, peaks: Peaks) -> dict[str, Any] | None:
    """Share of the machine's peak that an engine reaches; None where its precision has no peak.

    Args:
        content: of the model file that it runs.
        precision: of its arithmetic.
        latency_ms: of one frame.
        peaks: of the same run.
    """
    from engines.onnx.cost import cost_of

    peak = peaks.operations_per_s.get(precision)
    if peak is None:
        return None
    cost = cost_of(content)
    # The graph of a bf16 engine is float32; that of an INT8 model says itself what is an integer.
    share = 0.5 if precision == "bf16" else 1.0
    moved = (cost.weight_bytes + cost.activation_bytes) * share
    compute_ms, memory_ms = cost.operations / peak * 1e3, moved / peaks.bytes_per_s * 1e3
    limit_ms = max(compute_ms, memory_ms)
    return {
        "operations": cost.operations,
        "bytes_moved_at_most": round(moved),
        "peak_gops": round(peak / 1e9, 1),
        "peak_gb_per_s": round(peaks.bytes_per_s / 1e9, 2),
        "compute_limit_ms": round(compute_ms, 3),
        "memory_limit_ms": round(memory_ms, 3),
        "limited_by": "arithmetic" if compute_ms >= memory_ms else "memory",
        "share_of_limit": round(limit_ms / latency_ms, 3),
    }
