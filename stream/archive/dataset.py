"""The dataset of an archive: once for each content, whatever dies when.

    archive.json                                what was asked for; the same for all results in it
    frames/model=0f3a9c.../shard=3f/SHA.parquet a loop's frames, written by the worker that measured it, in one piece
    loops/model=0f3a9c.../part-....parquet      rows of the summary, written by the command
    loops/model=0f3a9c.../failed.parquet        of the loops that could not be measured this time, replaced as a whole
    _inputs/part-....parquet                    which input had which content; readers of datasets pass it over
    _parts/model=0f3a9c.../SHA/...              parts of a long recording, until they are one file of frames

A file of frames has its loop's row in it, so it alone decides what is done: rows that the command could not
write before it died are read from there.
"""

from __future__ import annotations

import io
import json
import uuid
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Self

from stream.archive.frames_table import row_in
from stream.archive.locations import PART_SUFFIX, Location
from stream.archive.parts.plan import PARTS, clear_folder
from stream.batch.reporting.tables import arrow_table
from stream.batch.store import check_same_model, check_same_options
from stream.common.atomic_file import write_error
from stream.common.errors import OptionError, OutputError
from stream.common.folder_lock import locked_folder
from stream.outputs.manifest import NOTICE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from types import TracebackType

    from stream.batch.summary import Row

SCHEMA = "partum.archive/1"
FACTS, FRAMES, LOOPS, INPUTS, UNDONE = "archive.json", "frames", "loops", "_inputs", "failed.parquet"
KEPT = ("sha256", "name", "state", "error")
"""Of a row, in the memory of the command: there may be millions."""
MODEL_DIGITS, SHARD_DIGITS = 16, 2


def frames_location(dataset: Location, model_sha256: str, sha256: str) -> Location:
    """Where the frames of a content are."""
    shard = f"shard={sha256[:SHARD_DIGITS]}"
    return dataset / f"{FRAMES}/model={model_sha256[:MODEL_DIGITS]}/{shard}/{sha256}.parquet"


def parts_location(dataset: Location, model_sha256: str, sha256: str) -> Location:
    """Where the parts of a long recording are until they are joined."""
    return dataset / f"{PARTS}/model={model_sha256[:MODEL_DIGITS]}/{sha256}"


def check_is_there(dataset: Location) -> None:
    """Sees that a folder was not removed or unmounted in the middle of a run: a new one in its place lacks results.

    Raises:
        OutputError: it was.
    """
    if dataset.is_local and not (dataset / FACTS).exists():
        raise OutputError(f"{dataset}: is gone; put it back, and go on with --resume")


class ArchiveDataset:
    """The dataset as its one writer of rows sees it; a context manager.

    Args:
        location: of it; a folder is made where it is not there.
        asked: the options that all results in it share, as JSON values.
        resume: goes on with what is there; without it there must be nothing.
    """

    def __init__(self, location: Location, *, asked: Mapping[str, Any], resume: bool) -> None:
        self.location, self._asked, self._resume = location, dict(asked), resume
        self.run_id = uuid.uuid4().hex[:12]
        self._held = ExitStack()
        self._model = ""
        self._rows: dict[str, Row] = {}
        self._contents: dict[str, tuple[str, ...]] = {}
        self._new_rows: list[Row] = []
        self._new_inputs: list[dict[str, str | None]] = []
        self._had_undone = False
        self._parts = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            if self.location.is_local:
                folder = Path(self.location.path)
                try:
                    stack.enter_context(locked_folder(folder))
                except BlockingIOError as error:
                    raise OutputError(f"{folder}: another process writes results there; wait for its end") from error
                except OSError as error:
                    raise write_error(folder, error) from error
            before = self._facts()
            if before and not self._resume:
                raise OptionError(f"{self.location}: holds an archive; give --resume to go on, or another --out")
            check_same_options(self.location, self._asked, before.get("options") or {})
            self._held = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def begin(self, model: Mapping[str, Any]) -> None:
        """Notes what was asked for, and the model that answers it; takes up what is there.

        Raises:
            OptionError: what is there was made with another model.
            OutputError: it cannot be written.
        """
        check_same_model(self.location, model, self._facts().get("model"))
        self._model = str(model["sha256"])
        facts = {
            "schema": SCHEMA,
            "notice": NOTICE,
            "options": self._asked,
            "model": dict(model),
            "run": self.run_id,
        }
        (self.location / FACTS).put((json.dumps(facts, indent=2, allow_nan=False) + "\n").encode())
        self._take_up()

    def __contains__(self, sha256: str) -> bool:
        """Whether there is a result of this content."""
        return sha256 in self._rows

    @property
    def rows(self) -> Mapping[str, Row]:
        """What is kept in memory, `KEPT`, of the rows of contents with a result, by their hash."""
        return self._rows

    @property
    def model_sha256(self) -> str:
        """Of the model that answers."""
        return self._model

    def contents_of(self, key: str) -> Sequence[str] | None:
        """Hashes of what an input held that looks the same as then; None where it was never looked at, or not done."""
        known = self._contents.get(key)
        return known if known is not None and all(sha256 in self._rows for sha256 in known) else None

    def add(self, row: Row) -> None:
        """A content has a result."""
        if row["sha256"] not in self._rows:
            self._rows[row["sha256"]] = {name: row.get(name) for name in KEPT}
            self._new_rows.append(row)

    def note_input(self, key: str, contents: Sequence[str], source: str | None) -> None:
        """Notes what an input holds.

        Args:
            key: what it looked like (`ArchiveInput.key`).
            contents: hashes.
            source: what it is called, where names may be written.
        """
        if self._contents.get(key) != tuple(contents):
            self._contents[key] = tuple(contents)
            self._new_inputs.append({"key": key, "contents": " ".join(contents), "source": source})

    def write(self, undone: Iterable[Row] = ()) -> None:
        """Writes what has come since the last call.

        Args:
            undone: rows of what has no result; they take the place of those that were written before.

        Raises:
            OutputError: it cannot be written; the next call tries again.
        """
        check_is_there(self.location)
        loops, undone = self.location / f"{LOOPS}/{self._partition}", list(undone)
        if self._new_rows:
            (loops / self._part()).put(self._loops_file(self._new_rows))
            self._new_rows = []
        if self._new_inputs:
            (self.location / f"{INPUTS}/{self._part()}").put(_inputs_file(self._new_inputs))
            self._new_inputs = []
        if undone:
            (loops / UNDONE).put(self._loops_file(undone))
        elif self._had_undone:
            (loops / UNDONE).remove()
        self._had_undone = bool(undone)

    def clear_parts(self, *, keep: Collection[str] = ()) -> None:
        """Removes parts of long recordings that nobody waits for: of contents that no input has any longer.

        Args:
            keep: hashes of contents whose parts the next run goes on with.

        Raises:
            OutputError: one cannot be removed.
        """
        folder = self.location / f"{PARTS}/{self._partition}"
        known = {PurePosixPath(entry.location.path).parent.name for entry in folder.entries()}
        for sha256 in known - set(keep):
            clear_folder(folder / sha256)

    @property
    def _partition(self) -> str:
        return f"model={self._model[:MODEL_DIGITS]}"

    def _part(self) -> str:
        self._parts += 1
        return f"part-{self.run_id}-{self._parts:05d}.parquet"

    def _loops_file(self, rows: Sequence[Row]) -> bytes:
        from importlib import metadata

        import pyarrow.parquet as pq

        facts = {
            "partum.schema": SCHEMA,
            "partum.notice": NOTICE,
            "partum.version": metadata.version("partum"),
            "partum.model_sha256": self._model,
        }
        written = io.BytesIO()
        pq.write_table(arrow_table(rows).replace_schema_metadata(facts), written, compression="zstd")
        return written.getvalue()

    def _take_up(self) -> None:
        """Reads what is there; what a writer that died left half is removed."""
        loops = self.location / f"{LOOPS}/{self._partition}"
        for entry in loops.entries():
            if entry.location.name == UNDONE:
                self._had_undone = True
            elif entry.location.name.endswith(".parquet"):
                for row in _read(entry.location, KEPT):
                    self._rows[row["sha256"]] = row
        for entry in (self.location / INPUTS).entries():
            if entry.location.name.endswith(".parquet"):
                for row in _read(entry.location, ("key", "contents")):
                    self._contents[row["key"]] = tuple(row["contents"].split())
        for entry in (self.location / f"{FRAMES}/{self._partition}").entries():
            sha256, _, suffix = entry.location.name.partition(".")
            if entry.location.name.endswith(PART_SUFFIX):
                entry.location.remove()
            elif suffix == "parquet" and sha256 not in self._rows and (found := row_in(entry.location)):
                self.add(found)
        for entry in (self.location / f"{PARTS}/{self._partition}").entries():
            sha256 = PurePosixPath(entry.location.path).parent.name
            if sha256 in self._rows or entry.location.name.endswith(PART_SUFFIX):
                entry.location.remove()

    def _facts(self) -> dict[str, Any]:
        data = (self.location / FACTS).read()
        try:
            facts = json.loads(data) if data else {}
        except ValueError:
            return {}
        return facts if isinstance(facts, dict) else {}


def _read(location: Location, columns: Sequence[str]) -> list[dict[str, Any]]:
    """All rows of a small file; none of one that is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with location.open() as file:
        try:
            rows: list[dict[str, Any]] = pq.read_table(file, columns=list(columns)).to_pylist()
        except pa.ArrowInvalid:
            return []
    return rows


def _inputs_file(inputs: Sequence[Mapping[str, str | None]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.string()) for name in ("key", "contents", "source")])
    written = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(inputs), schema=schema), written, compression="zstd")
    return written.getvalue()
