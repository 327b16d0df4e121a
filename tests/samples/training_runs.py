"""Trainings that are stopped, and what their checkpoints hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from calibration.learning import train

if TYPE_CHECKING:
    from pathlib import Path

    from calibration.learning.batch import Batch
    from calibration.learning.frames import FrameStore
    from calibration.learning.settings.training import TrainConfig


def stored(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = torch.load(path, weights_only=True)
    return read


def assert_equal(one: Any, other: Any, where: str = "") -> None:
    """Compares what checkpoints hold, to the bit; only how long an epoch took may differ."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one.keys() - {"seconds"}:
            assert_equal(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for place, pair in enumerate(zip(one, other, strict=True)):
            assert_equal(*pair, f"{where}/{place}")
    else:
        assert one == other, where


def killed_at(step: int, monkeypatch: pytest.MonkeyPatch, config: TrainConfig, *, data: Path, out: Path) -> None:
    """Runs a training that is stopped before a step."""
    draw = train.draw_batch

    def until(store: FrameStore, config: TrainConfig, at: int, device: torch.device) -> Batch:
        if at == step:
            raise KeyboardInterrupt
        return draw(store, config, at, device)

    with monkeypatch.context() as patch:
        patch.setattr(train, "draw_batch", until)
        with pytest.raises(KeyboardInterrupt):
            train.train(config, data=data, out=out)
