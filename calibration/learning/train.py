"""Trains a network: one linear loop, resumable after a kill at any point.

All randomness of a step comes from a generator seeded by the run's seed and the step's number, and the whole state is
written after every epoch. A run that was killed goes on from its last epoch, and gives on the same device what an
unbroken one gives.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.nn import functional

from calibration.data.groups import check_no_near_copies
from calibration.data.split import check_disjoint
from calibration.errors import TrainingError
from calibration.learning import checkpoint
from calibration.learning.augmentation import augment
from calibration.learning.curves import draw_curves
from calibration.learning.frames import downscale, load_store
from calibration.learning.losses import (
    SEGMENTATION_LOSSES,
    axis_loss,
    dice_scores,
    make_weighting,
    orientation_loss,
    plane_loss,
    segmentation_loss,
    shape_loss,
)
from calibration.learning.optimisation import learning_rate, make_optimiser, parameter_groups, update_average
from calibration.learning.validation import checkpoint_score, validate_network
from engines.errors import EngineUnavailable
from engines.network.build import MaskNetwork, make_mask_network
from engines.network.multitask import MultiTaskNetwork
from stream.common.atomic_file import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

    from calibration.learning.batch import Batch
    from calibration.learning.frames import FrameStore
    from calibration.learning.settings.training import TrainConfig

SHOWN = (
    "epoch",
    "segmentation",
    "plane",
    "train_dice",
    "dice_ps",
    "dice_fh",
    "aop_error_deg",
    "plane_auc",
    "score",
    "seconds",
)
SETTLING_EPOCHS = 2
"""After planes are switched on late, so long no checkpoint is chosen (the paper's rule)."""


@dataclass(slots=True, eq=False, kw_only=True)
class TrainingRun:
    """Everything that changes while a network is trained; all of it is in its checkpoint.

    Attributes:
        average: the moving average of the network's weights; unused where the configuration has none.
        epoch: the next one, from 0.
        best: the best validation score so far.
        planes_since: the epoch in which the plane loss was switched on; None before.
        history: one line for each epoch done.
    """

    network: MaskNetwork
    average: MaskNetwork
    weighting: torch.nn.Module
    optimiser: torch.optim.Optimizer
    epoch: int = 0
    best: float = -1.0
    planes_since: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        counters = {name: getattr(self, name) for name in COUNTERS}
        return counters | {name: getattr(self, name).state_dict() for name in PARTS}

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Goes back to a state."""
        for name in COUNTERS:
            setattr(self, name, stored[name])
        for name in PARTS:
            getattr(self, name).load_state_dict(stored[name])


COUNTERS = ("epoch", "best", "planes_since", "history")
PARTS = ("network", "average", "weighting", "optimiser")


def train(config: TrainConfig, *, data: Path, out: Path, start: Path | None = None) -> dict[str, Any]:
    """Runs a training to its end, from `out/checkpoint.pt` where there is one.

    Writes `checkpoint.pt` (whole state), `best.pt` (the weights with the best validation score, early epochs left
    out), `history.jsonl` (one line an epoch) and `curves.png`. Either checkpoint becomes a model by
    `partum export`.

    Args:
        config: from `calibration.learning.settings.training.load_config`.
        data: folder below which the configuration's sources lie.
        out: folder of this run.
        start: checkpoint whose weights to start from instead of random ones.

    Returns:
        The last line of the history.

    Raises:
        DataSetError, ConfigError: the data are not what the configuration says.
        TrainingError: `out` holds another run, `start` is no checkpoint of this network, or the loss is no number.
    """
    console = Console(stderr=True)
    device = choose_device(config.device)
    store = load_store(config.train, data, size=config.size, seed=config.seed)
    held_out = load_store(config.validation, data, size=config.size, seed=config.seed + 1_000_000)
    check_disjoint(store.groups, held_out.groups)
    check_no_near_copies(store.seen, held_out.seen)
    for kind, pools in (("train", store.pools), ("validation", held_out.pools)):
        console.print(f"{kind}: " + ", ".join(f"{pool.name} {len(pool.batch)}" for pool in pools))

    goes_on = (out / checkpoint.CHECKPOINT).exists()  # all weights come from there
    run = new_training_run(replace(config, pretrained=config.pretrained and not goes_on), device, start)
    seen = checkpoint.known_frames(store.seen, start)
    with checkpoint.only_training_in(out):
        stored = checkpoint.load_checkpoint(out / checkpoint.CHECKPOINT, config, fingerprint=store.fingerprint)
        if stored:
            run.restore(stored["state"])
        _train_epochs(run, store, held_out, config, device, out=out, seen=seen)
    return run.history[-1]


def _train_epochs(
    run: TrainingRun,
    store: FrameStore,
    held_out: FrameStore,
    config: TrainConfig,
    device: torch.device,
    *,
    out: Path,
    seen: Mapping[str, Any],
) -> None:
    """The epochs that are left; each is on disk before the next begins."""
    console = Console(stderr=True)
    with _progress(console) as progress:
        bar = progress.add_task("", total=config.epochs * config.steps_per_epoch)
        while run.epoch < config.epochs:
            began = time.monotonic()
            with_planes = planes_are_on(run, config)
            means = train_epoch(run, store, config, device, report=partial(progress.update, bar))
            kept = network_to_keep(run, store, config, device)
            # A network that has seen small frames alone is judged on small ones: it does not know large structures yet.
            is_early = run.epoch < config.early_epochs
            scores = validate_network(kept, held_out, device, side=config.early_size if is_early else None)
            score = checkpoint_score(scores)
            line = {"epoch": run.epoch + 1, **means, **scores, "score": score}
            run.history.append(line | {"seconds": round(time.monotonic() - began, 1)})
            facts = checkpoint.facts_of(kept, config, fingerprint=store.fingerprint, seen=seen)
            if score > run.best and with_planes and is_settled(run, config) and not is_early:
                run.best = score
                checkpoint.save_checkpoint(facts | {"scores": scores}, out / checkpoint.BEST)
            run.epoch += 1
            checkpoint.save_checkpoint(facts | {"state": run.state()}, out / checkpoint.CHECKPOINT)
            write_atomic(out / checkpoint.HISTORY, "".join(json.dumps(row) + "\n" for row in run.history).encode())
            draw_curves(run.history, out / "curves.png")
            shown = {name: run.history[-1].get(name) for name in SHOWN}
            console.print("  ".join(f"{name} {value:.4g}" for name, value in shown.items() if value is not None))


def new_training_run(config: TrainConfig, device: torch.device, start: Path | None) -> TrainingRun:
    """A run before its first step."""
    torch.manual_seed(config.seed)
    network = make_mask_network(config.network)
    if config.pretrained and not start and isinstance(network, MultiTaskNetwork):
        network.encoder.load_pretrained()
    if start:
        checkpoint.load_weights(network, start)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    weighting = make_weighting(config.weighting, config.plane_weight).to(device)
    groups = parameter_groups(network, network.encoder, config)
    groups[0]["params"] += weighting.parameters()
    optimiser = make_optimiser(groups, config)
    return TrainingRun(network=network, average=deepcopy(network), weighting=weighting, optimiser=optimiser)


def train_epoch(
    run: TrainingRun, store: FrameStore, config: TrainConfig, device: torch.device, *, report: Callable[..., None]
) -> dict[str, float]:
    """One epoch of steps; returns the means of losses, their weights, and the training Dice.

    Raises:
        TrainingError: the loss is no number.
    """
    with_planes = planes_are_on(run, config)
    values: dict[str, list[float]] = defaultdict(list)
    run.network.train()
    _training_mode(run.optimiser, on=True)
    first = run.epoch * config.steps_per_epoch
    for step in range(first, first + config.steps_per_epoch):
        batch = draw_batch(store, config, step, device)
        for group in run.optimiser.param_groups:
            group["lr"] = learning_rate(step, config) * group["rate"]
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            logits, plane_logits, *normal_logits = run.network(batch.images * 255)
        segmentation = segmentation_loss(
            logits,
            batch,
            SEGMENTATION_LOSSES[config.segmentation_loss],
            synthetic_weight=config.synthetic_weight,
            segment_negatives=config.segment_negatives,
        )
        plane = plane_loss(plane_logits, batch)
        weighted, weights = run.weighting(segmentation, plane)
        loss = weighted if with_planes else segmentation
        for orientation in normal_logits:
            loss = loss + config.orientation_weight * orientation_loss(orientation, batch)
        if config.axis_weight:
            loss = loss + config.axis_weight * axis_loss(logits, batch)
        if config.shape_weight:
            shape = shape_loss(logits, batch, synthetic_weight=config.synthetic_weight)
            loss = loss + config.shape_weight * shape
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"step {step}: the loss is {loss.item()}; lower learning_rate or set clip_norm, and give --out another"
                " folder"
            )
        run.optimiser.zero_grad()
        loss.backward()
        if config.clip_norm:
            torch.nn.utils.clip_grad_norm_(run.network.parameters(), config.clip_norm)
        run.optimiser.step()
        if config.average:
            update_average(run.average, run.network, min(config.average, (step + 1) / (step + 10)))
        for name, value in (("segmentation", segmentation), ("plane", plane), ("w_seg", weights[0])):
            values[name].append(value.item())
        values["w_plane"].append(weights[1].item() if with_planes else 0.0)
        values["train_dice"] += train_dice(logits, batch)
        report(completed=step + 1, description=f"epoch {run.epoch + 1}/{config.epochs} loss {loss.item():.3f}")
    _training_mode(run.optimiser, on=False)
    return {name: sum(found) / len(found) for name, found in values.items() if found}


def network_to_keep(run: TrainingRun, store: FrameStore, config: TrainConfig, device: torch.device) -> MaskNetwork:
    """The weights that are validated and kept."""
    kept = run.average if config.average else run.network
    return refresh_batch_norm(kept, store, config, device) if config.refresh_batches else kept


def choose_device(name: str) -> torch.device:
    """The device by its name in the configuration; `auto` takes a GPU where there is one.

    Raises:
        EngineUnavailable: `cuda` where there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise EngineUnavailable("device = 'cuda', but torch finds no GPU here; set device = 'auto'")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def draw_batch(store: FrameStore, config: TrainConfig, step: int, device: torch.device) -> Batch:
    """The step's batch, augmented on the device; the same for the same seed and step."""
    seed = config.seed * 1_000_003 + step
    batch = store.draw(config.batch, torch.Generator().manual_seed(seed)).to(device)
    if 0 <= step < config.early_epochs * config.steps_per_epoch:
        batch = downscale(batch, config.early_size)
    return augment(batch, config.augmentation, torch.Generator(device).manual_seed(seed + 1))


def planes_are_on(run: TrainingRun, config: TrainConfig) -> bool:
    """The paper's late classification: once on, on for good; notes since when in `run`."""
    late = config.late_classification
    if run.planes_since is None:
        last = run.history[-1].get("train_dice", 0.0) if run.history else 0.0
        if late.epoch == 0 or (run.epoch >= late.epoch and last >= late.dice):
            run.planes_since = run.epoch
    return run.planes_since is not None


def is_settled(run: TrainingRun, config: TrainConfig) -> bool:
    """Whether checkpoints are chosen already: at once, or so long after planes were switched on late."""
    wait = SETTLING_EPOCHS if config.late_classification.epoch else 0
    return run.epoch >= (run.planes_since or 0) + wait


@torch.no_grad()
def refresh_batch_norm(
    network: MaskNetwork, store: FrameStore, config: TrainConfig, device: torch.device
) -> MaskNetwork:
    """A copy whose batch-norm statistics, in encoder and decoder, are those of its own weights."""
    copy = deepcopy(network).train()
    for module in copy.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain mean over all batches
    for index in range(config.refresh_batches):
        copy(draw_batch(store, config, -1 - index, device).images * 255)
    for fresh, module in zip(copy.modules(), network.modules(), strict=True):
        if isinstance(fresh, torch.nn.BatchNorm2d) and isinstance(module, torch.nn.BatchNorm2d):
            fresh.momentum = module.momentum
    return copy.eval()


@torch.no_grad()
def train_dice(logits: Tensor, batch: Batch) -> list[float]:
    """Mean Dice of PS and FH over the batch's standard planes with a mask drawn by a person; [] without any."""
    drawn = (batch.mask_weights > 0) & ~batch.synthetic & (batch.planes > 0.5)
    if not drawn.any():
        return []
    labels = functional.interpolate(logits.float(), batch.masks.shape[-2:], mode="bilinear").argmax(dim=1)
    return [dice_scores(labels, batch.masks)[drawn].mean().item()]


def _training_mode(optimiser: torch.optim.Optimizer, *, on: bool) -> None:
    """The schedule-free optimiser holds two sets of weights; others have no modes."""
    switch = getattr(optimiser, "train" if on else "eval", None)
    if switch:
        switch()


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)
