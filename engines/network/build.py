"""A network by its configuration: the keys say which."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any, TypeAlias

from engines.network.multitask import MultiTaskNetwork
from engines.unet import MultiTaskUNet

if TYPE_CHECKING:
    from collections.abc import Mapping

Network: TypeAlias = MultiTaskUNet | MultiTaskNetwork


def make_network(architecture: Mapping[str, Any]) -> Network:
    """Builds the network: with a key `encoder` a `MultiTaskNetwork` of that encoder, else the paper's `MultiTaskUNet`.

    Raises:
        TypeError, ValueError, KeyError: a key or value is not one of that network's.
    """
    network: Network = _kind(architecture)(**architecture)
    return network


def size_step(architecture: Mapping[str, Any]) -> int:
    """What the sides of the network's input must be multiples of.

    Raises:
        ValueError: a key is unknown or missing; its name leads the message.
    """
    kind = _kind(architecture)
    known = signature(kind).parameters
    unknown = [key for key in architecture if key not in known]
    if unknown:
        raise ValueError(f"{unknown[0]}: unknown; known are {', '.join(known)}")
    if kind is MultiTaskNetwork:
        return 32
    if "widths" not in architecture:
        raise ValueError("widths: missing")
    levels = len(architecture["widths"])
    return int(architecture.get("stem_stride", 1)) << (levels - 1)


def _kind(architecture: Mapping[str, Any]) -> type[Any]:
    return MultiTaskNetwork if "encoder" in architecture else MultiTaskUNet
