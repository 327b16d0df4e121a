"""Optimiser, learning rate schedule, moving average of weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch

if TYPE_CHECKING:
    from torch import nn


class OptimiserSettings(Protocol):
    """The optimiser by configuration; fields as in `calibration.learning.settings.training.TrainConfig`."""

    @property
    def epochs(self) -> int: ...

    @property
    def steps_per_epoch(self) -> int: ...

    @property
    def optimiser(self) -> Literal["adamw", "schedule_free"]: ...

    @property
    def learning_rate(self) -> float: ...

    @property
    def encoder_rate(self) -> float: ...

    @property
    def warm_up_steps(self) -> int: ...

    @property
    def decay(self) -> Literal["cosine", "none"]: ...

    @property
    def weight_decay(self) -> float: ...


def parameter_groups(network: nn.Module, encoder: nn.Module, config: OptimiserSettings) -> list[dict[str, Any]]:
    """Parameter groups with their learning-rate factors: the encoder, and all else."""
    slow = list(encoder.parameters())
    known = {id(parameter) for parameter in slow}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in known]
    return [{"params": rest, "rate": 1.0}, {"params": slow, "rate": config.encoder_rate}]


def make_optimiser(parameters: list[dict[str, Any]], config: OptimiserSettings) -> torch.optim.Optimizer:
    """AdamW, or its schedule-free form (Defazio et al., 2024), which averages weights instead of lowering its rate."""
    if config.optimiser == "schedule_free":
        from schedulefree import AdamWScheduleFree

        optimiser: torch.optim.Optimizer = AdamWScheduleFree(
            parameters,
            lr=config.learning_rate,
            warmup_steps=config.warm_up_steps,
            weight_decay=config.weight_decay,
        )
        return optimiser
    return torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)


def learning_rate(step: int, config: OptimiserSettings) -> float:
    """Linear warm-up, then half a cosine down to zero, or level; the schedule-free optimiser warms up by itself."""
    if config.optimiser == "schedule_free":
        return config.learning_rate
    if step < config.warm_up_steps:
        return config.learning_rate * (step + 1) / config.warm_up_steps
    if config.decay == "none":
        return config.learning_rate
    total = config.epochs * config.steps_per_epoch
    done = (step - config.warm_up_steps) / max(1, total - config.warm_up_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Moves the average towards the network."""
    for kept, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)
