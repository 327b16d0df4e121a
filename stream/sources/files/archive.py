"""A recording in a .zip, unpacked into a temporary folder."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stream.common.errors import SourceError, SourceUnreadable
from stream.sources.base import join_notes
from stream.sources.files.kinds import SourceKind, count_by_suffix, is_image, is_recording, kind_of
from stream.sources.files.unpacking import unpack
from stream.sources.wrappers import SourceWrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from stream.frames.frame import Frame
    from stream.sources.base import FrameSource

UNPACKED_BY_HAND = {SourceKind.ARCHIVE: "another archive", SourceKind.RECORDED: "a recording of our own"}


class ArchiveSource(SourceWrapper):
    """The recording that a .zip holds: one file of any kind, or a folder of images or of DICOM files."""

    def __init__(self, path: Path, *, open_path: Callable[[Path], FrameSource]) -> None:
        """Unpacks the archive and opens what is in it.

        Args:
            path: of the .zip.
            open_path: opens a file or a folder.

        Raises:
            SourceUnreadable: it, or a file in it, is damaged or encrypted; it is too large, or holds no recording.
            OutputError: there is no room for what is in it.
        """
        self._path = path
        self._folder = tempfile.TemporaryDirectory(prefix="partum-")
        try:
            with self._own_names():
                for bad in unpack(path, Path(self._folder.name)):
                    raise SourceUnreadable(f"{bad.path}: cannot be unpacked ({bad.why}); unpack it by hand")
                found, passed_over = _recording_in(path, Path(self._folder.name))
                source = open_path(found)
        except BaseException:
            self._folder.cleanup()
            raise
        super().__init__(source, replace(source.info, uri=str(path), note=join_notes(source.info.note, passed_over)))

    def _read(self) -> Generator[Frame, None, None]:
        with self._own_names():
            yield from self._source

    def _release(self) -> None:
        super()._release()
        self._folder.cleanup()

    @contextmanager
    def _own_names(self) -> Iterator[None]:
        """Errors name the archive, not the folder that it was unpacked into."""
        try:
            yield
        except SourceError as error:
            if self._folder.name not in str(error):
                raise
            raise type(error)(str(error).replace(self._folder.name, str(self._path))) from error


def _recording_in(path: Path, folder: Path) -> tuple[Path, str]:
    """The one recording in it, or the folder that holds several pictures; and words on what is passed over."""
    passed_over: list[Path] = []
    found = folder
    while found.is_dir() and not _is_whole(found):
        inside = list(found.iterdir())
        if not inside:
            raise SourceUnreadable(f"{path}: holds no files; give a .zip with a recording in it")
        held = inside if len(inside) == 1 else [each for each in inside if _may_be_played(each)]
        if len(held) != 1:
            break
        passed_over += [each for each in inside if each != held[0] and not _is_data_of(held[0], each)]
        found = held[0]
    kind = kind_of(found)
    if kind in UNPACKED_BY_HAND:
        raise SourceUnreadable(f"{path}: holds {UNPACKED_BY_HAND[kind]}; unpack it by hand")
    return found, f"not played, of this archive: {', '.join(count_by_suffix(passed_over))}" if passed_over else ""


def _is_whole(folder: Path) -> bool:
    """Whether a folder is one recording of many files, by the index in it."""
    return any((folder / name).is_file() for name in ("frames.jsonl", "DICOMDIR"))


def _may_be_played(path: Path) -> bool:
    return path.is_dir() or is_image(path) or is_recording(path)


def _is_data_of(header: Path, file: Path) -> bool:
    """Whether the header of a stack that is stored in two files names the other."""
    return header.suffix.lower() in (".mhd", ".nhdr") and file.name.encode() in header.read_bytes()
