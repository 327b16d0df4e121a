"""How right AoP over time is: filter, fixed lag, smoother, a symphysis followed as a bone; and the pushes found in it.

    python -m calibration.studies.tracking DATA OUT [--model MODEL.onnx]

On simulated courses, on drawn frames of PSFHS val that are animated (the probe moves, the head turns by a known
course), and on phantoms. Errors of pictures are without the mean error of each recording, which no filter can see.
Writes `tracking.json` and `tracking.md` to OUT.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.console import Console

from calibration.data import open_dataset
from calibration.evaluation.report import round_values
from calibration.fitting.courses import Degradation, aop_course, degrade_course
from calibration.fitting.probe_motion import HeadTurn, animate_still
from calibration.studies.anchored_symphysis import BONE, SURROUNDINGS, anchored_aop
from calibration.studies.common import markdown_table
from engines.errors import PartumError
from engines.registry import load_engine
from stream.common.atomic_file import write_atomic
from stream.common.clock import MonotonicClock
from stream.frames.frame import Frame
from stream.inference.frame_analyzer import FrameAnalyzer, infer_frame
from stream.labour.pushes import find_pushes
from stream.measurement.biometry import Orientation
from stream.measurement.protocols import DEFAULT_PROTOCOL, measure
from stream.outputs.manifest import NOTICE, environment_facts, now_utc, write_json
from stream.phantom.source import PhantomSource
from stream.tracking.fixed_lag import smoothed_estimate
from stream.tracking.smoother import SmoothedCourse, smooth_course
from stream.tracking.tracker import AOP_NOISE_DEG, Track

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from engines.base import Engine
    from stream.labour.pushes import Push

    Series = NDArray[np.float64]

NAME = "tracking"
LAG_S = 0.5
RATE_HZ, SECONDS, STILLS, AT_REST = 12.5, 20.0, 8, 4
"""Of the animated frames; every fourth of them is at rest."""
PHANTOMS = tuple(f"phantom:?seed={seed}&duration=20&rate=12.5&offplane=off" for seed in (1, 2, 3, 5))
SEEDS = range(1000, 1016)
PUSH_SEEDS, REST_SEEDS = range(5000, 5024), range(6000, 6012)
PUSH_RATES_HZ = (8.0, 15.0, 30.0)
REST_S = 300.0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Recorded:
    """A recording with known course; arrays (n,): times s, true and read AoP degrees (NaN: none), qualities.

    Attributes:
        anchored: AoP by the symphysis anchored to this or that; none where there are no pictures.
    """

    t_s: Series
    truth: Series
    read: Series
    quality: Series
    anchored: Mapping[str, Series] = field(default_factory=dict)


Curve = tuple["Series", "Series"]
"""Value and deviation over time, NaN where nothing is shown."""


def filtered(t_s: Series, read: Series, quality: Series, *, lag_s: float = 0.0) -> Curve:
    """By the causal filter; with a lag, each value by the readings up to so much later."""
    track = Track(AOP_NOISE_DEG)
    estimates, states = [], []
    for t, value, weight in zip(t_s.tolist(), read.tolist(), quality.tolist(), strict=True):
        estimates.append(track.update(t, value, quality=weight) if np.isfinite(value) else track.refuse(t))
        states.append(track.state(t))
    if lag_s:
        last = np.searchsorted(t_s, t_s + lag_s, "right")
        estimates = [smoothed_estimate(each, states[k : last[k]]) for k, each in enumerate(estimates)]
    table = np.array([(each.value, each.std) if each else (np.nan, np.nan) for each in estimates])
    return table[:, 0], table[:, 1]


def smoothed(t_s: Series, read: Series, quality: Series) -> Curve:
    """By the fixed-interval smoother."""
    found = smooth_course(t_s, read, quality=quality)
    return found.value, found.std


def curves(recorded: Recorded) -> dict[str, Curve]:
    """Every method's curve of a recording."""
    one = recorded.t_s, recorded.read, np.nan_to_num(recorded.quality)
    found = {
        "single frames": (recorded.read, np.full(len(recorded.read), np.nan)),
        "filter": filtered(*one),
        f"fixed lag {LAG_S:g} s": filtered(*one, lag_s=LAG_S),
        "smoother": smoothed(*one),
    }
    for what, aop in recorded.anchored.items():
        one = recorded.t_s, aop, np.nan_to_num(recorded.quality)
        found |= {f"anchored to {what}, filter": filtered(*one), f"anchored to {what}, smoother": smoothed(*one)}
    return found


def judge(recordings: Sequence[Recorded], *, take_mean_off: bool) -> dict[str, dict[str, float | None]]:
    """RMSE, degrees, and coverage of the interval of each method over all recordings."""
    errors: dict[str, list[Series]] = {}
    inside: dict[str, list[NDArray[np.bool_]]] = {}
    for each in recordings:
        for name, (value, std) in curves(each).items():
            error = (value - each.truth)[np.isfinite(value)]
            error = error - error.mean() if take_mean_off else error
            errors.setdefault(name, []).append(error)
            inside.setdefault(name, []).append(np.abs(error) <= 1.96 * std[np.isfinite(value)])
    return {
        name: {
            "rmse_deg": float(np.sqrt(np.mean(np.concatenate(found) ** 2))),
            "worst_recording_deg": float(max(np.sqrt(np.mean(one**2)) for one in found)),
            "inside": None if name == "single frames" else float(np.concatenate(inside[name]).mean()),
        }
        for name, found in errors.items()
    }


def simulated(seeds: Sequence[int], *, duration_s: float = 60.0, rate_hz: float = 15.0) -> list[Recorded]:
    """Courses with noise, outliers and gaps."""
    t_s = np.arange(0.0, duration_s, 1 / rate_hz)
    found = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        truth = aop_course(rng, t_s)
        found.append(
            Recorded(
                t_s=t_s, truth=truth, read=degrade_course(rng, t_s, truth, Degradation()), quality=np.ones(len(t_s))
            )
        )
    return found


def read_course(engine: Engine, pictures: Sequence[NDArray[np.uint8]], t_s: Series, truth: Series) -> Recorded:
    """A recording as the network reads it."""
    analyzer = FrameAnalyzer.of(engine.spec, protocol=DEFAULT_PROTOCOL, orientation=Orientation.NORMAL)
    landmarks, read, quality = [], np.full(len(t_s), np.nan), np.full(len(t_s), np.nan)
    for row, (picture, t) in enumerate(zip(pictures, t_s.tolist(), strict=True)):
        frame = Frame(image=picture, index=row, pts=round(1e6 * t), time_base=Fraction(1, 10**6), captured_ns=0)
        found = analyzer.analyze(frame, *infer_frame(engine, frame)).biometry
        landmarks.append(found.landmarks)
        if found.aop_deg is not None:
            read[row], quality[row] = found.aop_deg, found.quality
    anchored = {
        what: anchored_aop(pictures, landmarks, t_s, read, quality, within=within)
        for what, within in (("the bone", BONE), ("its surroundings", SURROUNDINGS))
    }
    return Recorded(t_s=t_s, truth=truth, read=read, quality=quality, anchored=anchored)


def animated(engine: Engine, data: Path) -> list[Recorded]:
    """Drawn frames of different groups, animated, the head turning by a known course; every fourth at rest."""
    stills: dict[str, Any] = {}
    for frame in open_dataset(data / "psfhs").frames():
        if frame.split == "val" and frame.mask is not None:
            stills.setdefault(frame.group, frame)
    order = np.random.default_rng(4).permutation(len(stills))
    t_s = np.arange(0.0, SECONDS, 1 / RATE_HZ)
    found = []
    for number, place in enumerate(order[:STILLS].tolist()):
        frame = list(stills.values())[place]
        still, mask = np.asarray(frame.image), np.asarray(frame.mask)
        drawn = measure(mask, protocol=DEFAULT_PROTOCOL, orientation=Orientation.NORMAL)
        if drawn.aop_deg is None or drawn.landmarks is None:
            continue
        course = aop_course(np.random.default_rng(100 + number), t_s)
        turn_deg = np.zeros(len(t_s)) if number % AT_REST == AT_REST - 1 else np.clip(course - course[0], -4.0, 26.0)
        head = HeadTurn(mask, drawn.landmarks.ps_inferior)

        def at(k: int, head: HeadTurn = head, still: Any = still, turn_deg: Series = turn_deg) -> NDArray[np.uint8]:
            return head.turned(still, float(turn_deg[k]))

        pictures = animate_still(still, len(t_s), rate_hz=RATE_HZ, seed=100 + number, at=at)
        found.append(read_course(engine, pictures, t_s, drawn.aop_deg + turn_deg))
    return found


def read_phantoms(engine: Engine) -> list[Recorded]:
    """Simulated recordings, whose speckle and shadows change as the head comes down."""
    found = []
    for uri in PHANTOMS:
        with PhantomSource(uri, clock=MonotonicClock()) as source:
            frames = list(source)
            truth = np.array([source.truth(frame.index).aop_deg for frame in frames])
        t_s = np.array([frame.pts_s for frame in frames])
        found.append(read_course(engine, [frame.image for frame in frames], t_s, truth))
    return found


def judge_pushes() -> dict[str, Any]:
    """Pushes of simulated courses against those that the same rule finds in the true course; and of courses at rest."""
    by_rate = {f"{rate:g}_hz": _judge_pushes_at(rate) for rate in PUSH_RATES_HZ}
    t_s, at_rest = np.arange(0.0, REST_S, 1 / 15), 0
    for seed in REST_SEEDS:
        rng = np.random.default_rng(seed)
        truth = 118.0 + 0.2 / 60 * t_s + 0.6 * np.sin(2 * np.pi * 0.3 * t_s)
        truth += rng.uniform(2.0, 5.0) * np.exp(-0.5 * ((t_s % 150.0 - 37.5) / 15.0) ** 2)
        at_rest += len(
            find_pushes(smooth_course(t_s, degrade_course(rng, t_s, truth, Degradation(edge_deg=(4.0, 12.0)))))
        )
    return {
        **{name: sum(each[name] for each in by_rate.values()) for name in ("true", "judged", "found that are none")},
        "by rate": by_rate,
        "hours at rest": len(REST_SEEDS) * REST_S / 3600,
        "found at rest": at_rest,
    }


def _judge_pushes_at(rate_hz: float) -> dict[str, Any]:
    """Pushes of simulated courses of a frame rate."""
    rows, expected, false = [], 0, 0
    for each in simulated(PUSH_SEEDS, duration_s=90.0, rate_hz=rate_hz):
        found = find_pushes(smooth_course(each.t_s, each.read))
        true = find_pushes(_true_course(each))
        pairs = [(one, other) for one in true for other in found if _overlap_s(one, other) > 0.5 * one.duration_s]
        expected, false = expected + len(true), false + len(found) - len(pairs)
        rows += [_push_errors(each, one, other) for one, other in pairs if one.is_whole and other.is_whole]
    table = np.array(rows)
    return {
        "true": expected,
        "judged": len(table),
        "found that are none": false,
        "peak": _spread(table[:, 0], table[:, 2]),
        "difference": _spread(table[:, 1], table[:, 3]),
    }


def _true_course(each: Recorded) -> SmoothedCourse:
    size = len(each.t_s)
    return SmoothedCourse(
        t_s=each.t_s,
        value=each.truth,
        std=np.full(size, 0.01),
        accepted=np.ones(size, bool),
        segment=np.zeros(size, np.int64),
    )


def _overlap_s(one: Push, other: Push) -> float:
    return min(one.end_s, other.end_s) - max(one.start_s, other.start_s)


def _push_errors(each: Recorded, true: Push, found: Push) -> tuple[float, float, float, float]:
    """Errors of peak and difference against the true course's own percentile and rest, and half their intervals."""
    assert true.rest is not None  # of pushes that were found, none lacks a level
    assert found.peak is not None
    assert found.difference is not None
    inside = (each.t_s >= true.start_s) & (each.t_s <= true.end_s)
    peak = float(np.percentile(each.truth[inside], 95))
    return (
        found.peak.value - peak,
        found.difference.value - (peak - true.rest.value),
        found.peak.hi95 - found.peak.value,
        found.difference.hi95 - found.difference.value,
    )


def _spread(error: Series, half: Series) -> dict[str, float]:
    return {
        "mean_absolute_deg": float(np.abs(error).mean()),
        "bias_deg": float(error.mean()),
        "inside": float((np.abs(error) <= half).mean()),
    }


def tracking_text(content: dict[str, Any]) -> str:
    """The figures as tables for people."""
    names = list(content["animated frames"])
    rows = [[name, *(_cell(content[kind].get(name)) for kind in KINDS)] for name in names]
    pushes = content["pushes"]
    lines = [
        "RMSE of AoP, degrees (worst recording; share within the 95 % interval of repeatability). Of pictures without"
        " the mean error of each recording.\n",
        markdown_table(["method", *KINDS], rows),
        f"Pushes of simulated courses: {pushes['judged']} of {pushes['true']} true ones are found whole,"
        f" {pushes['found that are none']} found that are none; {pushes['found at rest']} in"
        f" {pushes['hours at rest']:g} h at rest.\n",
        markdown_table(
            ["of a push", "Hz", "mean absolute error, degrees", "bias", "within its 95 % interval"],
            [
                [
                    name,
                    rate.removesuffix("_hz"),
                    f"{each[name]['mean_absolute_deg']:.2f}",
                    f"{each[name]['bias_deg']:+.2f}",
                    f"{100 * each[name]['inside']:.0f} %",
                ]
                for name in ("peak", "difference")
                for rate, each in pushes["by rate"].items()
            ],
        ),
    ]
    return "\n".join(lines)


KINDS = ("simulated courses", "animated frames", "phantoms")


def _cell(figures: dict[str, Any] | None) -> str:
    if figures is None:
        return ""
    inside = "" if figures["inside"] is None else f"; {100 * figures['inside']:.0f} %"
    return f"{figures['rmse_deg']:.2f} ({figures['worst_recording_deg']:.1f}{inside})"


def study_tracking(data: Path, out: Path, model: str | None) -> dict[str, Any]:
    """Judges all methods; returns what is written to `tracking.json`."""
    console = Console(stderr=True)
    with load_engine(model) as engine:
        console.print("animated frames")
        moving = animated(engine, data)
        console.print("phantoms")
        shaped = read_phantoms(engine)
        facts = {"model": engine.spec.name, "model_sha256": engine.spec.sha256}
    console.print("simulated courses")
    content: dict[str, Any] = {
        **facts,
        "simulated courses": judge(simulated(SEEDS), take_mean_off=False),
        "animated frames": judge(moving, take_mean_off=True),
        "phantoms": judge(shaped, take_mean_off=True),
        "recordings": {"simulated courses": len(SEEDS), "animated frames": len(moving), "phantoms": len(shaped)},
        "pushes": judge_pushes(),
    }
    written = {
        "schema": f"partum.{NAME}/1",
        "notice": NOTICE,
        "finished_utc": now_utc(),
        **content,
        **environment_facts(),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{NAME}.json", {key: round_values(value) for key, value in written.items()})
    write_atomic(out / f"{NAME}.md", f"{tracking_text(content)}\n{NOTICE}\n".encode())
    return content


@click.command(help="Judge how AoP is followed over time, with the frames in DATA; the tables go to OUT.")
@click.argument("data", type=click.Path(file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--model", help="ONNX model; the one that ships by default.")
def main(data: Path, out: Path, model: str | None) -> None:
    """See the command's help text above."""
    study_tracking(data, out, model)


if __name__ == "__main__":
    try:
        main()
    except PartumError as error:
        sys.exit(f"{NAME}: {error}")
