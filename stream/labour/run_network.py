"""Masks of a finished run: those it kept, else what its network sees when it is asked about a frame once more."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import cv2
import numpy as np

from engines.errors import EngineUnavailable, PartumError
from engines.registry import AUTO, PRECISIONS
from engines.runtime import available_cores
from stream.common.errors import RunUnreadable
from stream.inference.engine_trial import load_judged_engine
from stream.inference.frame_analyzer import FrameAnalyzer, infer_frame
from stream.inference.label_grid import outlines_of
from stream.labour.run_masks import RunMasks, mask_in_frame
from stream.measurement.biometry import Orientation
from stream.measurement.protocols import find_protocol
from stream.outputs.masks import MASKS_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from engines.base import Engine
    from stream.frames.frame import Frame
    from stream.inference.label_grid import FrameMask, LabelGrid
    from stream.labour.recorded_run import RecordedRun
    from stream.measurement.biometry import Landmarks, Outlines

DEFAULT_MODEL = "default"
MOST_THREADS = 1024
"""How `run.json` names the model that ships."""
SAME_PX = 3.0
"""Landmarks of the run and of the network today may be so far apart, in pixels of the network: runtimes round
differently."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SegmentedFrame:
    """What the network of a run sees in a frame.

    Attributes:
        frame: the frame.
        mask: on the network's raster.
        is_as_recorded: whether the run saw the same: kept by it, or with landmarks within `SAME_PX` of its own.
    """

    frame: Frame
    mask: FrameMask
    is_as_recorded: bool

    @property
    def pixel_size(self) -> tuple[float, float]:
        """Of a pixel of the mask, in isotropic pixels of the frame."""
        return self.frame.aspect / self.mask.grid.scale_x, 1.0 / self.mask.grid.scale_y

    @property
    def outlines(self) -> Outlines:
        """For drawing, in pixels of the frame."""
        return outlines_of(self.mask)

    @property
    def in_frame(self) -> NDArray[np.uint8]:
        """(H, W) the labels on the frame's own pixels."""
        height, width = self.frame.image.shape
        return mask_in_frame(self.mask, (height, width))

    @property
    def field_of_view(self) -> NDArray[np.bool_]:
        """Where the mask's raster shows ultrasound."""
        grid, frame = self.mask.grid, self.frame
        whole = np.full(frame.image.shape, 255, np.uint8)
        shown = whole if frame.field_of_view is None else frame.field_of_view
        to_frame = np.array(
            [
                [1 / grid.scale_x, 0.0, (0.5 - grid.left) / grid.scale_x - 0.5],
                [0.0, 1 / grid.scale_y, (0.5 - grid.top) / grid.scale_y - 0.5],
            ]
        )
        flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(shown, to_frame, (grid.width, grid.height), flags=flags) > 127)


class RunNetwork:
    """Masks of a run's frames; the network is loaded at the first question that needs it, and freed by `close`.

    Safe from several threads.

    Args:
        run: finished.
        load: makes the engine; None takes the run's own model, on what is best here.

    Raises:
        RunUnreadable: the masks that the run kept are damaged.
    """

    def __init__(self, run: RecordedRun, load: Callable[[], Engine] | None = None) -> None:
        self._run, self._load = run, load or self._own
        self._kept = RunMasks(run) if (run.folder / MASKS_NAME).exists() else None
        self._engine: Engine | None = None
        self._error: PartumError | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Frees the engine. Closing twice is harmless."""
        with self._lock:
            if self._engine is not None:
                self._engine.close()
            self._engine = None

    def segmented(self, frame: Frame) -> SegmentedFrame:
        """What the network sees in a frame of the run.

        Raises:
            RunUnreadable: the model is another one than the run's.
            PartumError: the network cannot be loaded, or fails.
        """
        if self._kept is not None and frame.index in self._kept:
            return SegmentedFrame(frame=frame, mask=self._kept[frame.index], is_as_recorded=True)
        with self._lock:
            engine = self._opened()
            letterbox, prediction = infer_frame(engine, frame)
        is_mirrored, protocol = self._run.table.words("mirrored")[frame.index], self._run.protocol
        orientation = Orientation.AUTO
        if is_mirrored is not None and not find_protocol(protocol).is_squeezed:
            orientation = Orientation.MIRRORED if is_mirrored else Orientation.NORMAL
        analyzer = FrameAnalyzer.of(engine.spec, protocol=protocol, orientation=orientation, plane_threshold=0.0)
        analysis = analyzer.analyze(frame, letterbox, prediction)
        is_same = self._is_same(frame.index, analysis.biometry.landmarks, analysis.mask.grid)
        return SegmentedFrame(frame=frame, mask=analysis.mask, is_as_recorded=is_same)

    def _is_same(self, row: int, found: Landmarks | None, grid: LabelGrid) -> bool:
        if found is None:
            return False
        table = self._run.table
        pairs = [(table.points("ps_inferior")[row], found.ps_inferior), (table.points("tangent")[row], found.tangent)]
        apart = [math.hypot((a[0] - b[0]) * grid.scale_x, (a[1] - b[1]) * grid.scale_y) for a, b in pairs]
        return all(each <= SAME_PX for each in apart)

    def _opened(self) -> Engine:
        if self._error is not None:
            raise self._error
        if self._engine is None:
            try:
                self._engine = self._load()
                self._check(self._engine)
            except PartumError as error:
                self._error = error
                raise
        return self._engine

    def _own(self) -> Engine:
        return engine_of_run(self._run)

    def _check(self, engine: Engine) -> None:
        recorded, now = str(self._run.model.get("sha256")), engine.spec.sha256
        if recorded != now:
            raise RunUnreadable(
                f"{self._run.folder}: was measured by another model ({recorded[:8]}) than the one here ({now[:8]}), so"
                " its outlines are not known"
            )


def engine_of_run(
    run: RecordedRun, *, backend: str = AUTO, device: str | None = None, early_exit: bool = False
) -> Engine:
    """An engine with the model and precision that a run was measured with: another precision may read other numbers.

    So may an engine that spreads one frame over the cores where the run's took frames side by side, or that takes
    another number of cores: it sums in another order. A float model runs in float32 where this machine does not run the
    run's precision.

    Raises:
        EngineError: see `stream.inference.engine_trial.load_judged_engine`.
    """
    named = run.options.get("model")
    facts = run.manifest.get("engine_facts")
    facts = facts if isinstance(facts, dict) else {}
    precision, parallel, threads = (facts.get(name) for name in ("precision", "parallel", "threads"))
    load = partial(
        load_judged_engine,
        None if named in (None, DEFAULT_MODEL) else str(named),
        backend,
        device=device,
        early_exit=early_exit,
        throughput=isinstance(parallel, int) and parallel > 1,
        threads=threads if _is_other_count(threads) else None,
    )
    if precision not in PRECISIONS:
        return load()
    try:
        return load(precision=precision)
    except EngineUnavailable:
        if precision in ("int8", "fp32"):
            raise
        return load(precision="fp32")


def _is_other_count(threads: object) -> bool:
    """Whether a run took another number of cores than an engine here takes by itself."""
    return isinstance(threads, int) and 1 <= threads <= MOST_THREADS and threads != available_cores()
