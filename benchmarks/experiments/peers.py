"""`partum bench peers`: the pipeline beside what a user would otherwise write, all in turn in one run.

(a) the loop most people write: `cv2.VideoCapture`, PyTorch in eager mode, masks, `fitEllipse`, the tangent;
    with the paper's network (U-Net of 64 to 1024 channels, 512 x 512), and with the model that ships;
(b) the same loop with the model that ships in ONNX Runtime;
(c) the loop that Roboflow's supervision documents, with its reader, its detections and its file of results around the
    same model file in ONNX Runtime; left out where supervision is not installed;
(d) for the measuring alone: the challenge's way (ellipses of the largest contours on the enlarged mask; see
    `stream.measurement.protocols`) beside ours.

The loops find no sector, mask no names, track nothing, and know no interval: they do less than the pipeline does.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.experiments.end_to_end import StreamOptions, one_repeat
from calibration.learning.settings.training import load_config
from engines.registry import DEFAULT_MODEL, load_engine
from engines.sharing import BorrowedEngine
from stream.common.clock import MonotonicClock
from stream.common.opencv_threads import one_opencv_thread
from stream.inference.engine_trial import load_judged_engine
from stream.measurement.protocols import PROTOCOLS, measure
from stream.phantom.source import PhantomSource

Segment = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(1, 1, H, W) float32 to logits (1, 3, h, w)."""


def naive_loop(path: Path, segment: Segment, side: int, frames: int) -> tuple[float, list[float | None]]:
    """Seconds for so many frames by the loop, reading included, and the angles it found."""
    capture = cv2.VideoCapture(str(path))
    angles: list[float | None] = []
    began = time.perf_counter()
    for _ in range(frames):
        is_there, picture = capture.read()
        if not is_there:
            capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            is_there, picture = capture.read()
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        small = cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA)
        logits = segment((small.astype(np.float32) / np.float32(255))[None, None])
        labels = logits[0].argmax(axis=0).astype(np.uint8)
        angles.append(naive_angle(cv2.resize(labels, grey.shape[::-1], interpolation=cv2.INTER_NEAREST)))
    took_s = time.perf_counter() - began
    capture.release()
    return took_s, angles


def supervision_loop(path: Path, segment: Segment, side: int, frames: int) -> float:
    """Seconds for so many frames by the loop of Roboflow's supervision, with its reading ahead and its file.

    Raises:
        ImportError: supervision is not installed.
    """
    supervision: Any = importlib.import_module("supervision")

    def pictures() -> Iterator[NDArray[np.uint8]]:
        while True:
            yield from supervision.get_video_frames_generator(str(path), prefetch=4)

    with tempfile.TemporaryDirectory() as folder, supervision.CSVSink(str(Path(folder) / "detections.csv")) as sink:
        began = time.perf_counter()
        for number, picture in zip(range(frames), pictures(), strict=False):
            grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
            small = cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA)
            logits = segment((small.astype(np.float32) / np.float32(255))[None, None])
            labels = logits[0].argmax(axis=0).astype(np.uint8)
            labels = cv2.resize(labels, grey.shape[::-1], interpolation=cv2.INTER_NEAREST)
            there = np.array([code for code in (1, 2) if (labels == code).any()], int)
            masks = labels[None] == there[:, None, None]
            boxes = supervision.mask_to_xyxy(masks) if len(there) else np.empty((0, 4))
            found = supervision.Detections(xyxy=boxes, mask=masks if len(there) else None, class_id=there)
            sink.append(found, {"frame": number, "aop_deg": naive_angle(labels)})
        return time.perf_counter() - began


def naive_angle(labels: NDArray[np.uint8]) -> float | None:
    """AoP as it is usually written: ellipses fitted to both, the long axis of one, the tangent to the other."""
    ellipses = []
    for code in (1, 2):
        contours, _ = cv2.findContours((labels == code).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        if not contours or len(largest := max(contours, key=cv2.contourArea)) < 5:
            return None
        ellipses.append(cv2.fitEllipse(largest))
    (x, y), axes, turn = ellipses[0]
    along = math.radians(turn + (90 if axes[0] < axes[1] else 0))
    reach = max(axes) / 2
    ends = [(x + sign * reach * math.cos(along), y + sign * reach * math.sin(along)) for sign in (-1, 1)]
    left, right = sorted(ends)
    (hx, hy), head_axes, head_turn = ellipses[1]
    angles = np.radians(np.arange(0, 360))
    points = cv2.transform(
        np.stack([head_axes[0] / 2 * np.cos(angles), head_axes[1] / 2 * np.sin(angles)], axis=1)[None],
        cv2.getRotationMatrix2D((0.0, 0.0), -head_turn, 1.0)[:, :2],
    )[0] + (hx, hy)
    axis = np.arctan2(left[1] - right[1], left[0] - right[0])
    directions = np.arctan2(points[:, 1] - right[1], points[:, 0] - right[0])
    return float(np.degrees((axis - directions) % (2 * np.pi)).max() % 360)


def bench_peers(clip: Path, *, rounds: int = 3, frames: int = 60, paper_frames: int = 3) -> dict[str, Any]:
    """All loops in turn, several rounds, and the measuring alone; frames per second, medians, and ratios to ours."""
    loops = _loops(clip, frames, paper_frames)
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(rounds):
        for name, run in loops.items():
            time.sleep(0.3)  # threads of the runtime before go on spinning for a while
            rates[name].append(run())
    ours = statistics.median(rates[OURS])
    return {
        "clip": clip.name,
        "frames_per_second": {name: round(statistics.median(found), 3) for name, found in rates.items()},
        "times_as_fast_as": {
            name: round(ours / statistics.median(found), 2) for name, found in rates.items() if name != OURS
        },
        "rounds": {name: [round(rate, 3) for rate in found] for name, found in rates.items()},
        "measuring_cpu_ms_512": _measuring_ms(),
    }


OURS = "partum, whole pipeline, as fast as possible"
SUPERVISION = "supervision's loop, our model, ONNX Runtime"


def _loops(clip: Path, frames: int, paper_frames: int) -> dict[str, Callable[[], float]]:
    """Name: runs once, and gives frames per second."""
    paper, paper_side = _paper_network()
    torch_engine = load_engine(DEFAULT_MODEL, "torch")
    onnx_engine = load_engine(DEFAULT_MODEL, "onnxruntime")
    ours = load_judged_engine(throughput=True, labels=True)
    side = torch_engine.spec.height

    def through(engine: Any) -> Segment:
        def segment(image: NDArray[np.float32]) -> NDArray[np.float32]:
            logits: NDArray[np.float32] = engine.infer((image * 255).astype(np.uint8)).class_logits
            return logits

        return segment

    def naive(segment: Segment, size: int, count: int) -> Callable[[], float]:
        def run() -> float:
            naive_loop(clip, segment, size, 1)
            took_s, _ = naive_loop(clip, segment, size, count)
            return count / took_s

        return run

    def supervised() -> float:
        supervision_loop(clip, through(onnx_engine), side, 1)
        return frames / supervision_loop(clip, through(onnx_engine), side, frames)

    def pipeline() -> float:
        options = StreamOptions(source=str(clip), rate_hz=None, frames=300)
        with one_opencv_thread():
            repeat, _ = one_repeat(options, BorrowedEngine(ours), frames=options.frames)
        return float(repeat["frames_per_second"])

    has_supervision = importlib.util.find_spec("supervision") is not None
    return {
        "naive loop, the paper's U-Net at 512 x 512, torch eager": naive(paper, paper_side, paper_frames),
        "naive loop, our model, torch eager": naive(through(torch_engine), side, frames),
        "naive loop, our model, ONNX Runtime": naive(through(onnx_engine), side, frames),
        **({SUPERVISION: supervised} if has_supervision else {}),
        OURS: pipeline,
    }


def _paper_network() -> tuple[Segment, int]:
    """The paper's U-Net, untrained: its time does not depend on what it has learnt."""
    from engines.backends.torch import eager_network

    config = load_config("paper.toml")
    return eager_network(config.network), config.size


def _measuring_ms() -> dict[str, float]:
    """CPU time of AoP and HSD on one mask of 512 x 512, by the challenge's way and by ours, in turn."""
    with PhantomSource("phantom:?size=512", clock=MonotonicClock()) as source:
        mask = source.mask(0)
    spent: dict[str, list[float]] = {name: [] for name in PROTOCOLS}
    for _ in range(7):
        for protocol, found in spent.items():
            began = time.thread_time_ns()
            for _ in range(20):
                measure(mask, protocol=protocol)
            found.append((time.thread_time_ns() - began) / 20e6)
    return {protocol: round(statistics.median(found), 3) for protocol, found in spent.items()}
