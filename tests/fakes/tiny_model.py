"""A small random network in a real model file, for tests of the road and not of the numbers."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from engines.base import ModelSpec
from engines.network.unet import MultiTaskUNet
from engines.onnx.export import export_onnx

if TYPE_CHECKING:
    from collections.abc import Mapping

HEIGHT, WIDTH = 32, 48  # unequal, so that swapped sides show
ARCHITECTURE: Mapping[str, object] = {
    "widths": [4, 8],
    "block": "residual",
    "stem_stride": 2,
    "plane_hidden": [8],
    "orientation_head": True,
}
SPEC = ModelSpec(
    name="tiny",
    height=HEIGHT,
    width=WIDTH,
    output_height=HEIGHT // 2,
    output_width=WIDTH // 2,
    classes=("background", "PS", "FH"),
    plane_threshold=0.0,  # every frame passes, so that an early exit stops none
    architecture=ARCHITECTURE,
    training_data="none",
    licence="Apache-2.0",
)


@functools.cache
def tiny_network() -> MultiTaskUNet:
    """Returns the seeded network; its BatchNorm statistics are no defaults, so that losing them shows."""
    state = torch.random.get_rng_state()
    torch.manual_seed(8)
    network = MultiTaskUNet(**ARCHITECTURE).eval()  # type: ignore[arg-type]
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.uniform_(-0.5, 0.5)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    torch.random.set_rng_state(state)
    return network


@functools.cache
def tiny_model() -> bytes:
    """Returns the ONNX file of `tiny_network`, exported once per test run."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.onnx"
        export_onnx(tiny_network(), SPEC, path)
        return path.read_bytes()
