"""One picture through the pipeline."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING

from engines.base import grey_fault
from engines.sharing import BorrowedEngine
from stream.api.preprocessing import options_for
from stream.common.clock import MonotonicClock
from stream.common.errors import SourceUnreadable
from stream.frames.frame import Frame
from stream.inference.engine_trial import load_judged_engine
from stream.measurement.biometry import Orientation
from stream.measurement.protocols import DEFAULT_PROTOCOL
from stream.pipeline.pipeline import Pipeline
from stream.preprocessing.preprocessor import FramePreprocessor
from stream.sources.base import SourceInfo
from stream.sources.recording_base import RecordingSource

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy as np
    from numpy.typing import NDArray

    from engines.base import Engine
    from stream.frames.frame import PixelSpacing
    from stream.pipeline.record import Measurement
    from stream.preprocessing.options import PreprocessingOptions


def measure_picture(
    picture: NDArray[np.uint8],
    *,
    engine: Engine | None = None,
    protocol: str = DEFAULT_PROTOCOL,
    orientation: Orientation = Orientation.AUTO,
    spacing: PixelSpacing | None = None,
    preprocessing: PreprocessingOptions | None = None,
) -> Measurement:
    """Measures one picture, as a replay of it alone would; it is found, cut to its sector, and refused in the same way.

    Args:
        picture: (H, W) uint8, grey, of any size; it is copied.
        engine: stays open. None takes the default engine (`stream.inference.engine_trial.load_judged_engine`), which
            is loaded at the first such call and kept for the next ones.
        protocol: as in `stream.api.replay.replay`.
        orientation: likewise.
        spacing: likewise.
        preprocessing: likewise.

    Returns:
        Its state, the reason where it is refused, and in `biometry` AoP in degrees and HSD in pixels (`mm_per_px`
        is their scale), with landmarks in pixels of `frame`, which begins at `frame.origin` of the picture.

    Raises:
        SourceUnreadable: it is no such picture.
        EngineUnavailable: no engine was given, and none can run here.
        OptionError, InferenceError: likewise.
    """
    if fault := grey_fault(picture):
        raise SourceUnreadable(f"a picture is a grey array (H, W) of uint8, {fault}")
    source = PictureSource(picture, spacing=spacing)
    preprocessor = FramePreprocessor(options_for(protocol, preprocessing, spacing=spacing), is_live=False)
    preprocessor.look_ahead([source.frame])
    pipeline = Pipeline(
        source,
        BorrowedEngine(_default_engine() if engine is None else engine),
        protocol=protocol,
        orientation=Orientation(orientation),
        preprocessor=preprocessor,
    )
    with pipeline:
        (measurement,) = pipeline
    return measurement


@cache
def _default_engine() -> Engine:
    return load_judged_engine()


class PictureSource(RecordingSource):
    """A recording of one picture."""

    def __init__(self, picture: NDArray[np.uint8], *, spacing: PixelSpacing | None) -> None:
        height, width = picture.shape
        super().__init__(
            SourceInfo(uri="picture", kind="picture", width=width, height=height, frame_count=1, spacing=spacing)
        )
        self.frame = Frame(
            image=picture.copy(),
            index=0,
            pts=0,
            time_base=Fraction(1),
            captured_ns=MonotonicClock().now_ns(),
            spacing=spacing,
        )

    def _read(self) -> Generator[Frame, None, None]:
        yield self.frame
