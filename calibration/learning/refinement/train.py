"""Trains the second look at the symphysis: one linear loop, resumable after a kill at any point.

As in `calibration.learning.train`, a step's randomness comes from the run's seed and the step's number alone, and the
whole state is written after every epoch.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console
from torch.nn import functional

from calibration.data.groups import check_no_near_copies
from calibration.data.split import check_disjoint
from calibration.errors import ConfigError, TrainingError
from calibration.evaluation.statistics.ranks import area_under_roc
from calibration.learning import checkpoint
from calibration.learning.augmentation.appearance import degrade
from calibration.learning.frames import load_store
from calibration.learning.optimisation import learning_rate, make_optimiser, parameter_groups, update_average
from calibration.learning.refinement.crops import CropStore, DrawnSymphysis
from calibration.learning.train import choose_device
from engines.network.refinement import RefinementNetwork
from engines.network.second_look import FIELD_SHARE
from stream.common.atomic_file import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from calibration.learning.frames import FrameStore
    from calibration.learning.refinement.config import RefinementConfig

SCHEMA = "partum.refinement/1"
VIEWS = 4
"""Crops of each held-out frame, shifted at random by up to 3 % of the side as a coarse mask would."""
LARGE_TURN = 0.1
"""Radians from which the direction's error counts linearly."""
LOST_TURN = 1.0
"""Error, radians, of the direction of a symphysis that is not there: an arbitrary one is off by 1.6 on average."""


@dataclass(slots=True, eq=False, kw_only=True)
class RefinementRun:
    """Everything that changes while a network is trained; all of it is in its checkpoint."""

    network: RefinementNetwork
    average: RefinementNetwork
    optimiser: torch.optim.Optimizer
    epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        parts = {name: getattr(self, name).state_dict() for name in ("network", "average", "optimiser")}
        return parts | {"epoch": self.epoch, "history": self.history}

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Goes back to a state."""
        self.epoch, self.history = stored["epoch"], stored["history"]
        for name in ("network", "average", "optimiser"):
            getattr(self, name).load_state_dict(stored[name])


def train_refinement(config: RefinementConfig, *, data: Path, out: Path) -> dict[str, Any]:
    """Runs a training to its end, from `out/checkpoint.pt` where there is one.

    Writes `checkpoint.pt` (whole state) and `history.jsonl` (one line an epoch).

    Returns:
        The last line of the history.

    Raises:
        DataSetError, ConfigError: the data are not what the configuration says.
        TrainingError: `out` holds another run, or the loss is no number.
    """
    console = Console(stderr=True)
    device = choose_device(config.device)
    learned = load_store(config.train, data, size=config.size, seed=config.seed)
    judged = load_store(config.validation, data, size=config.size, seed=config.seed + 1_000_000)
    check_disjoint(learned.groups, judged.groups)
    check_no_near_copies(learned.seen, judged.seen)
    store, held_out = crops_of(learned), crops_of(judged)
    console.print(f"train: {len(store.images)} symphyses, validation: {len(held_out.images)}")
    goes_on = (out / checkpoint.CHECKPOINT).exists()  # all weights come from there
    run = new_refinement_run(replace(config, pretrained=config.pretrained and not goes_on), device)
    with checkpoint.only_training_in(out):
        stored = checkpoint.load_checkpoint(out / checkpoint.CHECKPOINT, config, fingerprint=learned.fingerprint)
        if stored:
            run.restore(stored["state"])
        _train_epochs(run, store, held_out, config, device, out=out, fingerprint=learned.fingerprint)
    return run.history[-1]


def _train_epochs(
    run: RefinementRun,
    store: CropStore,
    held_out: CropStore,
    config: RefinementConfig,
    device: torch.device,
    *,
    out: Path,
    fingerprint: str,
) -> None:
    """The epochs that are left; each is on disk before the next begins."""
    console = Console(stderr=True)
    while run.epoch < config.epochs:
        began = time.monotonic()
        means = train_refinement_epoch(run, store, config, device)
        kept = run.average if config.average else run.network
        line = {"epoch": run.epoch + 1, **means, **validate_refinement(kept, held_out, config, device)}
        run.history.append(line | {"seconds": round(time.monotonic() - began, 1)})
        run.epoch += 1
        facts = {
            "schema": SCHEMA,
            "config": checkpoint.config_text(config),
            "data_fingerprint": fingerprint,
            "weights": kept.state_dict(),
        }
        checkpoint.save_checkpoint(facts | {"state": run.state()}, out / checkpoint.CHECKPOINT)
        write_atomic(out / checkpoint.HISTORY, "".join(json.dumps(row) + "\n" for row in run.history).encode())
        console.print("  ".join(f"{name} {value:.4g}" for name, value in run.history[-1].items() if value is not None))


def crops_of(loaded: FrameStore) -> CropStore:
    """The labelled frames whose PS has an ellipse.

    Raises:
        ConfigError: no frame shows a symphysis.
    """
    images, drawn, symphyses, chance = [], [], [], []
    for pool in loaded.pools:
        masks = pool.batch.masks.numpy()
        each = np.diff(pool.reach.numpy(), prepend=0.0) * pool.mass
        for row, mask in enumerate(masks):
            found = DrawnSymphysis.of(mask)
            if found is not None:
                images.append(pool.batch.images[row])
                drawn.append(pool.batch.masks[row])
                symphyses.append(found)
                chance.append(each[row])
    if not images:
        raise ConfigError("no frame of these sources shows a symphysis: there is nothing to learn from")
    likely = torch.tensor(chance, dtype=torch.float64)
    return CropStore(torch.stack(images), torch.stack(drawn), symphyses, (likely / likely.sum()).cumsum(0))


def new_refinement_run(config: RefinementConfig, device: torch.device) -> RefinementRun:
    """A run before its first step."""
    torch.manual_seed(config.seed)
    network = RefinementNetwork(**config.network)
    if config.pretrained:
        network.encoder.load_pretrained()
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = make_optimiser(parameter_groups(network, network.encoder, config), config)
    return RefinementRun(network=network, average=deepcopy(network), optimiser=optimiser)


def train_refinement_epoch(
    run: RefinementRun, store: CropStore, config: RefinementConfig, device: torch.device
) -> dict[str, float]:
    """One epoch of steps; returns the means of the losses.

    Raises:
        TrainingError: the loss is no number.
    """
    values: dict[str, list[float]] = defaultdict(list)
    run.network.train()
    first = run.epoch * config.steps_per_epoch
    for step in range(first, first + config.steps_per_epoch):
        seed = config.seed * 1_000_003 + step
        torch.manual_seed(seed)  # of dropout
        generator = torch.Generator().manual_seed(seed)
        images, targets, covered = store.draw(
            config.batch, config.augmentation, generator, side=run.network.side, covered=config.covered
        )
        images = degrade(images, config.augmentation, generator).clamp(0, 1)
        for group in run.optimiser.param_groups:
            group["lr"] = learning_rate(step, config) * group["rate"]
        losses = losses_of(run.network((images * 255).to(device)), targets.to(device), covered.to(device))
        loss = (
            config.direction_weight * losses["direction"]
            + config.ends_weight * losses["ends"]
            + config.spread_weight * losses["spread"]
            + config.covered_weight * losses["covered"]
        )
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"step {step}: the loss is {loss.item()}; lower learning_rate or set clip_norm, and give --out another"
                " folder"
            )
        run.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if config.clip_norm:
            torch.nn.utils.clip_grad_norm_(run.network.parameters(), config.clip_norm)
        run.optimiser.step()
        if config.average:
            update_average(run.average, run.network, min(config.average, (step + 1) / (step + 10)))
        for name, value in losses.items():
            values[name].append(value.item())
    return {name: sum(found) / len(found) for name, found in values.items()}


def losses_of(answer: Tensor, targets: Tensor, covered: Tensor) -> dict[str, Tensor]:
    """Mean losses of answers (B, 7) against targets (B, 6); crops whose target is NaN do not count.

    Of crops whose PS is covered, (B,) bool, only the spread is learned, as if the direction were off by `LOST_TURN`.

    `direction`: Huber loss of the angle between, in radians, over `LARGE_TURN`. `ends`: absolute error of the
    coordinates. `spread`: negative log likelihood of the angle's error under Laplace's law with the answered spread;
    the error itself learns nothing from it.
    """
    hidden = _laplace(answer[covered, 6], torch.full_like(answer[covered, 6], LOST_TURN))
    known = targets.isfinite().all(dim=1) & ~covered
    answer, targets = answer[known], targets[known]
    turn = turn_between(answer[:, :2], targets[:, :2])
    direction = functional.smooth_l1_loss(turn, torch.zeros_like(turn), beta=LARGE_TURN)
    length = (answer[:, :2].norm(dim=1) - 1).square().mean()
    ends = (answer[:, 2:6] - targets[:, 2:6]).abs().mean()
    spread = _laplace(answer[:, 6], turn.detach().abs())
    return {"direction": direction + 0.01 * length, "ends": ends, "spread": spread, "covered": hidden}


def _laplace(log_spread: Tensor, error: Tensor) -> Tensor:
    """Mean negative log likelihood of errors under Laplace's law of a spread; 0 of none."""
    log_spread = log_spread.clamp(-6, 2)
    return (error * torch.exp(-log_spread) + log_spread).sum() / max(len(error), 1)


def turn_between(first: Tensor, second: Tensor) -> Tensor:
    """The angle from one direction (B, 2) to another, radians in (-pi, pi]."""
    cross = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    return torch.atan2(cross, (first * second).sum(dim=1))


@torch.inference_mode()
def validate_refinement(
    network: RefinementNetwork, held_out: CropStore, config: RefinementConfig, device: torch.device
) -> dict[str, float | None]:
    """How right the answers are on crops whose centre is off as a coarse mask's would be.

    Absolute errors of single views, in degrees and pixels of the network's square, and of the mean of the views; where
    crops with a covered PS are learned from, the area under the ROC curve by which the spread tells those.
    """
    network.eval()
    generator = torch.Generator().manual_seed(0)
    turns, ends, spreads, hidden = [], [], [], []
    for start in range(0, len(held_out.images), config.batch):
        rows = range(start, min(start + config.batch, len(held_out.images)))
        views = []
        for _ in range(VIEWS):
            images, targets = held_out.crops(rows, *_jitter(len(rows), config, generator), side=network.side)
            answer = network((images * 255).to(device)).cpu()
            views.append(turn_between(answer[:, :2], targets[:, :2]))
            ends.append((answer[:, 2:4] - targets[:, 2:4]).norm(dim=1))
        spreads.append(answer[:, 6])
        turns.append(torch.stack(views))
        if config.covered:
            covered = held_out.cover(torch.tensor(rows), torch.ones(len(rows), dtype=torch.bool), generator)
            jitter = _jitter(len(rows), config, generator)
            images, _ = held_out.crops(rows, *jitter, side=network.side, images=covered)
            hidden.append(network((images * 255).to(device)).cpu()[:, 6])
    off = torch.cat(turns, dim=1).rad2deg()
    known = off.isfinite().all(dim=0)
    in_px = torch.cat(ends) * FIELD_SHARE * config.size / 2
    errors: dict[str, float | None] = {
        "turn_deg": float(off[:, known].abs().mean()),
        "turn_of_views_deg": float(off[:, known].mean(dim=0).abs().mean()),
        "inferior_px": float(in_px[in_px.isfinite()].mean()),
    }
    if config.covered:
        is_covered = np.arange(2 * len(held_out.images)) >= len(held_out.images)
        errors["covered_auc"] = area_under_roc(torch.cat(spreads + hidden).double().numpy(), is_covered)
    return errors


def _jitter(count: int, config: RefinementConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """No turn, and a shift by up to 3 % of the side as a coarse mask would."""
    shift = (torch.rand(count, 2, generator=generator) * 2 - 1) * 0.03 * config.size
    return torch.eye(2).expand(count, 2, 2), shift
