"""An INT8 model with explicit Q/DQ from a float one, by ONNX Runtime's static quantiser."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from engines.base import ModelSpec
from engines.errors import EngineUnavailable
from engines.onnx.editing import feature_maps, read_graph, second_look_tensors, serialize_model
from engines.onnx.folding import fold_graph
from engines.onnx.weights import compact_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

Ranges = Literal["minmax", "percentile", "entropy"]
Activations = Literal["signed", "unsigned"]

CHUNK = 8
"""Frames whose activations are held at once, some 60 MB each at 256 x 256."""
PERCENTILE = 99.99
QUANTISED = ("Conv", "Add", "MaxPool", "Resize", "Concat")
"""Operators of encoders and decoder that compute in 8 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationSettings:
    """How activations and weights become 8-bit integers. Weights are signed, symmetric, per output channel.

    Attributes:
        ranges: what a range is taken from: the extremes, the 99.99th percentile, or the least loss of information.
        activations: `signed` and symmetric, which every runtime takes, TensorRT too; or `unsigned` with a zero point,
            which resolves twice as finely behind a ReLU, for CPUs.
        kept: names of nodes that stay in float.
    """

    ranges: Ranges = "minmax"
    activations: Activations = "signed"
    kept: tuple[str, ...] = field(default=())


class Quantizer:
    """Quantises one model again and again from ranges that are collected once.

    Args:
        content: bytes of the float model's file.
        images: (N, 1, H, W) uint8, as the network takes them.
        ranges: see `QuantizationSettings`.

    Raises:
        EngineUnavailable: onnxruntime is not installed.
    """

    def __init__(self, content: bytes, images: NDArray[np.uint8], ranges: Ranges) -> None:
        self._runtime = _import_quantization()
        self._folder = tempfile.TemporaryDirectory(prefix="partum-quantize-")
        self._source = Path(self._folder.name) / "float.onnx"
        self._source.write_bytes(fold_graph(content))
        self._model, self._spec = read_graph(self._source.read_bytes())
        self._images, self._ranges = images, ranges

    def __enter__(self) -> Quantizer:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    @property
    def spec(self) -> ModelSpec:
        """The facts of the float model."""
        return self._spec

    @property
    def convolutions(self) -> list[str]:
        """Names of the nodes that a quantised model gains by, in the order they run."""
        return [node.name for node in self._quantisable() if node.op_type == "Conv"]

    def _quantisable(self) -> list[Any]:
        """The nodes of the mask network that hand on pictures: 8 bits are too few for the place of a pixel.

        The second look stays in float: in 8 bits it turns the axis by a degree and more, for a fifth of the time.
        """
        maps, second_look = feature_maps(self._model), second_look_tensors(self._model)
        return [
            node
            for node in self._model.graph.node
            if node.op_type in QUANTISED and node.output[0] in maps - second_look
        ]

    def quantized(
        self, *, activations: Activations = "signed", kept: Sequence[str] = (), only: Sequence[str] = ()
    ) -> bytes:
        """The quantised model's bytes, its spec's precision `int8`.

        Args:
            activations: see `QuantizationSettings`.
            kept: nodes left in float.
            only: nodes to quantise, and no others; empty takes encoder and decoder, and leaves the heads in float.
        """
        runtime, target = self._runtime, Path(self._folder.name) / "int8.onnx"
        kind = runtime.QuantType.QInt8 if activations == "signed" else runtime.QuantType.QUInt8
        with _quiet():
            runtime.quantize_static(
                self._source,  # a path: it changes a model that it is given
                target,
                _Reader(self._images),
                quant_format=runtime.QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTISED),
                per_channel=True,
                activation_type=kind,
                weight_type=runtime.QuantType.QInt8,
                nodes_to_quantize=list(only) or [node.name for node in self._quantisable()],
                nodes_to_exclude=list(kept),
                calibrate_method=self._method(),
                extra_options={
                    "ActivationSymmetric": activations == "signed",
                    "WeightSymmetric": True,
                    "QuantizeBias": False,  # TensorRT takes no 32-bit integers
                    # What a layer says is quantised where a layer takes it in, behind its activation: ReLU6 knows its
                    # range, the convolution before it does not.
                    "OpTypesToExcludeOutputQuantization": list(QUANTISED),
                    "CalibPercentile": PERCENTILE,
                    "CalibStridedMinMax": CHUNK,
                },
                calibration_cache_path=self._cache(),
            )
        model, _ = read_graph(target.read_bytes())
        compact_weights(model)  # of what stays in float
        return serialize_model(model, self._spec, precision="int8")

    def _method(self) -> Any:
        methods = self._runtime.CalibrationMethod
        return {"minmax": methods.MinMax, "percentile": methods.Percentile, "entropy": methods.Entropy}[self._ranges]

    def _cache(self) -> Path:
        return Path(self._folder.name) / f"{self._ranges}.json"


class _Reader:
    """Gives the quantiser one frame at a time; `CHUNK` divides how many there are."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        rest = -len(images) % CHUNK
        self._images = np.concatenate([images, images[:1].repeat(rest, axis=0)])
        self._places = iter(range(len(self._images)))

    def __len__(self) -> int:
        return len(self._images)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._places = iter(range(start_index, end_index))

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        place = next(self._places, None)
        return None if place is None else {"image": self._images[place][None]}


def _import_quantization() -> Any:
    try:
        from onnxruntime import quantization
    except ImportError as error:
        raise EngineUnavailable(f"onnxruntime cannot be imported ({error}); pip install 'partum[build]'") from error
    return quantization


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser advises on the root logger to prepare a graph that is prepared already, and prints its steps."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(before)
