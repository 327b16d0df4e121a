"""How the two losses are best weighed: the paper's dynamic scaling, fixed weights, and learned ones.

    python -m calibration.studies.weighting DATA OUT

Trains on the sources of `default.toml` with a small network, everything alike but the weighting, and judges on their
validation frames after the last epoch. Stopped and started again, it goes on. Writes `weighting.json` and
`weighting.md`.
"""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from calibration.studies.common import (
    Run,
    Scale,
    in_words,
    markdown_table,
    run_as_script,
    run_once,
    small_config,
    spread,
    write_study,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CONDITIONS: Mapping[str, Mapping[str, object]] = {
    "dynamic": {"weighting": "dynamic"},
    "fixed_0.3": {"weighting": "fixed", "plane_weight": 0.3},
    "fixed_1.0": {"weighting": "fixed", "plane_weight": 1.0},
    "uncertainty": {"weighting": "uncertainty"},
}
SCORES = {
    "psfhs/labelled/dice_ps": "Dice PS",
    "psfhs/labelled/dice_fh": "Dice FH",
    "plane_auc": "plane AUC",
}


def main(data: Path, out: Path, scale: Scale) -> None:
    """Runs the study, or what is left of it."""
    runs = [
        run_once(small_config(scale, seed=seed, **changes), condition=condition, data=data, out=out)
        for seed in scale.seeds
        for condition, changes in CONDITIONS.items()
    ]
    found = {name: [run for run in runs if run.condition == name] for name in CONDITIONS}
    content = {
        "conditions": {
            name: {score: spread([run.scores[score] for run in of_one]) for score in SCORES}
            | {"weights_by_epoch": weights_over_time(of_one)}
            for name, of_one in found.items()
        },
        "runs": [
            {
                "condition": run.condition,
                "seed": run.seed,
                **{score: run.scores[score] for score in SCORES},
                "seconds": run.seconds,
            }
            for run in runs
        ],
    }
    write_study(out, "weighting", scale=scale, content=content, text=_text(scale, found))


def weights_over_time(runs: Sequence[Run]) -> list[dict[str, float]]:
    """The weights of both losses in each epoch, mean over runs of equal length."""
    return [
        {"segmentation": fmean(seg for seg, _ in epoch), "plane": fmean(plane for _, plane in epoch)}
        for epoch in zip(*(run.weights for run in runs), strict=True)
    ]


def _text(scale: Scale, found: Mapping[str, Sequence[Run]]) -> str:
    moments = {"first": 0, "middle": scale.epochs // 2, "last": scale.epochs - 1}
    header = ["weighting", *SCORES.values(), *(f"weights in the {name} epoch" for name in moments)]
    rows = []
    for name, runs in found.items():
        weights = weights_over_time(runs)
        rows.append(
            [
                name.replace("_", " "),
                *(in_words([run.scores[score] for run in runs]) for score in SCORES),
                *(f"{weights[at]['segmentation']:.2f} : {weights[at]['plane']:.2f}" for at in moments.values()),
            ]
        )
    return (
        "# How the losses are weighed\n\n"
        f"The sources of default.toml at {scale.size} x {scale.size}, {scale.epochs * scale.steps_per_epoch} steps with"
        f" {scale.batch} frames each. Dice on psfhs/val, AUC over all validation frames with a plane label, after the"
        f" last step; mean ± standard deviation where there are several seeds; seeds: {len(scale.seeds)}. Weights:"
        f" segmentation : planes, mean of an epoch.\n\n{markdown_table(header, rows)}"
    )


if __name__ == "__main__":
    run_as_script(main, usage="DATA holds the sources of default.toml; results go to OUT.", seeds=2)
