"""Opens and inflates DICOM files."""

from __future__ import annotations

import logging
import os
import struct
import tempfile
import threading
import warnings
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from stream.common.errors import SourceNotFound, SourceUnavailable, SourceUnreadable
from stream.sources.files.kinds import begins_data_set

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydicom import Dataset

_CHUNK_BYTES = 1 << 20
_SPARE_BYTES, _MOST_INFLATED = 64 << 20, 200
"""A byte of a sound file becomes this many at most; one that is made to fill the disk reads as one that has ended."""
PREFIX_BYTES = 132
"""The preamble of 128 bytes, and "DICM"."""
_GROUP_2_END = 0x00030000

_remarks_lock = threading.RLock()  # what reads a file may itself be called within


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keeps pydicom's remarks on sloppy files from screens and logs, as they quote values; others pass.

    Warning filters and loggers belong to the whole process, so only one thread at a time may change them.
    """
    logger = logging.getLogger("pydicom")
    with _remarks_lock, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pydicom")
        before = logger.level
        logger.setLevel(logging.CRITICAL + 1)  # its decoders have loggers of their own, which inherit this
        try:
            yield
        finally:
            logger.setLevel(before)


def open_dicom(path: Path) -> IO[bytes]:
    """Opens the file; one whose data set is deflated is inflated into an unnamed temporary file.

    Raises:
        SourceUnavailable: pydicom is not installed.
        SourceNotFound: there is no such file.
        SourceUnreadable: it cannot be opened, is empty, or is not DICOM.
    """
    _require_pydicom()
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise SourceNotFound(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise SourceUnreadable(f"{path}: cannot be opened ({error.strerror}); give a DICOM file") from error
    try:
        if not file.seek(0, 2):
            raise SourceUnreadable(f"{path}: the file is empty; copy or export it again")
        if not has_prefix(file) and not begins_data_set(_head(file)):
            raise SourceUnreadable(f"{path}: not a DICOM file; give one, or name the file by its true kind")
        start = _deflated_start(file) if has_prefix(file) else None
        if start is None:
            return file
        with file:
            return _inflated(file, start)
    except BaseException:
        file.close()
        raise


def name_of(uid: str) -> str:
    """The standard's name of a UID; "unknown" where it has none: a UID of one's own may hold a patient's number."""
    from pydicom.uid import UID

    with quiet_pydicom():
        name = str(UID(uid).name)
    return "unknown" if name == uid else name


def damage_error() -> tuple[type[Exception], ...]:
    """What pydicom raises on damaged files: much of what Python has, and two errors of its own."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (
        *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, OSError),
        *(RuntimeError, AssertionError, struct.error, zlib.error),
        *(BytesLengthException, InvalidDicomError),
    )


def _require_pydicom() -> None:
    try:
        import pydicom  # noqa: F401 - only to see whether it is there
    except ImportError as error:
        raise SourceUnavailable(
            'reading DICOM needs pydicom, which is not installed; run: pip install "partum[dicom]"'
        ) from error


def _head(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read(PREFIX_BYTES)


def has_prefix(file: IO[bytes]) -> bool:
    """Whether the file begins as DICOM files should."""
    file.seek(PREFIX_BYTES - 4)
    return file.read(4) == b"DICM"


def _deflated_start(file: IO[bytes]) -> int | None:
    """Offset of a deflated data set; None where it is not deflated, whatever the transfer syntax says."""
    try:
        read_file_meta(file)
        start = file.tell()
        head = file.read(_CHUNK_BYTES >> 8)
        inflated = b"" if begins_data_set(head) else zlib.decompressobj(-zlib.MAX_WBITS).decompress(head, 16)
    except damage_error():
        return None
    return start if begins_data_set(inflated) else None


def read_file_meta(file: IO[bytes]) -> Dataset:
    """The file meta information, explicit and little endian; the file then stands behind it, at the data set."""
    from pydicom.filereader import read_dataset

    file.seek(PREFIX_BYTES if has_prefix(file) else 0)
    with quiet_pydicom():
        return read_dataset(
            cast("BinaryIO", file), False, True, stop_when=lambda tag, _vr, _length: tag >= _GROUP_2_END
        )


def _inflated(file: IO[bytes], start: int) -> IO[bytes]:
    """The data set alone, explicit little endian. A stream that breaks reads as one that has ended."""
    plain = tempfile.TemporaryFile()  # noqa: SIM115 - handed to the caller, who closes it
    inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    file.seek(start)
    pending = file.read(_CHUNK_BYTES)
    most = _SPARE_BYTES + _MOST_INFLATED * (os.fstat(file.fileno()).st_size - start)
    while pending and not inflate.eof and plain.tell() < most:
        try:
            plain.write(inflate.decompress(pending, _CHUNK_BYTES))
        except zlib.error:
            break
        pending = inflate.unconsumed_tail or file.read(_CHUNK_BYTES)
    return plain
