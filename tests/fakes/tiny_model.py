"""A small random network in a real model file, for tests of the road and not of the numbers."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from engines.base import ModelSpec
from engines.network.build import make_network
from engines.network.cascade import CascadeNetwork
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
@torch.inference_mode(False)  # whoever is first: weights made under it are other tensors
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


SIDE = 64
CASCADE: Mapping[str, object] = {
    "masks": ARCHITECTURE,
    "size": SIDE,
    "refinement": {"levels": 2, "side": 32, "channels": 4, "hidden": 8},
    "views": [[1.0, 0.0, 0.0], [1.2, 0.05, -0.03]],
    "field_share": 0.4375,
}
CASCADE_SPEC = replace(
    SPEC, name="cascade", height=SIDE, width=SIDE, output_height=SIDE // 2, output_width=SIDE // 2, architecture=CASCADE
)


@functools.cache
@torch.inference_mode(False)  # whoever is first: weights made under it are other tensors
def tiny_cascade() -> CascadeNetwork:
    """A seeded network with a second look, whose masks show a PS in most noise, and with a gate of its own."""
    state = torch.random.get_rng_state()
    torch.manual_seed(5)
    network = make_network(CASCADE).eval()
    assert isinstance(network, CascadeNetwork)
    network.masks.load_state_dict(tiny_network().state_dict())
    network.masks.segmentation_head.bias.data += torch.tensor([-1.0, 2.0, -1.0])
    network.gate_weights.copy_(torch.tensor([0.8, 0.3, -0.2, 0.1, 0.4, -0.6, -1.5]))
    torch.random.set_rng_state(state)
    return network


@functools.cache
def tiny_cascade_model() -> bytes:
    """Returns the ONNX file of `tiny_cascade`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cascade.onnx"
        export_onnx(tiny_cascade(), CASCADE_SPEC, path)
        return path.read_bytes()
