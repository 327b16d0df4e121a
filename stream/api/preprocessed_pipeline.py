"""The pipeline as scripts and notebooks get it: it preprocesses unless told otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.api.preprocessing import preprocessor_for
from stream.common.channel import Overflow
from stream.measurement.biometry import Orientation
from stream.measurement.protocols import DEFAULT_PROTOCOL, check_orientation
from stream.pipeline.pipeline import Pipeline
from stream.sources.live.base import LiveSource

if TYPE_CHECKING:
    from engines.base import Engine
    from stream.common.clock import Clock
    from stream.frames.frame import PixelSpacing
    from stream.preprocessing.options import PreprocessingOptions
    from stream.preprocessing.preprocessor import Preprocessor
    from stream.sources.base import FrameSource


class PreprocessedPipeline(Pipeline):
    """Runs a source through preprocessing and an engine; iterate it for one `Measurement` per frame, in order.

    Frames are measured and refused as `partum replay` and `partum attach` do it: the sector is found, text in it is
    masked, and pictures without ultrasound are refused; of a live feed also those that repeat, freeze or go black.

    Use it as a context manager: leaving it stops and joins every thread, whatever happened, and closes source
    and engine. An error in any stage ends the run; what had been read before it is still delivered, then the
    iteration raises that error.

    Args:
        source: of `open_source` or `open_live`; closed by the pipeline. A recording is opened a second time, to find
            the sector in its first frames. For a source of your own give `preprocessor`.
        engine: closed by the pipeline.
        protocol: how AoP and HSD are measured, a name in `stream.measurement.protocols.PROTOCOLS`.
        orientation: whether the pictures are mirrored; `AUTO` finds out.
        spacing: what `open_source` or `open_live` was given as `spacing`, so that it ends where the depth changes.
        preprocessing: where the ultrasound is in the picture; None finds out.
        preprocessor: in the place of the one that `spacing` and `preprocessing` make.
        overflow: what happens to frames that come faster than they are processed; None drops the oldest of a live
            feed, and lets a recording wait.
        clock: the clock that stamped the frames.

    Raises:
        SourceError: the first frames of the recording cannot be read.
        OptionError: an option is not one of those allowed.
    """

    def __init__(
        self,
        source: FrameSource,
        engine: Engine,
        *,
        protocol: str = DEFAULT_PROTOCOL,
        orientation: Orientation = Orientation.AUTO,
        spacing: PixelSpacing | None = None,
        preprocessing: PreprocessingOptions | None = None,
        preprocessor: Preprocessor | None = None,
        overflow: Overflow | None = None,
        clock: Clock | None = None,
    ) -> None:
        orientation, is_live = Orientation(orientation), isinstance(source, LiveSource)
        check_orientation(protocol, orientation)
        super().__init__(
            source,
            engine,
            protocol=protocol,
            orientation=orientation,
            overflow=overflow or (Overflow.DROP_OLDEST if is_live else Overflow.BLOCK),
            clock=clock,
            preprocessor=preprocessor
            or preprocessor_for(
                source.info.uri, source, protocol=protocol, options=preprocessing, spacing=spacing, is_live=is_live
            ),
        )
