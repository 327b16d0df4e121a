"""A recording as a batch knows it: what it is called, which files it is made of, how it is opened."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from stream.sources import open_source
from stream.sources.wrappers import SourceWrapper

if TYPE_CHECKING:
    from collections.abc import Generator

    from stream.common.clock import Clock
    from stream.frames.frame import Frame, PixelSpacing
    from stream.sources.base import FrameSource


class Form(Enum):
    """How the files of a recording belong together."""

    SINGLE = "single"
    """A file, a folder that `--record` wrote, or `phantom:` with its options: what `open_source` takes."""
    IMAGES = "images"
    """Single images, one after the other."""
    DICOM_SERIES = "DICOM series"
    """DICOM files of a single frame each, one after the other."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What is measured as one.

    Attributes:
        source: what it is called to people: its path as the user gave it, inside an archive `study.zip/loop.mp4`.
        path: what is opened: a path, or `phantom:` with its options.
        form: how its files belong together.
        files: of a recording of several, in the order in which they are played.
        unpacked: the temporary folder that an archive was unpacked into, and the archive; empty for others.
    """

    source: str
    path: str
    form: Form = Form.SINGLE
    files: tuple[Path, ...] = ()
    unpacked: tuple[str, str] = ("", "")

    @property
    def place(self) -> str:
        """The file or folder that the user has of it, absolute; empty where there is none: simulated, or received."""
        if self.unpacked[1]:
            return os.path.abspath(self.unpacked[1])
        if self.files:
            return os.path.abspath(self.files[0])
        is_own = self.source == self.path and not self.path.startswith("phantom:")
        return os.path.abspath(self.path) if is_own else ""

    def open(self, *, clock: Clock, spacing: PixelSpacing | None) -> FrameSource:
        """Opens it at its start; the errors are those of `stream.sources.open_source`."""
        source = self._opened(clock, spacing)
        return source if source.info.uri == self.source else _NamedSource(source, self.source)

    def told(self, text: str) -> str:
        """A message with what the recording is called in the place of a path that the user never gave."""
        folder, archive = self.unpacked
        if folder:
            return text.replace(folder, archive)
        return text if self.place else text.replace(self.path, self.source)

    def _opened(self, clock: Clock, spacing: PixelSpacing | None) -> FrameSource:
        if self.form is Form.IMAGES:
            from stream.sources.files.images.source import ImageFolderSource

            return ImageFolderSource(self.path, clock=clock, spacing=spacing, files=self.files)
        if self.form is Form.DICOM_SERIES:
            from stream.sources.files.dicom.folder import DicomFolderSource

            return DicomFolderSource(self.path, clock=clock, spacing=spacing, files=self.files)
        return open_source(self.path, clock=clock, spacing=spacing)


@dataclass(frozen=True, slots=True)
class Job:
    """A recording to be measured.

    Attributes:
        recording: what it is.
        sha256: of its content, as `stream.batch.content.hash_of` says it.
        stamp: what its files looked like when they were hashed.
        folder: for the results; empty.
    """

    recording: Recording
    sha256: str
    stamp: str
    folder: Path


class _NamedSource(SourceWrapper):
    """A source under another name than its path."""

    def __init__(self, source: FrameSource, name: str) -> None:
        super().__init__(source, replace(source.info, uri=name))

    def _read(self) -> Generator[Frame, None, None]:
        yield from self._source
