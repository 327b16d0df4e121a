"""`partum verify`: whether the files of a run are, to the byte, those that its log has.

Reports, reviews and exports ask the same of the files that they read (`changes_of`), and say so where one is not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stream.common.errors import RunUnreadable
from stream.outputs.run_log import LOG_NAME, LOG_SCHEMA, NO_HASH, file_sha256, sealed_line, source_sha256

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

READ = ("run.json", "measurements.jsonl", "masks.jsonl", "marks.jsonl", "edits.jsonl", "recording/")
"""Files of a run that numbers are read from, by the beginnings of their names."""
ADDED_BY_HAND = ("masks.jsonl", "marks.jsonl", "edits.jsonl")
"""Those of them that count where they are there at all."""
EARLIER = "earlier-"
"""Folders of runs before this one; each has its own log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was found.

    Attributes:
        files: how many files are as the log has them.
        faults: what is not as it was, one line each; empty where everything is.
        notes: what could not be compared, or is not of the run.
    """

    files: int
    faults: tuple[str, ...]
    notes: tuple[str, ...]


def verify_run(folder: Path, *, source: Path | None = None) -> Verification:
    """Compares every file of a run with its log, and the log with itself.

    Args:
        folder: of the run.
        source: the recording that was run; None leaves it out.

    Raises:
        RunUnreadable: there is no log, or it cannot be read.
    """
    entries, faults = read_log(folder)
    notes: list[str] = []
    known = {str(entry["path"]): entry for entry in entries if entry.get("event") == "file"}
    intact = 0
    for name, entry in known.items():
        fault = _fault_of_file(folder / name, entry)
        intact += not fault
        faults += [f"{name}: {fault}"] if fault else []
    end = next((entry for entry in reversed(entries) if entry.get("event") == "end"), None)
    if end is None and not faults:
        faults.append(f"{LOG_NAME}: says nothing of the run's end: it still runs, was killed, or the log was cut off")
    if end is not None:  # else the log does not say what the run wrote after its last entry
        notes += [f"{name}: is not in the log; added after the run" for name in _not_listed(folder, known.keys())]
    if end is not None and source is not None:
        _compare_source(source, end.get("source_sha256"), faults, notes)
    return Verification(files=intact, faults=tuple(faults), notes=tuple(notes))


def changes_of(folder: Path) -> tuple[str, ...]:
    """What of the files that numbers are read from is not as the run's log has it, one line each.

    Empty where all is as it was written, and of a run that an earlier version wrote, which kept no log.
    """
    if not (folder / LOG_NAME).exists():
        return ()
    try:
        entries, faults = read_log(folder)
    except RunUnreadable as error:
        return (str(error),)
    known = {str(entry["path"]): entry for entry in entries if entry.get("event") == "file"}
    read = {name: entry for name, entry in known.items() if name.startswith(READ)}
    faults += [f"{name} {fault}" for name, entry in read.items() if (fault := _fault_of_file(folder / name, entry))]
    if any(entry.get("event") == "end" for entry in entries):
        faults += [
            f"{name} is not in the run's log"
            for name in ADDED_BY_HAND
            if name not in known and (folder / name).exists()
        ]
    return tuple(faults)


def said_of_changes(faults: Sequence[str]) -> str:
    """The same in a sentence for people; empty where there is none."""
    if not faults:
        return ""
    more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
    return f"This run was changed after it was written: {'; '.join(faults[:3])}{more}. See: partum verify"


def read_log(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The entries of the log up to the first that is not as it was written, and what is wrong with it.

    Raises:
        RunUnreadable: there is no log, or it cannot be read.
    """
    path = folder / LOG_NAME
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        lack = f"has no {LOG_NAME}: it is no run, or of an earlier version, which kept none"
        raise RunUnreadable(f"{folder}: {lack if folder.is_dir() else 'no such folder; check the path'}") from None
    except OSError as error:
        raise RunUnreadable(f"{path}: cannot be read ({error.strerror})") from error
    entries: list[dict[str, Any]] = []
    previous = NO_HASH
    for number, line in enumerate(data.splitlines(keepends=True), 1):
        entry = _entry(line)
        if entry is None or entry.get("entry") != number or entry.get("previous") != previous:
            return entries, [f"{LOG_NAME}: entry {number} is not as it was written"]
        previous = str(entry["hash"])
        entries.append(entry)
    return entries, [] if entries else [f"{LOG_NAME}: is empty"]


def _entry(line: bytes) -> dict[str, Any] | None:
    """A line of the log; None where its own hash, or any byte of it, is another."""
    try:
        entry = json.loads(line)
        body = {name: value for name, value in entry.items() if name != "hash"}
        is_whole = entry["schema"] == LOG_SCHEMA and sealed_line(body) == line
        is_file = entry["event"] != "file" or {"path", "bytes", "sha256"} <= entry.keys()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return body | {"hash": entry["hash"]} if is_whole and is_file else None


def _fault_of_file(path: Path, entry: dict[str, Any]) -> str:
    """What is wrong with a file; "" where it is as it was."""
    try:
        size = path.stat().st_size
        if size != entry["bytes"]:
            return f"has {size} bytes, where {entry['bytes']} were written"
        return "" if file_sha256(path) == entry["sha256"] else "was changed after it was written"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _not_listed(folder: Path, known: Collection[str]) -> list[str]:
    found = (each.relative_to(folder) for each in folder.rglob("*") if each.is_file())
    names = [each.as_posix() for each in found if not each.parts[0].startswith(EARLIER)]
    return sorted(set(names) - set(known) - {LOG_NAME})


def _compare_source(source: Path, written: object, faults: list[str], notes: list[str]) -> None:
    """Compares the recording with what the log has of it."""
    if written is None:
        notes.append("source: the log has no hash of it")
        return
    try:
        if source_sha256(source) != written:
            faults.append("source: is not the recording that was run, or was changed")
    except OSError as error:
        notes.append(f"source: cannot be read ({error.strerror})")
