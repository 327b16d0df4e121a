"""What identifies a recording: its content; and a stamp that shows cheaply whether that may have changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from stream.batch.finding import data_files
from stream.common.errors import SourceNotFound, SourceUnreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.batch.recordings import Recording

_CHUNK_BYTES = 1 << 20
_HEADERS = frozenset({".mhd", ".nhdr"})


def content_files(recording: Recording) -> Sequence[Path]:
    """All files that a recording is made of, in order; none for a simulated one."""
    if recording.files:
        return recording.files
    path = Path(recording.path)
    if path.is_dir():
        return sorted(each for each in path.iterdir() if each.is_file())
    if path.suffix.lower() in _HEADERS:
        return [path, *data_files(path)]
    return [] if recording.path.startswith("phantom:") else [path]


def stamp_of(recording: Recording) -> str:
    """Sizes and times of change of its files: what is alike by it was not written to in between.

    Raises:
        SourceNotFound: a file is gone.
    """
    digest = hashlib.sha256(recording.path.encode("utf-8", "surrogateescape"))
    for file in content_files(recording):
        try:
            status = file.stat()
        except OSError as error:
            raise SourceNotFound(f"{file}: cannot be read ({error.strerror}); check the path") from error
        digest.update(os.fsencode(file.name) + f" {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def size_of(recording: Recording) -> int:
    """Bytes of its files; a file that is gone counts as none."""
    return sum(file.stat().st_size for file in content_files(recording) if file.exists()) or 1


def hash_of(recording: Recording) -> str:
    """SHA-256 of its content: of the file, else of the hashes of its files in their order; names do not count.

    Raises:
        SourceNotFound: a file is gone.
        SourceUnreadable: it cannot be read.
    """
    files = content_files(recording)
    if not files:
        return hashlib.sha256(recording.path.encode()).hexdigest()
    digests = [_hash(file) for file in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _hash(file: Path) -> str:
    digest, buffer = hashlib.sha256(), bytearray(_CHUNK_BYTES)
    view = memoryview(buffer)
    try:
        with file.open("rb", buffering=0) as opened:
            while count := opened.readinto(buffer):
                digest.update(view[:count])
    except FileNotFoundError as error:
        raise SourceNotFound(f"{file}: no such file; check the path") from error
    except OSError as error:
        raise SourceUnreadable(f"{file}: cannot be read ({error.strerror}); check its permissions") from error
    return digest.hexdigest()
