"""The learning curves of a run as one picture."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stream.common.atomic_file import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PANELS = (
    ("losses (training)", ("segmentation", "plane"), True),
    ("Dice", ("dice_ps", "dice_fh", "train_dice"), False),
    ("planes (validation)", ("plane_auc", "plane_accuracy"), False),
    ("weights of the losses", ("w_seg", "w_plane"), False),
    ("AoP error by fhps2023 (validation), degrees", ("aop_error_deg", "aop_error_p95_deg"), False),
    ("orientation (validation)", ("orientation_accuracy",), False),
)


def draw_curves(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws losses, Dice, plane metrics, loss weights and AoP errors over the epochs of `history.jsonl`."""
    figure = Figure(figsize=(15, 7), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, names, logarithmic) in zip(figure.subplots(2, 3).flat, PANELS, strict=True):
        for name in names:
            points = [(row["epoch"], row[name]) for row in history if row.get(name) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), label=name.replace("_", " "))
        axes.set(title=title, xlabel="epoch", yscale="log" if logarithmic else "linear")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(frameon=False)
    figure.suptitle("Partum training - research use only, not a medical device", fontsize=10)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    write_atomic(path, picture.getvalue())
