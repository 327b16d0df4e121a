"""Unpacks a .zip into a folder; a member that is damaged or encrypted costs itself."""

from __future__ import annotations

import errno
import lzma
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from stream.common.atomic_file import write_error
from stream.common.errors import SourceUnreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_MEMBERS = 100_000
MAX_RATIO = 200
"""Bytes that a byte of a sound archive of pictures may become; bombs go to 1000."""
_SPARE_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_ENCRYPTED = 0x1
_TAKEN = os.strerror(errno.EEXIST)
"""Why a file cannot be had whose place is another's, as where upper and lower case are the same."""
_UNIX = 3

_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError),
    *(ValueError, LookupError, AttributeError, TypeError, ArithmeticError, NotImplementedError, RuntimeError),
)
"""What `zipfile` raises on damaged archives, on ciphers, and on a full disk."""

_Folder = TypeVar("_Folder", bound=PurePath)
_Member = tuple[zipfile.ZipInfo, tuple[str, ...]]
"""A file in an archive, and the parts of its name."""


@dataclass(frozen=True, slots=True)
class BadMember:
    """A file of an archive that cannot be had.

    Attributes:
        path: where it would lie. An empty file lies there, where its name allows one: among the pictures of a film it
            keeps its place, and none of its bytes are taken for a picture.
        why: in a few words.
    """

    path: Path
    why: str


def unpack(path: Path, folder: Path) -> Sequence[BadMember]:
    """Unpacks a .zip into a folder that is there, without links and without what systems leave in archives.

    Nothing is written beside the folder, whatever its members are called.

    Returns:
        The files in it that cannot be had.

    Raises:
        SourceUnreadable: it is no archive, cut off, or too large, or none of its files can be had.
        OutputError: there is no room for what is in it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(path, archive)
            if sum(member.file_size for member, _ in members) > shutil.disk_usage(folder).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            bad = _unpack_all(archive, members, folder)
    except SourceUnreadable:
        raise
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise write_error(folder, error) from error
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "damaged or cut off"
        raise SourceUnreadable(f"{path}: cannot be unpacked ({reason}); unpack it by hand") from error
    if bad and len(bad) == len({parts for _, parts in members}):
        why = ", ".join(dict.fromkeys(each.why for each in bad))
        raise SourceUnreadable(f"{path}: none of its files can be unpacked ({why}); unpack it by hand")
    return bad


def _members(path: Path, archive: zipfile.ZipFile) -> list[_Member]:
    """The files in it, without links and without what systems leave there."""
    named = [(member, _parts(member.filename)) for member in archive.infolist() if _is_file(member)]
    left = (".", "__MACOSX")
    members = [each for each in named if each[1] and not any(part.startswith(left) for part in each[1])]
    total = sum(member.file_size for member, _ in members)
    if total > MAX_RATIO * path.stat().st_size + _SPARE_BYTES or len(members) > MAX_MEMBERS:
        raise SourceUnreadable(
            f"{path}: unpacks to {total >> 20} MB in {len(members)} files, more than is taken; unpack it by hand"
        )
    return members


def _is_file(member: zipfile.ZipInfo) -> bool:
    """Whether it is neither a folder nor a link nor a device, as archives of Unix say."""
    mode = member.external_attr >> 16 if member.create_system == _UNIX else 0
    return not member.is_dir() and stat.S_IFMT(mode) in (0, stat.S_IFREG)


def _parts(name: str) -> tuple[str, ...]:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return tuple(part for part in parts if part not in ("/", "//", ".", ".."))


def place_below(folder: _Folder, parts: Sequence[str]) -> _Folder | None:
    """Where a file of these parts lies in a folder; None where they lead out of it, as a part `C:` does on Windows."""
    place = folder.joinpath(*parts)
    return place if place.is_relative_to(folder) else None


def _unpack_all(archive: zipfile.ZipFile, members: Sequence[_Member], folder: Path) -> list[BadMember]:
    counts = Counter(parts for _, parts in members)
    bad: dict[tuple[str, ...], str] = {}
    for member, parts in members:
        if counts[parts] > 1:
            bad[parts] = f"{counts[parts]} files have this name"
        elif why := _unpack_one(archive, member, folder, parts):
            bad[parts] = why
    for parts, why in bad.items():
        if why != _TAKEN and (target := place_below(folder, parts)):
            with suppress(OSError, ValueError):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(b"")
    return [BadMember(folder.joinpath(*parts), why) for parts, why in bad.items()]


def _unpack_one(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, parts: tuple[str, ...]) -> str:
    """Why it cannot be unpacked; "" where it is.

    Raises:
        OSError: there is no room for it.
    """
    if member.flag_bits & _ENCRYPTED:
        return "encrypted"
    target = place_below(folder, parts)
    if target is None:
        return "its name is that of another drive"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as packed, target.open("xb") as file:
            shutil.copyfileobj(packed, file, _CHUNK_BYTES)
    except FileExistsError:
        return _TAKEN
    except NotImplementedError:
        return "packed by a method that is not known"
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise
        return (error.strerror if isinstance(error, OSError) else None) or "damaged"
    return ""
