"""Preprocessing results of a recorded run, replayed instead of computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.preprocessing.preprocessor import PreprocessorState
from stream.sources.recorded import read_recorded_frames

if TYPE_CHECKING:
    from pathlib import Path

    from stream.frames.frame import Frame
    from stream.frames.reason import Reason


class RecordedPreprocessor:
    """Answers for each frame as when it was live; a `stream.preprocessing.preprocessor.Preprocessor`."""

    def __init__(self, folder: Path) -> None:
        _, frames = read_recorded_frames(folder)
        self._skipped = [frame.skipped for frame in frames]
        self.state = PreprocessorState(
            sector="as recorded", scale="as recorded" if any(frame.spacing for frame in frames) else ""
        )

    def process(self, frame: Frame) -> tuple[Frame, Reason | None]:
        if frame.refusal is not None:  # what was whole when it was live is not any more
            return frame, frame.refusal
        return frame, self._skipped[frame.index % len(self._skipped)]
