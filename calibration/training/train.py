"""Trains the network that ships: one linear loop, resumable at any epoch.

    python -m calibration.training.train DATA OUT
    python -m calibration.training.train DATA OUT2 OUT/best.pt

The second line refines what the first has made. DATA is the folder with `psfhs`, `planes`, `pelvic_floor`, `clips`
(README, *Training*). OUT receives `checkpoint.pt` after every epoch (a run that is started again goes on from there,
with the same draws), `history.jsonl`, and `best.pt`, which `python -m engines.export` turns into the model.
"""

from __future__ import annotations

import json
import os
import sys
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.nn import functional

from calibration.training import augmentation
from calibration.training.datasets import Example, load_training, load_validation
from calibration.training.losses import dice_scores, plane_loss, segmentation_loss
from engines.base import ModelSpec
from engines.export import CHECKPOINT_SCHEMA
from engines.unet import MultiTaskUNet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.random import Generator

ARCHITECTURE: Mapping[str, object] = {
    "widths": (24, 48, 96, 128, 192),
    "block": "residual",
    "stem_stride": 2,
    "up_kernel": 1,
    "plane_hidden": (96, 32),
}

SHARES: Mapping[str, float] = {
    "psfhs": 0.66,  # of these, `cut_share` become negatives
    "planes_standard": 0.05,
    "planes_other": 0.07,
    "clips": 0.07,
    "pelvic_floor": 0.03,
}
"""How often a real frame is drawn from each pool, relative to the others; phantoms come on top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Every setting of a run; stored in its checkpoint."""

    size: int = 256  # side of the network's square input, px
    epochs: int = 30
    steps_per_epoch: int = 64
    batch: int = 16
    peak_lr: float = 3e-3  # one-cycle: warm up over a tenth of the run, cosine down to zero
    weight_decay: float = 0.02
    average_decay: float = 0.995  # of the moving average of weights that is validated and kept
    plane_weight: float = 0.5  # of the plane loss beside the segmentation loss
    cut_share: float = 0.22  # of PSFHS frames drawn: structures painted out, plane label 0
    phantoms: int = 300  # frames of each kind, standard and not
    phantom_share: float = 0.12  # of all frames drawn, half of them standard
    seed: int = 7


REFINEMENT = TrainConfig(epochs=10, peak_lr=1e-3, phantoms=600, phantom_share=0.25, seed=8)
"""A short second run from the weights of a first: more simulated symphyses, lower rate."""


def shares(config: TrainConfig) -> dict[str, float]:
    """The probability of each pool; sums to 1."""
    real = (1 - config.phantom_share) / sum(SHARES.values())
    phantoms = dict.fromkeys(("phantom_standard", "phantom_other"), config.phantom_share / 2)
    return {name: share * real for name, share in SHARES.items()} | phantoms


def draw(pools: Mapping[str, Sequence[Example]], config: TrainConfig, rng: Generator) -> Example:
    """Draws one augmented example."""
    chances = shares(config)
    pool = str(rng.choice(list(chances), p=list(chances.values())))
    example = pools[pool][int(rng.integers(len(pools[pool])))]
    if pool == "psfhs":
        if rng.random() < config.cut_share:
            example = augmentation.cut_away(example, rng)
        elif rng.random() < 0.15:
            example = augmentation.decoy(example, rng)
        elif rng.random() < 0.03:
            example = augmentation.upside_down(example)
    elif pool == "clips" and rng.random() < 0.15:
        return augmentation.empty_picture(example, rng)
    example = augmentation.warp(example, rng)
    return Example(
        image=augmentation.degrade(example.image, rng),
        mask=example.mask,
        plane=example.plane,
        mask_weight=example.mask_weight,
        plane_weight=example.plane_weight,
    )


def collate(examples: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Stacks examples: images (B, 1, H, W) uint8, masks (B, H, W) int64, planes and both weights (B,)."""
    images = torch.from_numpy(np.stack([example.image for example in examples]))[:, None]
    masks = torch.from_numpy(np.stack([example.mask for example in examples])).long()
    columns = [(example.plane, example.mask_weight, example.plane_weight) for example in examples]
    planes, mask_weights, plane_weights = torch.tensor(columns, dtype=torch.float32).unbind(dim=1)
    return images, masks, planes, mask_weights, plane_weights


def learning_rate(step: int, config: TrainConfig) -> float:
    """One cycle: linear warm-up over the first tenth, then half a cosine down to zero."""
    total = config.epochs * config.steps_per_epoch
    warm_up = total / 10
    if step < warm_up:
        return config.peak_lr * (step + 1) / warm_up
    return config.peak_lr * 0.5 * (1 + float(np.cos(np.pi * (step - warm_up) / (total - warm_up))))


@torch.inference_mode()
def update_average(average: MultiTaskUNet, network: MultiTaskUNet, step: int, decay: float) -> None:
    """Moves the average towards the network; faster at the start, when there is little worth keeping."""
    decay = min(decay, (step + 1) / (step + 10))
    for kept, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)


@torch.inference_mode()
def validate(network: MultiTaskUNet, pools: Mapping[str, Sequence[Example]]) -> dict[str, float]:
    """Mean Dice on PSFHS and phantoms, and the share of right plane verdicts in each pool, at 0.5."""
    network.eval()
    scores: dict[str, float] = {}
    for pool, examples in pools.items():
        right, dice = 0, []
        for start in range(0, len(examples), 16):
            images, masks, planes, _, _ = collate(examples[start : start + 16])
            logits, plane_logits = network(images)
            right += int(((plane_logits > 0) == (planes > 0.5)).sum())
            labels = functional.interpolate(logits, masks.shape[-2:], mode="bilinear").argmax(dim=1)
            dice.append(torch.stack(list(dice_scores(labels, masks))))
        scores[f"{pool}/plane_accuracy"] = right / len(examples)
        if pool in ("psfhs", "phantom_standard"):
            ps, fh = torch.cat(dice, dim=1).mean(dim=1).tolist()
            scores |= {f"{pool}/dice_ps": ps, f"{pool}/dice_fh": fh}
    return scores


def chosen_by(scores: Mapping[str, float]) -> float:
    """The one number a checkpoint is chosen by: 0.7 mean Dice + 0.3 mean plane accuracy over the pools."""
    dice = (scores["psfhs/dice_ps"] + scores["psfhs/dice_fh"]) / 2
    planes = [value for name, value in scores.items() if name.endswith("plane_accuracy")]
    return 0.7 * dice + 0.3 * sum(planes) / len(planes)


def model_spec(config: TrainConfig) -> ModelSpec:
    """The facts that ride with the weights."""
    stem = int(str(ARCHITECTURE["stem_stride"]))
    return ModelSpec(
        name="psfh_unet",
        height=config.size,
        width=config.size,
        output_height=config.size // stem,
        output_width=config.size // stem,
        classes=("background", "PS", "FH"),
        plane_threshold=0.5,
        architecture=ARCHITECTURE,
        training_data="PSFHS train (CC BY 4.0), JNU-IFM planes, PFUS1 (CC BY 4.0), other anatomy, phantoms",
        licence="Apache-2.0; trained on PSFHS, doi 10.5281/zenodo.10969427, CC BY 4.0",
    )


def checkpoint_facts(average: MultiTaskUNet, config: TrainConfig, scores: Mapping[str, float]) -> dict[str, object]:
    """What `best.pt` holds, and every checkpoint besides its state."""
    return {
        "schema": CHECKPOINT_SCHEMA,
        "spec": model_spec(config).to_metadata(),
        "config": asdict(config),
        "weights": average.state_dict(),
        "scores": dict(scores),
    }


def save(stored: Mapping[str, object], path: Path) -> None:
    """Writes a checkpoint whole or not at all."""
    partial = path.with_suffix(".part")
    torch.save(dict(stored), partial)
    os.replace(partial, path)


def train(data: Path, out: Path, config: TrainConfig, *, start: Path | None = None) -> None:
    """Runs the training from `out/checkpoint.pt` where there is one, else from the weights in `start`, else anew."""
    console = Console(stderr=True)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    pools = load_training(data, size=config.size, phantoms=config.phantoms, seed=config.seed)
    validation = load_validation(data, size=config.size, seed=config.seed)
    console.print({name: len(examples) for name, examples in (*pools.items(), *validation.items())})

    network = MultiTaskUNet(**ARCHITECTURE).to(memory_format=torch.channels_last)  # type: ignore[call-overload, arg-type]
    if start:
        network.load_state_dict(torch.load(start, weights_only=True)["weights"])
    average = deepcopy(network).eval()
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.peak_lr, weight_decay=config.weight_decay)
    epoch, best = 0, 0.0
    if (out / "checkpoint.pt").exists():
        stored = torch.load(out / "checkpoint.pt", weights_only=True)
        if stored["config"] != asdict(config):
            raise ValueError(f"{out / 'checkpoint.pt'} was made with other settings; choose another folder")
        for part, name in ((network, "network"), (average, "weights"), (optimiser, "optimiser")):
            part.load_state_dict(stored[name])
        epoch, best = stored["epoch"], stored["best"]

    for epoch in range(epoch, config.epochs):  # noqa: B020 - resumes where the checkpoint ended
        network.train()
        losses = np.zeros(2)
        steps = range(epoch * config.steps_per_epoch, (epoch + 1) * config.steps_per_epoch)
        for step in track(steps, f"epoch {epoch + 1}/{config.epochs}", console=console, transient=True):
            # The generator belongs to the step, so that a resumed run draws what an unbroken one would.
            rng = np.random.default_rng([config.seed, step])
            batch = [draw(pools, config, rng) for _ in range(config.batch)]
            images, masks, planes, mask_weights, plane_weights = collate(batch)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, config)
            with torch.autocast("cpu", torch.bfloat16):
                logits, plane_logits = network(images.to(memory_format=torch.channels_last))
            loss_segmentation = segmentation_loss(logits, masks, mask_weights)
            loss_plane = plane_loss(plane_logits, planes, plane_weights)
            optimiser.zero_grad()
            torch.autograd.backward(loss_segmentation + config.plane_weight * loss_plane)
            torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
            optimiser.step()
            update_average(average, network, step, config.average_decay)
            losses += loss_segmentation.item(), loss_plane.item()

        scores = validate(average, validation)
        score = chosen_by(scores)
        seg, plane = (losses / config.steps_per_epoch).tolist()
        line = {"epoch": epoch + 1, "loss_segmentation": seg, "loss_plane": plane, "score": score, **scores}
        console.print({name: round(value, 4) for name, value in line.items()})
        facts = checkpoint_facts(average, config, scores)
        if score > best:
            best = score
            save(facts, out / "best.pt")
        state = {"network": network.state_dict(), "optimiser": optimiser.state_dict()}
        save(facts | state | {"epoch": epoch + 1, "best": best}, out / "checkpoint.pt")
        with (out / "history.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: python -m calibration.training.train DATA OUT [BEST.pt to refine]")
    first = Path(sys.argv[3]) if len(sys.argv) == 4 else None
    train(Path(sys.argv[1]), Path(sys.argv[2]), REFINEMENT if first else TrainConfig(), start=first)
