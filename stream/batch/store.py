"""Results on disk, once for each content: whatever is killed when, a folder of results is whole or is not there.

    batch.json         what was asked for; the same for all results in the folder
    inputs.jsonl       which input had which content; a line for each that was looked at
    0f3a9c...          results of a recording, as `partum replay` writes them, and `summary.json`
    .work/             what is being measured; emptied at the next start

A folder gets its name by one rename, when everything in it is on the disk. So the results themselves say what is done:
there is no list beside them that could say something else.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from stream.batch.finding import BATCH
from stream.batch.summary import FAILED, FILE, Row, read_summary, write_summary
from stream.common.atomic_file import write_error
from stream.common.durable import sync_file
from stream.common.errors import OptionError, OutputError
from stream.common.folder_lock import locked_folder
from stream.outputs.manifest import NOTICE, write_json
from stream.outputs.tables import LineWriter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

SCHEMA = "partum.batch/1"
INPUTS, WORK = "inputs.jsonl", ".work"
DIGITS = 16
"""Of the content's hash, in the name of a folder."""
_LONGEST_BYTES = 160


@dataclass(frozen=True, slots=True)
class _Input:
    """What an input was, when it was last looked at: see `ResultStore.note_input`."""

    stamp: str
    sha256: str
    place: str


class ResultStore:
    """The folder of a batch, which one process writes to at a time; a context manager.

    Args:
        folder: made where it is not there.
        asked: the options that all results in it share, as JSON values.
        resume: goes on with what is there; without it the folder must hold no results.
        named: folders are named after the recordings' own names too. By default they are not, as those may name people.
    """

    def __init__(self, folder: Path, *, asked: Mapping[str, Any], resume: bool, named: bool = False) -> None:
        self.folder, self._asked, self._resume, self._named = folder, dict(asked), resume, named
        self._held = ExitStack()
        self._folders: dict[str, Path] = {}
        self._rows: dict[str, Row] = {}
        self._inputs: dict[str, _Input] = {}
        self._log: LineWriter | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            try:
                stack.enter_context(locked_folder(self.folder))
                self._read()
                shutil.rmtree(self._work, ignore_errors=True)
                self._work.mkdir()
            except BlockingIOError as error:
                raise OutputError(f"{self.folder}: another process writes results there; wait for its end") from error
            except OSError as error:
                raise write_error(self.folder, error) from error
            self._log = LineWriter(self.folder / INPUTS, append=True)
            stack.callback(self._log.close)
            self._held = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._work, ignore_errors=True)
        self._held.close()

    def begin(self, model: Mapping[str, Any]) -> None:
        """Notes what was asked for, and the model that answers it, before the first result.

        Raises:
            OptionError: the results that are there were made with another model.
        """
        before = self._facts()
        check_same_model(self.folder, model, before.get("model"))
        write_json(
            self.folder / BATCH, {"schema": SCHEMA, "notice": NOTICE, "options": self._asked, "model": dict(model)}
        )

    def __contains__(self, sha256: str) -> bool:
        """Whether there is a result of this content."""
        return sha256 in self._folders

    def __len__(self) -> int:
        return len(self._folders)

    def folder_of(self, sha256: str) -> Path:
        """The folder of a content's result."""
        return self._folders[sha256]

    def row_of(self, sha256: str) -> Row:
        """The row of a content's result."""
        return self._rows[sha256]

    def known_hash(self, source: str, stamp: str) -> str | None:
        """The hash of an input's content, where it was looked at before and its stamp is the same."""
        known = self._inputs.get(source)
        return known.sha256 if known and known.stamp == stamp else None

    def note_input(self, source: str, stamp: str, sha256: str, place: str = "") -> None:
        """Notes which content an input has; what it had before no longer counts for it.

        Args:
            source: what the input is called.
            stamp: of its files, by which a later change is seen.
            sha256: of its content.
            place: the file or folder that it is in, absolute; "" where nothing is to be said of its absence.

        Raises:
            OutputError: it cannot be written.
        """
        noted = _Input(stamp, sha256, place)
        if self._inputs.get(source) != noted:
            assert self._log is not None
            self._log.add(json.dumps({"source": source, **asdict(noted)}) + "\n")
            self._inputs[source] = noted

    def forget_input(self, source: str) -> None:
        """Notes that the content of an input is not known any longer.

        Raises:
            OutputError: it cannot be written.
        """
        self.note_input(source, "", "")

    def work_folder(self, name: str) -> Path:
        """An empty folder for what is not whole yet.

        Raises:
            OutputError: it cannot be made.
        """
        path = self._work / name
        try:
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
        except OSError as error:
            raise write_error(path, error) from error
        return path

    def publish(self, work: Path, source: str, row: Row) -> Path:
        """Makes a folder of results that is whole one of the batch's, in the place of an earlier one of its content.

        Raises:
            OutputError: it cannot be renamed.
        """
        name = row["sha256"][:DIGITS]
        if self._named:
            name = f"{_safe(Path(source).stem)}-{name[:8]}"
        before, aside = self._folders.get(row["sha256"]), self._work / f"{work.name}.before"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            if before:
                os.rename(before, aside)
            target = before or next(path for path in self._candidates(name) if not path.exists())
            os.rename(work, target)
        except OSError as error:
            if before and not before.exists():
                with suppress(OSError):
                    os.rename(aside, before)
            raise write_error(self.folder / name, error) from error
        sync_file(self.folder)
        self._add(target, row)
        shutil.rmtree(aside, ignore_errors=True)
        return target

    def note(self, sha256: str, words: str) -> None:
        """Adds to the note of a result.

        Raises:
            OutputError: it cannot be written.
        """
        folder = self._folders.get(sha256)
        facts = read_summary(folder) if folder else None
        if folder is None or facts is None:
            return
        row = self._rows[sha256]
        said = row.get("note", "")
        if said == words or said.endswith(f"; {words}"):  # it came to the same end again
            return
        row = row | {"note": "; ".join(each for each in (said, words) if each)}
        write_summary(folder, row, facts.get("course") or [])
        self._rows[sha256] = row

    def rows(self, failed: Mapping[str, Row] = MappingProxyType({})) -> list[Row]:
        """A row for each content that an input has, in the order in which the inputs were first looked at.

        A content that no input has any longer, because its file was written on, has none. Nor has one of which no frame
        was measured, where its files are gone. What is left of inputs of one content names it.

        Args:
            failed: rows of contents that have no result, by their hash.
        """
        sources: dict[str, list[str]] = {}
        for source, noted in self._inputs.items():
            sources.setdefault(noted.sha256, []).append(source)
        names = {sha256: {"name": folder.name} for sha256, folder in self._folders.items()}
        rows = {**failed, **self._rows}
        found = []
        for sha256, alike in sources.items():
            if sha256 not in rows:
                continue
            is_lost = rows[sha256]["state"] == FAILED and not rows[sha256].get("measured")
            left = [each for each in alike if not self._is_gone(each)] if is_lost or len(alike) > 1 else alike
            if left or not is_lost:
                first, *others = left or alike
                found.append({**rows[sha256], **names.get(sha256, {}), "source": first, "same_content": others})
        return found

    def _is_gone(self, source: str) -> bool:
        place = self._inputs[source].place
        return bool(place) and not os.path.exists(place)

    @property
    def _work(self) -> Path:
        return self.folder / WORK

    def _candidates(self, name: str) -> list[Path]:
        return [self.folder / name, *(self.folder / f"{name}-{number}" for number in range(2, 1000))]

    def _facts(self) -> dict[str, Any]:
        """What `batch.json` says; empty where there is none.

        Raises:
            OptionError: it is damaged, or of another version.
        """
        path = self.folder / BATCH
        try:
            facts = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or "damaged"
            raise OptionError(f"{path}: cannot be read ({said}); choose another --out") from error
        schema = facts.get("schema") if isinstance(facts, dict) else None
        if schema != SCHEMA:
            raise OptionError(
                f"{path}: is of the form {schema}, and this version writes {SCHEMA}; choose another --out"
            )
        return dict(facts)

    def _read(self) -> None:
        """Takes up what is there."""
        for path in self.folder.iterdir():
            if path.name[0] != "." and (path / FILE).is_file() and (facts := read_summary(path)):
                self._add(path, facts["row"])
        before = self._facts()
        if (before or self._folders) and not self._resume:
            raise OptionError(f"{self.folder}: holds results of a batch; give --resume to go on, or another --out")
        if before:
            check_same_options(self.folder, self._asked, before.get("options") or {})
        for line in _lines(self.folder / INPUTS):
            with suppress(ValueError, LookupError, TypeError):
                facts = json.loads(line)
                noted = _Input(str(facts["stamp"]), str(facts["sha256"]), str(facts.get("place", "")))
                self._inputs[str(facts["source"])] = noted

    def _add(self, folder: Path, row: Row) -> None:
        self._folders[row["sha256"]], self._rows[row["sha256"]] = folder, row


def check_same_options(where: object, asked: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Results of unlike options in one table would be taken for alike.

    Raises:
        OptionError: what is there was made with other options.
    """
    unlike = [name for name in asked if name in before and before[name] != asked[name]]
    if unlike:
        name = unlike[0]
        raise OptionError(
            f"{where}: its results were made with {name} {before[name]}, and this asks for {asked[name]}; give the same"
            " options, or another --out"
        )


def check_same_model(where: object, model: Mapping[str, Any], before: Mapping[str, Any] | None) -> None:
    """Likewise of models; `before` is None where none is known yet.

    Raises:
        OptionError: what is there was made with another model.
    """
    if before is not None and before != dict(model):
        raise OptionError(
            f"{where}: its results are of the model {str(before.get('sha256', ''))[:8]}, and this is"
            f" {str(model['sha256'])[:8]}; choose another --out"
        )


def _lines(path: Path) -> list[bytes]:
    """Whole lines: one that a kill cut off is left out."""
    try:
        return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    except OSError:
        return []


def _safe(name: str) -> str:
    """A name as every file system takes it."""
    safe = re.sub(r"[^\w.-]+", "_", name).strip("._").encode()
    return safe[:_LONGEST_BYTES].decode(errors="ignore") or "recording"
