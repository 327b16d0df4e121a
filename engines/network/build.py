"""A network by its configuration: the keys say which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from engines.network.multitask import MultiTaskNetwork
from engines.network.unet import MultiTaskUNet

if TYPE_CHECKING:
    from collections.abc import Mapping

Network: TypeAlias = MultiTaskUNet | MultiTaskNetwork


def make_network(architecture: Mapping[str, Any]) -> Network:
    """Builds the network: with a key `encoder` a `MultiTaskNetwork` of that encoder, else the paper's `MultiTaskUNet`.

    Raises:
        TypeError, ValueError, KeyError: a key or value is not one of that network's.
    """
    network: Network = network_kind(architecture)(**architecture)
    return network


def size_step(architecture: Mapping[str, Any]) -> int:
    """What the sides of the network's input must be multiples of; the architecture is one that `make_network` takes."""
    if network_kind(architecture) is MultiTaskNetwork:
        return 32
    levels = len(architecture["widths"])
    return int(architecture.get("stem_stride", 1)) << (levels - 1)


def network_kind(architecture: Mapping[str, Any]) -> type[Any]:
    """The class of the network that has these keys."""
    return MultiTaskNetwork if "encoder" in architecture else MultiTaskUNet
