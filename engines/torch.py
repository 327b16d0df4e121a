"""PyTorch on the CPU: the network as it was trained, rebuilt from the weights inside the ONNX file.

This module has the name of the package it wraps. That is safe with absolute imports, and as long as no file
of this folder is run by its path (`python engines/export.py`); use `python -m engines.export`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engines.runtime import RuntimeEngine, refused, unavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from engines.model_file import ModelFile
    from engines.unet import MultiTaskUNet

BACKEND = "torch"
EXTRA = "partum[torch]"


class TorchEngine(RuntimeEngine):
    """A model run by torch in float32 without gradients.

    Args:
        model: from `engines.model_file.read_model_file`; its spec's `architecture` rebuilds the network.
        threads: cores it may keep busy. Torch has one such number for the whole process and this sets it;
            None leaves it as it is.

    Raises:
        EngineUnavailable: torch or onnx is not installed.
        ModelMismatch: architecture and weights do not fit each other.
    """

    def __init__(self, model: ModelFile, *, threads: int | None = None) -> None:
        super().__init__(f"{BACKEND} f32 CPU", model.spec)
        try:
            import torch
        except ImportError as error:
            raise unavailable(BACKEND, EXTRA, error) from error
        if threads is not None:
            torch.set_num_threads(threads)
        self._torch: Any = torch
        network: Any = _rebuild(model)
        self._network = network.to(memory_format=torch.channels_last)  # measured: a tenth less time on a CPU
        self._warm_up()

    def _run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        with self._torch.inference_mode():
            # A copy: torch complains of arrays that are read-only, and frames are.
            outputs = self._network(self._torch.tensor(images))
        return tuple(output.contiguous().numpy() for output in outputs)

    def _release(self) -> None:
        self._network = None


def _rebuild(model: ModelFile) -> MultiTaskUNet:
    """Builds the network of the spec's architecture with the file's weights, which keep their torch names."""
    try:
        import onnx
        import torch
    except ImportError as error:
        raise unavailable(BACKEND, EXTRA, error) from error
    from engines.unet import MultiTaskUNet

    stored = onnx.load_from_string(model.content).graph.initializer
    weights = {tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy()) for tensor in stored}
    try:
        network = MultiTaskUNet(**model.spec.architecture).eval()  # type: ignore[arg-type]
        # The graph has no use for BatchNorm's training counters, so the file does not hold them.
        counters = {name: value for name, value in network.state_dict().items() if value.dtype == torch.int64}
        network.load_state_dict(counters | weights)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise refused(BACKEND, model.spec, error) from error
    return network
