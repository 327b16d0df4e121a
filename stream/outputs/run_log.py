"""`run-log.jsonl`: what was done with a run, append-only; each entry carries the hash of the one before.

    {"schema": "partum.log/1", "entry": 2, "utc": ..., "event": "file", ..., "previous": HASH, "hash": HASH}

`hash` is the SHA-256 of the line up to it. The files of a run are entered when it ends, those added later (edits,
marks) when they are written; the newest entry of a file holds. `stream.exports.verification` compares.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from stream.common.atomic_file import write_error
from stream.outputs.manifest import now_utc
from stream.outputs.results_folder import RESULTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

LOG_NAME = "run-log.jsonl"
LOG_SCHEMA = "partum.log/1"
_adding = threading.Lock()
NO_HASH = "0" * 64
"""In the first entry, in the place of the hash of one before."""


OF_NO_MATTER = frozenset(
    {"source", "out", "overlay", "record", "masks", "smooth", "igtl_out", "from_files"}
    | {"serve", "token", "allow_hosts", "tls_cert", "tls_key", "pace", "loop", "duration_s"}
)
"""Options that no number depends on."""


class RunLog:
    """The log of a run, opened for adding to; goes on from its last whole line.

    Args:
        folder: of the run.

    Raises:
        OutputError: it cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / LOG_NAME
        try:
            lines = self._path.read_bytes().splitlines(keepends=True) if self._path.exists() else []
            if lines and not lines[-1].endswith(b"\n"):  # a crash in mid-line: what follows must begin on a line
                with self._path.open("ab") as file:
                    file.write(b"\n")
        except OSError as error:
            raise write_error(self._path, error) from error
        self._count = len(lines)
        self._last = _hash_in(lines[-1]) if lines else NO_HASH

    def add(self, event: str, **facts: object) -> None:
        """Adds an entry.

        Raises:
            OutputError: it cannot be written; the log then ends with the entry before.
        """
        entry = {"schema": LOG_SCHEMA, "entry": self._count + 1, "utc": now_utc(), "event": event, **facts}
        line = sealed_line(entry | {"previous": self._last})
        try:
            with self._path.open("ab", buffering=0) as file:
                whole = file.tell()
                if file.write(line) != len(line):
                    with suppress(OSError):
                        file.truncate(whole)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise write_error(self._path, error) from error
        self._count, self._last = self._count + 1, _hash_in(line)

    def add_files(self, names: Iterable[str]) -> None:
        """Enters files of the run's folder as they are now, and all that is in folders; what is not there is left out.

        Raises:
            OutputError: one cannot be read.
        """
        for name in names:
            for path in files_below(self._folder / name):
                try:
                    size, digest = path.stat().st_size, file_sha256(path)
                except OSError as error:
                    raise write_error(path, error) from error
                self.add("file", path=path.relative_to(self._folder).as_posix(), bytes=size, sha256=digest)


def begin_log(folder: Path, manifest: Mapping[str, Any]) -> None:
    """The first entry of a run: what is run, with what.

    Raises:
        OutputError: it cannot be written.
    """
    RunLog(folder).add(
        "begin",
        run_id=manifest["run_id"],
        engine=manifest["engine"],
        model_sha256=manifest["model"]["sha256"],
        configuration_sha256=configuration_sha256(manifest),
    )


def seal_log(folder: Path, status: str, *, source: Path | None) -> None:
    """The last entries of a run: its files, its source, and how it ended.

    Args:
        folder: of the run.
        status: how it ended.
        source: the recording that was read; None of a live feed.

    Raises:
        OutputError: it cannot be written, or a file cannot be read.
    """
    log = RunLog(folder)
    log.add_files(name for name in RESULTS if name != LOG_NAME)
    digest = None
    if source is not None:
        with suppress(OSError):
            digest = source_sha256(source)
    log.add("end", status=status, source_sha256=digest)


def log_file_change(folder: Path, *names: str) -> None:
    """Enters files that were written into the folder of a finished run, such as edits; a run without a log stays so.

    Raises:
        OutputError: the log cannot be written, or a file cannot be read.
    """
    with _adding:
        if (folder / LOG_NAME).exists():
            RunLog(folder).add_files(names)


def sealed_line(entry: Mapping[str, Any]) -> bytes:
    """The line of an entry with its own hash at the end."""
    text = json.dumps(entry, allow_nan=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{text[:-1]}, "hash": "{digest}"}}\n'.encode()


def files_below(path: Path) -> Iterator[Path]:
    """A file itself, or all files in a folder and below it, by name; nothing where there is neither."""
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from sorted(each for each in path.rglob("*") if each.is_file())


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_sha256(path: Path) -> str:
    """The SHA-256 of a recording: of the file, or, of a folder, of the hashes of its files in the order of their names.

    Raises:
        OSError: it cannot be read.
    """
    if path.is_file():
        return file_sha256(path)
    if not path.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    digest = hashlib.sha256()
    for each in files_below(path):
        digest.update(bytes.fromhex(file_sha256(each)))
    return digest.hexdigest()


def configuration_sha256(manifest: Mapping[str, Any]) -> str:
    """The SHA-256 of what a run's numbers depend on beside its frames: options, engine, model, versions."""
    options = {name: value for name, value in manifest["options"].items() if name not in OF_NO_MATTER}
    facts = {"options": options} | {name: manifest.get(name) for name in ("engine", "model", "versions")}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _hash_in(line: bytes) -> str:
    """The hash that a line ends with; of a damaged one the hash of its bytes, so that the chain shows it."""
    try:
        found = json.loads(line)["hash"]
    except (ValueError, LookupError, TypeError):
        return hashlib.sha256(line).hexdigest()
    return str(found)
