"""Which preprocessing a source gets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stream.measurement.protocols import find_protocol
from stream.preprocessing.options import PreprocessingOptions
from stream.preprocessing.preprocessor import FramePreprocessor
from stream.preprocessing.recorded import RecordedPreprocessor
from stream.sources import open_source
from stream.sources.recorded import RecordedSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream.frames.frame import PixelSpacing
    from stream.preprocessing.preprocessor import Preprocessor
    from stream.sources.base import FrameSource


def preprocessor_for(
    uri: str,
    source: FrameSource,
    *,
    protocol: str,
    options: PreprocessingOptions | None = None,
    spacing: PixelSpacing | None = None,
    is_live: bool = False,
    reopen: Callable[[], FrameSource] | None = None,
) -> Preprocessor:
    """The preprocessor of an open source; of a recording, with the sector found in its first frames.

    A stream that this program recorded was looked at when it was live. `reopen` opens the source once more, where its
    path alone does not say how.
    """
    if source.info.kind == RecordedSource.KIND:
        return RecordedPreprocessor(Path(uri))
    preprocessor = FramePreprocessor(options_for(protocol, options, spacing=spacing), is_live=is_live)
    if not is_live:
        with reopen() if reopen else open_source(uri, spacing=spacing) as beginning:
            preprocessor.look_ahead(beginning)
    return preprocessor


def options_for(
    protocol: str, options: PreprocessingOptions | None, *, spacing: PixelSpacing | None
) -> PreprocessingOptions:
    """The options as a protocol needs them: the challenges' are defined on whole pictures, which are not cut."""
    return replace(options or PreprocessingOptions(), crop=not find_protocol(protocol).is_squeezed, typed=spacing)
