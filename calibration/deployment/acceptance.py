"""Acceptance of an engine against its reference, on real frames, in clinical units.

An engine of lower precision is judged by what it does to the angle, not to its logits: by the masks' Dice, by how far
AoP and HSD move, and by how many frames change their verdict.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.errors import AcceptanceError
from calibration.evaluation.frames import evaluate_frames
from calibration.evaluation.statistics.agreement import describe_spread
from engines.early_exit import exit_logit
from engines.preprocess import Letterbox
from engines.sharing import BorrowedEngine
from stream.inference.engine_trial import LIMITS, AcceptanceLimits
from stream.measurement.protocols import DEFAULT_PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray
    from rich.console import Console

    from calibration.data.base import LabelledFrame
    from calibration.evaluation.frames import FrameResult
    from engines.base import Engine

SCHEMA = "partum.acceptance/1"
LEAST_FRAMES = 30
"""Below so many frames a 95th percentile says nothing, and no engine is accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptanceReport:
    """How far an engine departs from its reference on the same frames, and whether that is little enough.

    Attributes:
        aop_delta_deg, hsd_delta_px: |difference| by protocol over frames that both measure, `mean` and `p95`; HSD in
            pixels of the frames.
        dice: mean by structure between both masks, over frames that either takes for a standard plane and draws it in.
        plane_flips: share of frames that just one of the two takes for a standard plane.
        measurability_flips: share of frames that just one of the two can measure, by protocol, whatever their plane.
        refusals: why it is not accepted; empty where it is.
    """

    engine: str
    reference: str
    precision: str
    frames: int
    dice: Mapping[str, float | None]
    aop_delta_deg: Mapping[str, Mapping[str, float] | None]
    hsd_delta_px: Mapping[str, Mapping[str, float] | None]
    plane_flips: float
    measurability_flips: Mapping[str, float]
    limits: AcceptanceLimits
    refusals: tuple[str, ...] = field(default=())

    @property
    def accepted(self) -> bool:
        return not self.refusals

    def as_json(self) -> dict[str, Any]:
        """The report as it is kept beside the engine."""
        return {"schema": SCHEMA, "accepted": self.accepted, **asdict(self)}


def compare_engines(
    engine: Engine, reference: Engine, frames: Sequence[LabelledFrame], *, precision: str
) -> AcceptanceReport:
    """Runs the same frames, each alone, through both engines and compares what the pipeline would say.

    Args:
        engine: the one on trial.
        reference: the same model in float32.
        frames: real ones; their labels are not looked at.
        precision: of `engine`, a key of `LIMITS`.

    Raises:
        AcceptanceError: fewer than `LEAST_FRAMES` frames.
    """
    if len(frames) < LEAST_FRAMES:
        raise AcceptanceError(
            f"{len(frames)} frames are too few to accept an engine by; give a data set of {LEAST_FRAMES} or more"
        )
    pairs = list(zip(_unlabelled(engine, frames), _unlabelled(reference, frames), strict=True))
    results = [(one, other) for (one, _), (other, _) in pairs]
    # The mask of a frame that neither takes for a standard plane is not measured and not shown; a sliver of head there
    # that one draws and the other does not would count as much as a whole one.
    deciding = [(one, other) for one, other in pairs if one[0].is_called_standard or other[0].is_called_standard]
    protocols = list(results[0][0].found)
    report = AcceptanceReport(
        engine=engine.name,
        reference=reference.name,
        precision=precision,
        frames=len(frames),
        dice={
            name: _mean_dice([(one, other) for (_, one), (_, other) in deciding], code)
            for name, code in (("ps", 1), ("fh", 2))
        },
        aop_delta_deg={name: _deltas(results, name, "aop_deg") for name in protocols},
        hsd_delta_px={name: _deltas(results, name, "hsd_min") for name in protocols},
        plane_flips=_share(one.is_called_standard != other.is_called_standard for one, other in results),
        measurability_flips={
            name: _share(bool(one.found[name].reason) != bool(other.found[name].reason) for one, other in results)
            for name in protocols
        },
        limits=LIMITS[precision],
    )
    return _decided(report)


def compare_batches(
    report: AcceptanceReport,
    engine: Engine,
    reference: Engine,
    frames: Sequence[LabelledFrame],
    sizes: Iterable[int],
) -> AcceptanceReport:
    """Adds to a report whether batches of some sizes depart too far: they run other kernels than single frames.

    Args:
        report: of single frames.
        engine: takes batches of those sizes.
        reference: as in `compare_engines`.
        frames: `LEAST_FRAMES` or more; each fills a batch, and the batch's last answer counts.
        sizes: 1 is passed over.
    """
    for size in sizes:
        if size > 1:
            batched = compare_engines(_in_batches(engine, size), reference, frames, precision=report.precision)
            found = tuple(f"in batches of {size}: {refusal}" for refusal in batched.refusals)
            report = replace(report, refusals=(*report.refusals, *found))
    return report


def _in_batches(engine: Engine, size: int) -> Engine:
    """Answers single images from the last row of batches that they fill."""
    return BorrowedEngine(
        engine,
        lambda images: engine.infer(np.repeat(images, size, axis=0)).rows(slice(size - 1, size), images),
    )


def compare_heads(
    report: AcceptanceReport, heads: Engine, reference: Engine, frames: Sequence[LabelledFrame]
) -> AcceptanceReport:
    """Adds to a report whether the encoder alone, of an early exit, stops frames that the reference lets pass."""
    stopped = 0
    for frame in frames:
        height, width = frame.image.shape
        spec = reference.spec
        letterbox = Letterbox(image_height=height, image_width=width, height=spec.height, width=spec.width)
        image = letterbox.apply(frame.image)[None, None]
        passes = reference.infer(image).plane_logit[0] >= spec.plane_logit_threshold
        stopped += bool(passes and heads.infer(image).plane_logit[0] < exit_logit(spec))
    share = stopped / len(frames)
    if share <= report.limits.flips:
        return report
    found = f"the early exit stops {share:.1%} of frames that should pass ({report.limits.flips:.0%} at most)"
    return replace(report, refusals=(*report.refusals, found))


def _decided(report: AcceptanceReport) -> AcceptanceReport:
    limits, found = report.limits, []
    delta = report.aop_delta_deg[DEFAULT_PROTOCOL]
    if delta is None:
        found.append("no frame is measured by both")
    elif delta["p95"] > limits.aop_p95_deg:
        found.append(f"AoP moves by {delta['p95']:.2f} degrees (95th percentile; {limits.aop_p95_deg} at most)")
    if report.plane_flips > limits.flips:
        found.append(f"{report.plane_flips:.1%} of frames change their plane verdict ({limits.flips:.0%} at most)")
    flips = report.measurability_flips[DEFAULT_PROTOCOL]
    if flips > limits.flips:
        found.append(f"{flips:.1%} of frames become measurable or cease to be ({limits.flips:.0%} at most)")
    for name, dice in report.dice.items():
        if dice is None or dice < limits.dice:
            found.append(
                f"Dice of {name.upper()} is {'undefined' if dice is None else f'{dice:.3f}'} ({limits.dice} at least)"
            )
    return replace(report, refusals=tuple(found))


def print_report(report: AcceptanceReport, console: Console) -> None:
    """The report as a short table."""
    from rich.table import Table  # which a machine that only measures may lack

    table = Table(title=f"{report.engine} against {report.reference}, {report.frames} frames", title_justify="left")
    for heading in ("", "mean", "95th percentile"):
        table.add_column(heading)
    for label, unit, deltas in (("delta AoP", "deg", report.aop_delta_deg), ("delta HSD", "px", report.hsd_delta_px)):
        for protocol, found in deltas.items():
            if found is not None:
                table.add_row(f"{label}, {protocol}", f"{found['mean']:.2f} {unit}", f"{found['p95']:.2f} {unit}")
    for name, dice in report.dice.items():
        table.add_row(f"Dice {name.upper()}", "-" if dice is None else f"{dice:.4f}", "")
    table.add_row("plane verdicts changed", f"{report.plane_flips:.1%}", "")
    table.add_row(
        f"measurability changed, {DEFAULT_PROTOCOL}", f"{report.measurability_flips[DEFAULT_PROTOCOL]:.1%}", ""
    )
    console.print(table)
    console.print("accepted" if report.accepted else f"refused: {'; '.join(report.refusals)}")


def _unlabelled(engine: Engine, frames: Sequence[LabelledFrame]) -> Iterable[tuple[FrameResult, NDArray[np.uint8]]]:
    """Results and masks of an engine, sparing the comparison with labels."""
    return evaluate_frames((replace(frame, mask=None) for frame in frames), engine)


def _deltas(results: Sequence[tuple[FrameResult, FrameResult]], protocol: str, value: str) -> dict[str, float] | None:
    pairs = [(getattr(one.found[protocol], value), getattr(other.found[protocol], value)) for one, other in results]
    found = describe_spread(
        np.array([abs(one - other) for one, other in pairs if one is not None and other is not None])
    )
    return None if found is None else {"n": found.n, "mean": found.mean, "p95": found.p95}


def _mean_dice(pairs: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]], code: int) -> float | None:
    found = []
    for one, other in pairs:
        total = np.count_nonzero(one == code) + np.count_nonzero(other == code)
        if total:
            found.append(2 * np.count_nonzero((one == code) & (other == code)) / total)
    return float(np.mean(found)) if found else None


def _share(flags: Iterable[bool]) -> float:
    return float(np.mean(list(flags)))
