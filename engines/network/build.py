"""A network by its configuration: the keys say which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from engines.network.cascade import CascadeNetwork
from engines.network.multitask import MultiTaskNetwork
from engines.network.unet import MultiTaskUNet

if TYPE_CHECKING:
    from collections.abc import Mapping

MaskNetwork: TypeAlias = MultiTaskUNet | MultiTaskNetwork
Network: TypeAlias = MaskNetwork | CascadeNetwork


def make_network(architecture: Mapping[str, Any]) -> Network:
    """Builds the network that a model file or a training configuration names.

    With a key `masks`, which holds the configuration of a mask network, it is a `CascadeNetwork` around that one; with
    a key `encoder` a `MultiTaskNetwork` of that encoder; else the paper's `MultiTaskUNet`.

    Raises:
        TypeError, ValueError, KeyError: a key or value is not one of that network's.
    """
    if "masks" in architecture:
        rest = {key: value for key, value in architecture.items() if key != "masks"}
        return CascadeNetwork(make_mask_network(architecture["masks"]), **rest)
    return make_mask_network(architecture)


def make_mask_network(architecture: Mapping[str, Any]) -> MaskNetwork:
    """Builds a network that runs alone, or first in a cascade; see `make_network`."""
    network: MaskNetwork = network_kind(architecture)(**architecture)
    return network


def size_step(architecture: Mapping[str, Any]) -> int:
    """What the sides of the network's input must be multiples of; the architecture is one that `make_network` takes."""
    if "masks" in architecture:
        return size_step(architecture["masks"])
    if network_kind(architecture) is MultiTaskNetwork:
        return 32
    levels = len(architecture["widths"])
    return int(architecture.get("stem_stride", 1)) << (levels - 1)


def network_kind(architecture: Mapping[str, Any]) -> type[Any]:
    """The class of the mask network that has these keys."""
    return MultiTaskNetwork if "encoder" in architecture else MultiTaskUNet
