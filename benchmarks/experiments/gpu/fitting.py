"""Where the letterbox costs less: on the host, which then uploads 64 kB, or on the device, which takes whole frames."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.errors import BenchError
from benchmarks.experiments.gpu.engines import latency_ms
from benchmarks.experiments.gpu.frames import SCREEN, screen_frame
from engines.backends.torch import TorchEngine, rebuilt
from engines.backends.torch_cuda import GraphedNetwork
from engines.network.letterbox import LetterboxedNetwork
from engines.network.serving import LabelledNetwork, fold_batch_norms, halve_convolutions
from engines.onnx.model_file import read_model_file
from engines.preprocess import Letterbox
from engines.registry import DEFAULT_MODEL
from engines.runtime import variant_spec

if TYPE_CHECKING:
    from benchmarks.experiments.gpu.steps import Report


def measure_letterbox(report: Report) -> None:
    """Latency of a 1920 x 1080 frame both ways, after both have given the same labels.

    Raises:
        BenchError: they do not.
    """
    if report.rehearsal:
        report.put(left_out="it needs a GPU; a test holds the letterbox of the device to the host's bits")
        return
    torch: Any = import_module("torch")
    model = read_model_file(DEFAULT_MODEL)
    spec = variant_spec(model.spec, heads_only=False, labels=True)
    frame, (height, width) = screen_frame(), SCREEN
    box = Letterbox(image_height=height, image_width=width, height=spec.height, width=spec.width)
    network = rebuilt(model)
    fold_batch_norms(network)
    halve_convolutions(network)
    whole: Any = LetterboxedNetwork(LabelledNetwork(network, spec), box).eval()
    graphs = GraphedNetwork(torch, whole.to("cuda", memory_format=torch.channels_last), spec, size=SCREEN)
    with TorchEngine(model, device="cuda", labels=True) as engine:
        on_device = graphs.run(frame[None, None])[0]
        on_host = engine.infer(box.apply(frame)[None, None]).arrays["labels"]
        unlike = float(np.mean(on_device != on_host))
        report.put(pixels_unlike=unlike)
        if unlike > 1e-3:
            raise BenchError(f"fitted on the device, {unlike:.2%} of the labels are others")
        report.put(
            letterbox_on_host_ms=latency_ms(lambda: engine.infer(box.apply(frame)[None, None]), report),
            letterbox_on_device_ms=latency_ms(lambda: graphs.run(frame[None, None]), report),
        )
