"""A recording through the pipeline, with its results in memory."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from engines.registry import AUTO
from engines.sharing import BorrowedEngine
from stream.api.preprocessed_pipeline import PreprocessedPipeline
from stream.api.result import ReplayResult
from stream.inference.engine_trial import load_judged_engine
from stream.measurement.biometry import Orientation
from stream.measurement.protocols import DEFAULT_PROTOCOL, check_orientation
from stream.sources import open_source
from stream.sources.demo import DEMO_CLIP

if TYPE_CHECKING:
    from pathlib import Path

    from engines.base import Engine
    from stream.frames.frame import PixelSpacing
    from stream.preprocessing.options import PreprocessingOptions


def replay(
    source: str | Path | None = None,
    *,
    engine: Engine | None = None,
    model: str | Path | None = None,
    backend: str = AUTO,
    device: str | None = None,
    protocol: str = DEFAULT_PROTOCOL,
    orientation: Orientation = Orientation.AUTO,
    spacing: PixelSpacing | None = None,
    preprocessing: PreprocessingOptions | None = None,
) -> ReplayResult:
    """Measures every frame of a recording, as fast as possible; what `partum replay` writes to files, in memory.

    Args:
        source: a path, or `phantom:` with its options; None plays the demonstration clip.
        engine: stays open; None loads one by `model` and `backend` and closes it again.
        model: see `stream.inference.engine_trial.load_judged_engine`.
        backend: likewise.
        device: likewise.
        protocol: how AoP and HSD are measured, a name in `stream.measurement.protocols.PROTOCOLS`.
        orientation: whether the pictures are mirrored; `AUTO` finds out.
        spacing: mm per pixel of the frames as shown, in the place of what the source says.
        preprocessing: where the ultrasound is in the picture; None finds out.

    Raises:
        PartumError: the source cannot be read to its end, or the engine fails; nothing is returned then.
        OptionError: an option is not one of those allowed; it is a PartumError too.
    """
    uri = str(DEMO_CLIP if source is None else source)
    orientation = Orientation(orientation)
    check_orientation(protocol, orientation)
    with ExitStack() as stack:
        frames = stack.enter_context(open_source(uri, spacing=spacing))
        if engine is None:
            engine = stack.enter_context(load_judged_engine(model, backend, device=device, throughput=True))
        result = ReplayResult(source=frames.info, engine=engine.description, protocol=protocol)
        pipeline = PreprocessedPipeline(
            frames,
            BorrowedEngine(engine),
            protocol=protocol,
            orientation=orientation,
            spacing=spacing,
            preprocessing=preprocessing,
        )
        for measurement in stack.enter_context(pipeline):
            result.add(measurement)
    return result
