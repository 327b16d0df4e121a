"""PyTorch: the network as it was trained, rebuilt from the weights inside the ONNX file.

This module has the name of the package it wraps. That is safe with absolute imports, and as long as no file
of this folder is run by its path (`python engines/onnx/export.py`); use `partum export`.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.backends.torch_cuda import GraphedNetwork
from engines.base import EngineDescription
from engines.errors import EngineUnavailable, ModelMismatch
from engines.runtime import (
    RuntimeEngine,
    check_precision,
    device_busy,
    model_rejected,
    runtime_unavailable,
    variant_spec,
)

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
        labels: answers labels in the place of class logits (`ModelSpec.answers_labels`).

    Raises:
        EngineUnavailable: torch or onnx is not installed, or there is no GPU or compiler.
        ModelMismatch: architecture and weights do not fit each other.
        DeviceBusy: there is no memory for it now.
    """

    def __init__(
        self,
        model: ModelFile,
        *,
        threads: int | None = None,
        device: str = "cpu",
        compiled: bool = False,
        heads_only: bool = False,
        labels: bool = False,
    ) -> None:
        spec = variant_spec(model.spec, heads_only=heads_only, labels=labels)
        is_gpu = device.startswith("cuda")
        precision = "fp16" if is_gpu else "fp32"
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
        description = EngineDescription(
            backend=BACKEND,
            precision=precision,
            device=device.upper(),
            compiled=compiled,
            threads=None if is_gpu else torch.get_num_threads(),
        )
        super().__init__(description, spec)
        self._torch: Any = torch
        network: Any = rebuilt(model)
        network.decodes = not heads_only
        with warnings.catch_warnings():
            # Compiling warns of torch's own internals, not of this network.
            warnings.simplefilter("ignore")
            try:
                self._network, self._graphs = self._ready(network, device, compiled=compiled)
            except RuntimeError as error:
                raise device_busy(f"{BACKEND}-cuda" if is_gpu else BACKEND, error) or error from error
            self._warm_up()

    def _ready(self, network: Any, device: str, *, compiled: bool) -> tuple[Any, GraphedNetwork | None]:
        """The network on its device, in its precision, and its graphs where that is a GPU."""
        from engines.network.serving import LabelledNetwork, fold_batch_norms, halve_convolutions

        torch = self._torch
        if device.startswith("cuda"):
            fold_batch_norms(network)
            halve_convolutions(network)
        if self.spec.answers_labels:
            network = LabelledNetwork(network, self.spec).eval()
        network = network.to(device, memory_format=torch.channels_last)  # measured: a tenth less time on a CPU
        network = torch.compile(network) if compiled else network
        return network, GraphedNetwork(torch, network, self.spec, device=device) if device.startswith("cuda") else None

    def device_ms(self, batch: int = 1) -> float:
        """What the GPU itself needs for a batch, copies included, in ms; EngineUnavailable on a CPU."""
        if self._graphs is None:
            raise EngineUnavailable(f"{self.name}: has no GPU to time")
        with self._call():
            return self._graphs.device_ms(batch)

    def _run(self, images: NDArray[np.uint8]) -> tuple[NDArray[Any], ...]:
        if self._graphs is not None:
            found: tuple[NDArray[Any], ...] = self._graphs.run(images)
            return found
        with self._torch.inference_mode():
            # A copy: torch complains of arrays that are read-only, and frames are.
            outputs = self._network(self._torch.tensor(images))
        runs = _PRECISIONS.get(str(outputs[int(self.spec.answers_labels)].dtype), "another type")  # the first of floats
        check_precision(BACKEND, asked=self.description.precision, runs=runs)
        return tuple(np.ascontiguousarray(output.numpy()) for output in outputs)

    def _release(self) -> None:
        self._network = self._graphs = None


def rebuilt(model: ModelFile) -> Network:
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
