"""What a finished run read, opened once more as it was then: its source and its preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stream.api.preprocessing import preprocessor_for
from stream.common.errors import RunUnreadable, SourceError
from stream.frames.frame import PixelSpacing
from stream.preprocessing.options import PreprocessingOptions
from stream.preprocessing.sector.detection import Panes
from stream.sources import open_source
from stream.sources.demo import DEMO_CLIP
from stream.sources.wrappers import LoopedSource

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from stream.labour.recorded_run import RecordedRun
    from stream.preprocessing.preprocessor import Preprocessor
    from stream.sources.base import FrameSource

RECORDING = "recording"
DEMO = "demonstration clip"
"""How `run.json` names the recording that ships."""


def pictures_of(run: RecordedRun) -> str:
    """Where a run's pictures are: its own recording, else its source.

    Raises:
        RunUnreadable: they were not kept: a live run without --record.
    """
    recording = run.folder / RECORDING
    if recording.is_dir():
        return str(recording)
    if run.is_live:
        raise RunUnreadable(f"{run.folder}: its pictures were not kept; a live run keeps them with --record")
    named = str(run.options.get("source") or DEMO)
    return str(DEMO_CLIP) if named == DEMO else named


def source_path(run: RecordedRun) -> Path | None:
    """The file or folder that a run read; None for a live feed, a phantom, or what is no longer there."""
    if run.is_live:
        return None
    named = str(run.options.get("source") or DEMO)
    path = DEMO_CLIP if named == DEMO else Path(named)
    return path if path.exists() else None


def open_again(run: RecordedRun, uri: str) -> tuple[FrameSource, Preprocessor]:
    """Opens the source of a run at its start, with the preprocessing of the run; the caller closes it.

    Raises:
        SourceError: it cannot be opened any more.
    """
    options, spacing = run.options, _spacing(run.options.get("spacing_mm"))
    source: FrameSource | None = None

    def opened() -> FrameSource:
        return open_source(uri, spacing=spacing)

    try:
        source = LoopedSource(opened) if options.get("loop") else opened()
        preprocessor = preprocessor_for(
            uri, source, protocol=run.protocol, options=preprocessing_of(options), spacing=spacing
        )
    except SourceError as error:
        if source is not None:
            source.close()
        raise type(error)(f"{error}; the pictures of {run.folder} are there: name it by --source") from error
    return source, preprocessor


def preprocessing_of(options: Mapping[str, Any]) -> PreprocessingOptions:
    """What `SessionOptions.as_json` wrote of it."""
    sector, size, pane = options.get("sector"), options.get("profile_screen"), options.get("pane")
    return PreprocessingOptions(
        sector=tuple(sector) if isinstance(sector, list) else sector or "auto",
        pane=Panes(pane) if pane else None,
        tick_mm=options.get("tick_mm"),
        spacing=_spacing(options.get("profile_spacing_mm")),
        size=(size[0], size[1]) if size else None,
    )


def _spacing(pair: list[float] | None) -> PixelSpacing | None:
    return PixelSpacing(*pair) if pair else None
