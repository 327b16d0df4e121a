"""Compares an engine with its float32 model on stored frames, in degrees: whether it may run on this machine.

`trial_frames.jpg` holds real frames, `trial_answers.json` what the float32 model that ships measures on them. Of
another model the answers are made here, by its float32 form.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import cv2
import numpy as np

from engines.registry import AUTO, load_engine
from engines.selection.measuring import Verdict
from stream.frames.frame import Frame
from stream.inference.frame_analyzer import FrameAnalyzer, infer_frame
from stream.measurement.protocols import DEFAULT_PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from engines.base import Engine, ModelSpec, Prediction
    from engines.preprocess import Letterbox
    from engines.selection.measuring import Reference

    _Asked = tuple[Frame, Letterbox, Prediction]

FRAMES = Path(__file__).with_name("trial_frames.jpg")
"""Frames of `SIDE_PX` in a grid."""
ANSWERS = Path(__file__).with_name("trial_answers.json")
ANSWERS_SCHEMA = "partum.trial/1"
SIDE_PX = 256
TIMED_FIRST = 6
"""So many frames, all of them too slow, are enough to give an engine up."""
HEAT = 6
"""Frames that a heat times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptanceLimits:
    """Limits on an engine's departure from its reference.

    Attributes:
        aop_p95_deg: greatest 95th percentile of |delta AoP|, by the default protocol, degrees.
        flips: greatest share of frames whose plane verdict changes, and likewise whose measurability changes.
        dice: least mean Dice of PS, and of FH, between both engines' masks of standard planes.
    """

    aop_p95_deg: float
    flips: float = 0.03
    dice: float = 0.97


LIMITS: Mapping[str, AcceptanceLimits] = {
    "fp32": AcceptanceLimits(aop_p95_deg=0.5, flips=0.01, dice=0.995),
    "fp16": AcceptanceLimits(aop_p95_deg=1.5),
    "bf16": AcceptanceLimits(aop_p95_deg=1.5),
    "tf32": AcceptanceLimits(aop_p95_deg=1.5),
    "int8": AcceptanceLimits(aop_p95_deg=3.0),
    "fp8": AcceptanceLimits(aop_p95_deg=3.0),
}
"""By the engine's precision."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine says of one frame: AoP by the default protocol whatever its plane, in degrees, and its verdict."""

    aop_deg: float | None
    is_standard: bool


class EngineTrial:
    """A `engines.selection.measuring.Trial`: departures from the float32 model in AoP, verdicts and measurability.

    Args:
        frames: (N, H, W) uint8; None takes those that are stored.
        answers: by the sha256 of the float32 model; None takes those that are stored.
    """

    def __init__(
        self,
        frames: NDArray[np.uint8] | None = None,
        answers: Mapping[str, Sequence[Answer]] | None = None,
    ) -> None:
        self._frames = stored_frames() if frames is None else frames
        self._answers = dict(stored_answers() if answers is None else answers)

    @property
    def digest(self) -> str:
        facts = [DEFAULT_PROTOCOL, *(asdict(limits) for limits in LIMITS.values())]
        return hashlib.sha256(self._frames.tobytes() + json.dumps(facts).encode()).hexdigest()[:16]

    def judge(self, engine: Engine, reference: Reference, *, most_ms: float) -> Verdict:
        """Compares an engine with its float32 model.

        Convention: it is refused where the 95th percentile of |delta AoP| exceeds `LIMITS` of its precision, or where
        more frames than their share, at least one, change their plane verdict or measurability.

        Args:
            engine: on trial; stays open.
            reference: its float32 model, started only where its answers are not stored.
            most_ms: an engine whose first `TIMED_FIRST` frames all take longer is given up.
        """
        asked, times = _asked(engine, self._frames, most_ms)
        if len(asked) < len(self._frames):
            return Verdict(ms=min(times), is_complete=False)
        if reference.sha256 not in self._answers:
            with reference.load() as exact:
                self._answers[reference.sha256] = answers_of(exact, self._frames)
        given = [_answer(engine.spec, *each) for each in asked]
        return _compared(given, self._answers[reference.sha256], LIMITS[engine.description.precision], median(times))

    def time_ms(self, engine: Engine) -> float:
        """Time of a frame in milliseconds: the median of `HEAT`, or the share of each where they run side by side."""
        return median(_asked(engine, self._frames[:HEAT], math.inf)[1])


def load_judged_engine(
    model: str | Path | None = None,
    backend: str = AUTO,
    *,
    device: str | None = None,
    threads: int | None = None,
    early_exit: bool = False,
    throughput: bool = False,
    precision: str | None = None,
    labels: bool = False,
) -> Engine:
    """Loads an engine that is right on this machine; `engines.registry.load_engine`, with a trial of what CPUs run.

    The first call on a machine takes a second or a few: it measures which engine is fastest and compares each with the
    float32 model. What it found is kept in the cache folder.

    Raises:
        EngineError: see `engines.registry.load_engine`.
    """
    return load_engine(
        model,
        backend,
        device=device,
        threads=threads,
        early_exit=early_exit,
        throughput=throughput,
        precision=precision,
        labels=labels,
        trial=EngineTrial(),
    )


def answers_of(engine: Engine, frames: NDArray[np.uint8]) -> list[Answer]:
    """What an engine says of frames (N, H, W), each read as the first of a stream."""
    return [_answer(engine.spec, frame, *infer_frame(engine, frame)) for frame in map(_frame_of, frames)]


@cache
def stored_frames() -> NDArray[np.uint8]:
    """The frames that ship, (N, 256, 256) uint8, read-only."""
    grid = cv2.imread(str(FRAMES), cv2.IMREAD_GRAYSCALE)
    if grid is None:
        raise FileNotFoundError(f"{FRAMES}: cannot be read; install partum again")
    rows, columns = grid.shape[0] // SIDE_PX, grid.shape[1] // SIDE_PX
    tiles = grid.reshape(rows, SIDE_PX, columns, SIDE_PX).swapaxes(1, 2).reshape(-1, SIDE_PX, SIDE_PX)
    frames = np.ascontiguousarray(tiles, np.uint8)
    frames.setflags(write=False)
    return frames


def stored_answers() -> dict[str, list[Answer]]:
    """The answers of the model that ships to `stored_frames`, by its sha256; none where they do not fit."""
    try:
        facts = json.loads(ANSWERS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if facts.get("schema") != ANSWERS_SCHEMA or facts.get("frames_sha256") != frames_digest():
        return {}
    return {facts["model_sha256"]: [Answer(**answer) for answer in facts["answers"]]}


def frames_digest() -> str:
    """Of the pixels of `stored_frames`, as this machine's decoder gives them."""
    return hashlib.sha256(stored_frames().tobytes()).hexdigest()


def _asked(engine: Engine, images: NDArray[np.uint8], most_ms: float) -> tuple[list[_Asked], list[float]]:
    """Predictions, and their times in milliseconds; fewer than there are images where it is too slow.

    An engine that runs frames side by side is given as many as it takes; a frame's time is then its share of all.
    """
    frames = [_frame_of(image) for image in images]
    if engine.description.parallel > 1:
        with ThreadPoolExecutor(engine.description.parallel, thread_name_prefix="partum-trial") as pool:
            began = time.perf_counter()
            found = list(pool.map(partial(infer_frame, engine), frames))
            ms = 1e3 * (time.perf_counter() - began) / len(frames)
        return [(frame, *each) for frame, each in zip(frames, found, strict=True)], [ms]
    asked: list[_Asked] = []
    times: list[float] = []
    for frame in frames:
        began = time.perf_counter()
        one = infer_frame(engine, frame)
        times.append(1e3 * (time.perf_counter() - began))
        asked.append((frame, *one))
        if len(times) == TIMED_FIRST and min(times) > most_ms:
            break
    return asked, times


def _frame_of(image: NDArray[np.uint8]) -> Frame:
    return Frame(image=image, index=0, pts=0, time_base=Fraction(1, 25), captured_ns=0)


def _answer(spec: ModelSpec, frame: Frame, letterbox: Letterbox, prediction: Prediction) -> Answer:
    analyzer = FrameAnalyzer.of(spec, protocol=DEFAULT_PROTOCOL, plane_threshold=0.0)
    found = analyzer.analyze(frame, letterbox, prediction)
    aop = found.biometry.aop_deg
    return Answer(
        None if aop is None or found.biometry.reason else round(float(aop), 3),
        found.plane_probability >= spec.plane_threshold,
    )


def _compared(given: Sequence[Answer], right: Sequence[Answer], limits: AcceptanceLimits, ms: float) -> Verdict:
    pairs = list(zip(given, right, strict=True))
    deltas = [
        abs(one.aop_deg - other.aop_deg)
        for one, other in pairs
        if one.aop_deg is not None and other.aop_deg is not None
    ]
    p95 = round(float(np.percentile(deltas, 95)), 3) if deltas else None
    most = max(1, int(limits.flips * len(pairs)))
    flips = sum(one.is_standard != other.is_standard for one, other in pairs)
    changed = sum((one.aop_deg is None) != (other.aop_deg is None) for one, other in pairs)
    found = []
    if p95 is not None and p95 > limits.aop_p95_deg:
        found.append(f"AoP moves by {p95:.1f} degrees (95th percentile; {limits.aop_p95_deg:g} at most)")
    if flips > most:
        found.append(f"{flips} of {len(pairs)} frames change their plane verdict ({most} at most)")
    if changed > most:
        found.append(f"{changed} of {len(pairs)} frames become measurable or cease to be ({most} at most)")
    return Verdict(ms=ms, aop_p95_deg=p95, refusal="; ".join(found))
