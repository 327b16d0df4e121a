"""From an ONNX file to a TensorRT engine, in minutes on a full TensorRT and in seconds on TensorRT-RTX.

Networks are strongly typed: every precision stands in the ONNX file (`engines.onnx.precision`, Q/DQ), and no builder
flag or calibrator is asked for one. So the same code serves TensorRT 10, 11 and TensorRT-RTX.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engines.errors import BuildError
from engines.tensorrt.runtime import last_complaint, make_log

if TYPE_CHECKING:
    from collections.abc import Callable

    from engines.base import ModelSpec
    from engines.tensorrt.runtime import TensorRt

INPUT = "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What is asked of a build.

    Attributes:
        batch: least, usual and greatest batch size; three times the same makes a static engine.
        capability: compute capability to build for, `sm80`, without a device (TensorRT-RTX only); empty takes the
            device that is there.
    """

    batch: tuple[int, int, int] = (1, 1, 1)
    capability: str = ""

    def __post_init__(self) -> None:
        least, usual, most = self.batch
        if not 1 <= least <= usual <= most:
            raise ValueError(f"batch sizes must rise from 1 or more, got {self.batch}")
        if self.capability and not re.fullmatch(r"sm\d{2,3}", self.capability):
            raise ValueError(f"a compute capability reads like sm80, got {self.capability!r}")

    @property
    def is_static(self) -> bool:
        return self.batch[0] == self.batch[2]


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """A serialised engine, and the timing cache that makes the next build of the kind faster."""

    content: bytes = field(repr=False)
    timing_cache: bytes = field(repr=False)


def build_engine(
    content: bytes,
    spec: ModelSpec,
    options: BuildOptions,
    *,
    precision: str,
    tensorrt: TensorRt,
    timing_cache: bytes = b"",
    report: Callable[[str, int, int], None] = lambda phase, step, steps: None,
) -> BuiltEngine:
    """Builds an engine.

    Args:
        content: bytes of the ONNX file, in the precision wanted.
        spec: the model's facts.
        options: batch sizes and target.
        precision: what the file's convolutions must compute in: fp32, fp16, bf16, int8 or fp8.
        tensorrt: from `load_tensorrt`.
        timing_cache: of an earlier build on this machine; a foreign one is not used.
        report: called with the phase's name, the steps done and their number as the build goes on.

    Raises:
        BuildError: TensorRT does not take the model, reads another precision in it, or cannot build for this target.
    """
    trt = tensorrt.module
    log = make_log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    # It says yes to bytes that are no model at all: a network without outputs tells.
    if not parser.parse(content) or network.num_outputs == 0:
        raise BuildError(f"{tensorrt.name} {tensorrt.version} does not take {spec.name}: {_parser_error(parser, log)}")
    if (found := precision_of(trt, network)) != precision:
        raise BuildError(
            f"{tensorrt.name} {tensorrt.version} reads {spec.name} as {found}, where {precision} was asked"
        )

    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 is to mean float32, not 10 bits of it
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)  # nothing is allocated while a graph is recorded
    _set_batch(builder, network, config, spec, options)
    if options.capability:
        _set_capability(trt, config, options.capability, tensorrt)
    cache = None if tensorrt.name == "tensorrt_rtx" else timing_cache_for(config, timing_cache)  # RTX times nothing
    config.progress_monitor = monitor = _monitor(trt, report)
    serialised = builder.build_serialized_network(network, config)
    if monitor.interrupted:
        raise KeyboardInterrupt
    if serialised is None:
        raise BuildError(f"{tensorrt.name} {tensorrt.version} cannot build {spec.name}: {last_complaint(log)}")
    return BuiltEngine(bytes(serialised), bytes(cache.serialize()) if cache is not None else b"")


def precision_of(trt: Any, network: Any) -> str:
    """What most convolutions of a parsed network compute in.

    int8 or fp8 where such tensors, of pictures and of weights, feed a quarter of them or more: the second look stays in
    half precision.
    """
    names = {trt.float32: "fp32", trt.float16: "fp16", trt.bfloat16: "bf16"}
    found: Counter[str] = Counter()
    quantised: Counter[str] = Counter()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == trt.LayerType.CONVOLUTION:
            found[names.get(layer.get_output_type(0), "another type")] += 1
        elif layer.type == trt.LayerType.DEQUANTIZE:
            quantised["fp8" if layer.get_input(0).dtype == trt.fp8 else "int8"] += 1
    if 2 * quantised.total() >= found.total() > 0:
        return quantised.most_common(1)[0][0]
    return found.most_common(1)[0][0] if found else "fp32"


def _parser_error(parser: Any, log: Any) -> str:
    if parser.num_errors:
        return " ".join(str(parser.get_error(parser.num_errors - 1).desc()).split())
    return last_complaint(log)


def _set_batch(builder: Any, network: Any, config: Any, spec: ModelSpec, options: BuildOptions) -> None:
    frame = (1, spec.height, spec.width)
    if options.is_static:
        network.get_input(0).shape = (options.batch[0], *frame)
        return
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT, *((size, *frame) for size in options.batch))
    config.add_optimization_profile(profile)


def _set_capability(trt: Any, config: Any, capability: str, tensorrt: TensorRt) -> None:
    known = getattr(trt, "ComputeCapability", None)
    wanted = getattr(known, capability.upper(), None)
    if wanted is None:
        names = ", ".join(name.lower() for name in dir(known) if name.startswith("SM")) if known else "none"
        raise BuildError(
            f"{tensorrt.name} {tensorrt.version} cannot build for {capability} from afar; it knows {names}"
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(wanted, 0)


def timing_cache_for(config: Any, content: bytes) -> Any:
    """The build's timing cache, from `content` if that is of this machine and version; None where there can be none."""
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        if cache is None or not config.set_timing_cache(cache, False):
            return None
    return cache


def _monitor(trt: Any, report: Callable[[str, int, int], None]) -> Any:
    """Passes the build's progress on; Ctrl-C ends the build at its next step instead of after it."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """`interrupted` says that the build was ended from outside."""

        def __init__(self) -> None:
            super().__init__()
            self.steps: dict[str, int] = {}
            self.interrupted = False

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps
            self._say(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._say(phase_name, step + 1)
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            self._say(phase_name, self.steps.get(phase_name, 0))

        def _say(self, phase: str, step: int) -> None:
            try:
                report(phase, step, self.steps.get(phase, 0))
            except KeyboardInterrupt:
                self.interrupted = True

    return Monitor()
