"""PyTorch: the network as it was trained, rebuilt from the weights inside the ONNX file.

This module has the name of the package it wraps. That is safe with absolute imports, and as long as no file
of this folder is run by its path (`python engines/onnx/export.py`); use `partum export`.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.base import EngineDescription
from engines.errors import EngineUnavailable, ModelMismatch
from engines.runtime import RuntimeEngine, check_precision, heads_spec, model_rejected, runtime_unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from engines.network.build import Network
    from engines.onnx.model_file import ModelFile

BACKEND = "torch"
EXTRA = "partum[torch]"
_PRECISIONS = {"torch.float32": "fp32", "torch.float16": "fp16", "torch.bfloat16": "bf16"}


class TorchEngine(RuntimeEngine):
    """A model run by torch without gradients: in float32 on the CPU, in float16 as a CUDA graph on a GPU.

    Args:
        model: from `engines.onnx.model_file.read_model_file`; its spec's `architecture` rebuilds the network.
        threads: cores it may keep busy. Torch has one such number for the whole process and this sets it;
            None leaves it as it is.
        device: `cpu`, or a GPU, `cuda` or `cuda:1`.
        compiled: compiles the network first, which takes seconds to a minute and, on a CPU, a C++ compiler.
        heads_only: leaves the decoder out.

    Raises:
        EngineUnavailable: torch or onnx is not installed, or there is no GPU or compiler.
        ModelMismatch: architecture and weights do not fit each other.
    """

    def __init__(
        self,
        model: ModelFile,
        *,
        threads: int | None = None,
        device: str = "cpu",
        compiled: bool = False,
        heads_only: bool = False,
    ) -> None:
        spec = heads_spec(model.spec) if heads_only else model.spec
        is_gpu = device.startswith("cuda")
        precision = "fp16" if is_gpu else "fp32"
        super().__init__(
            EngineDescription(backend=BACKEND, precision=precision, device=device.upper(), compiled=compiled), spec
        )
        try:
            import torch
        except ImportError as error:
            raise runtime_unavailable(BACKEND, EXTRA, error) from error
        count = torch.cuda.device_count() if is_gpu and torch.cuda.is_available() else 0
        if is_gpu and (torch.device(device).index or 0) >= count:
            found = f"no {device}, but {count}" if count else "no GPU"
            raise EngineUnavailable(f"back-end {BACKEND}-cuda: torch finds {found}; use torch, or another back-end")
        if threads is not None:
            torch.set_num_threads(threads)
        self._torch: Any = torch
        self._device, self._compiled = device, compiled
        network: Any = _rebuild(model)
        network = network.to(device, memory_format=torch.channels_last)  # measured: a tenth less time on a CPU
        network.decodes = not heads_only
        self._graphs: dict[int, tuple[Any, Any, Any]] = {}
        with warnings.catch_warnings():
            # Compiling warns of torch's own internals, not of this network.
            warnings.simplefilter("ignore")
            self._network: Any = torch.compile(network) if compiled else network
            self._warm_up()

    def _run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        with self._torch.inference_mode():
            # A copy: torch complains of arrays that are read-only, and frames are.
            given = self._torch.tensor(images)
            if self._device == "cpu":
                outputs = self._network(given)
            else:
                with self._torch.cuda.device(self._device):
                    outputs = self._replayed(given)
        check_precision(
            BACKEND, asked=self.description.precision, runs=_PRECISIONS.get(str(outputs[0].dtype), "another type")
        )
        return tuple(np.ascontiguousarray(output.float().cpu().numpy()) for output in outputs)

    def _replayed(self, images: Any) -> Any:
        """Runs a batch by its CUDA graph; the first batch of a size records it."""
        torch, count = self._torch, len(images)
        if count not in self._graphs:
            static = images.cuda()
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):  # kernels are chosen and memory is taken before the recording
                for _ in range(3):
                    self._in_half(static)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                outputs = self._in_half(static)
            self._graphs[count] = (graph, static, outputs)
        graph, static, outputs = self._graphs[count]
        static.copy_(images)
        graph.replay()
        return outputs

    def _in_half(self, images: Any) -> Any:
        with self._torch.autocast("cuda", self._torch.float16):
            return self._network(images)

    def _release(self) -> None:
        self._network, self._graphs = None, {}


def _rebuild(model: ModelFile) -> Network:
    """Builds the network of the spec's architecture with the file's weights, which keep their torch names."""
    try:
        import onnx
        import torch
    except ImportError as error:
        raise runtime_unavailable(BACKEND, EXTRA, error) from error
    from engines.network.build import make_network
    from engines.onnx.weights import float_weights

    if model.spec.precision != "fp32":
        raise ModelMismatch(
            f"back-end {BACKEND} runs float32 models, and {model.spec.name} is {model.spec.precision}; name the float32"
            " model it was made from"
        )
    stored = onnx.load_from_string(model.content).graph.initializer
    arrays = float_weights({tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in stored})
    weights = {name: torch.from_numpy(values.copy()) for name, values in arrays.items()}
    try:
        network = make_network(model.spec.architecture).eval()
        # The graph has no use for BatchNorm's training counters, so the file does not hold them; it has constants too.
        expected = network.state_dict()
        counters = {name: value for name, value in expected.items() if value.dtype == torch.int64}
        network.load_state_dict(counters | {name: value for name, value in weights.items() if name in expected})
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise model_rejected(BACKEND, model.spec, error) from error
    return network


def eager_network(architecture: Mapping[str, Any]) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """An untrained network in eager mode, (1, 1, H, W) float32 to logits (1, 3, h, w): what is timed beside engines.

    Args:
        architecture: of `engines.network.build.make_network`.

    Raises:
        EngineUnavailable: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise runtime_unavailable(BACKEND, EXTRA, error) from error
    from engines.network.build import make_network

    network = make_network(architecture).eval()

    def run(image: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            logits: NDArray[np.float32] = network(torch.from_numpy(image))[0].numpy()
        return logits

    return run
