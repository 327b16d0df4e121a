"""A finished run, read from its folder: manifest, records, marks, edits, and the pictures where they can be had."""

from __future__ import annotations

import json
import math
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream.common.errors import OptionError, RunUnreadable
from stream.labour.run_table import RunTable, check_schema
from stream.outputs import manifest
from stream.outputs.marks import MARK_SCHEMA, MarkKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

RUNNING = "running"
MADE = ("ANIMATED", "SIMULATED")
"""How the note of a source begins whose pictures are not of one scan of a person: the demonstration, a phantom."""
MANIFEST, TABLE, MARKS, EDITS = "run.json", "measurements.jsonl", "marks.jsonl", "edits.jsonl"
NO_RUN = "is not the folder of a run; name the one that `partum replay` or `partum attach` wrote"


class RecordedRun:
    """The folder of a run, opened for reading; nothing in it is changed.

    Manifest and table are read when it is opened, everything else when it is asked for.

    Args:
        folder: of the run: the one with `run.json`.
        unfinished: whether a run that never ended (it still runs, or was killed) is read as far as it came.

    Attributes:
        folder: of the run.
        manifest: `run.json`, as written.
        table: a row for each frame.

    Raises:
        RunUnreadable: there is no run, it has not ended, it is damaged, or was written by another version.
    """

    def __init__(self, folder: Path, *, unfinished: bool = False) -> None:
        self.folder = Path(folder)
        self.manifest = _read_manifest(self.folder)
        if self.status == RUNNING and not unfinished:
            raise RunUnreadable(
                f"{self.folder}: the run has not ended: it still runs, or was killed before its end; wait for its end,"
                " or give --unfinished to take it as far as it came"
            )
        self.table = RunTable(self.folder / TABLE, is_cut_off=self.status != "complete")
        counted = (self.manifest.get("results") or {}).get("frames_in")
        if self.status == "complete" and counted is not None and counted != len(self.table):
            raise RunUnreadable(
                f"{self.folder / TABLE}: holds {len(self.table)} frames where {MANIFEST} counts {counted}; it was"
                " changed after the run"
            )

    def __len__(self) -> int:
        """How many frames were read."""
        return len(self.table)

    def __repr__(self) -> str:
        return f"<RecordedRun {self.folder}: {len(self)} frames, {self.status}>"

    @property
    def status(self) -> str:
        """How it ended: `complete`, `interrupted`, `failed`, or `running` where it never did."""
        return str(self.manifest["status"])

    @property
    def started(self) -> datetime:
        """When the run began, with its time zone; of a replay that is not when it was scanned."""
        return datetime.fromisoformat(self.manifest["started_utc"])

    @property
    def is_live(self) -> bool:
        return bool(self.options.get("live"))

    @property
    def options(self) -> Mapping[str, Any]:
        """Every option of the run, as in `run.json`."""
        return self.manifest["options"]  # type: ignore[no-any-return]

    @property
    def source(self) -> Mapping[str, Any]:
        """What was read: uri, kind, width, height, frame_rate_declared_hz, spacing_mm, note."""
        return self.manifest["source"]  # type: ignore[no-any-return]

    @property
    def made_note(self) -> str:
        """What must be said of pictures that were animated or simulated; empty of a recording of a person."""
        note = str(self.source.get("note") or "")
        said = f"{note}. Its rises of AoP are made as well: none is a push of a woman"
        return said if note.startswith(MADE) else ""

    @property
    def model(self) -> Mapping[str, Any]:
        """name, sha256, plane_threshold."""
        return self.manifest["model"]  # type: ignore[no-any-return]

    @property
    def protocol(self) -> str:
        """How AoP and HSD were measured."""
        return str(self.options.get("protocol"))

    @cached_property
    def marks(self) -> Sequence[Mapping[str, Any]]:
        """The moments that people marked, in order; empty where there are none."""
        return self.read_marks()

    def read_marks(self) -> Sequence[Mapping[str, Any]]:
        """The same, read anew at each call: marks may be added to a finished run."""
        return read_json_lines(self.folder / MARKS, schema=MARK_SCHEMA, check=self._check_mark)

    def edits(self, *, schema: str, check: Callable[[Mapping[str, Any]], None]) -> Sequence[Mapping[str, Any]]:
        """What was corrected in review, in order; empty where nothing was. Read anew at each call."""
        return read_json_lines(self.folder / EDITS, schema=schema, check=check)

    def _check_mark(self, mark: Mapping[str, Any]) -> None:
        """Raises ValueError where a mark is not what one is."""
        self.check_place(mark)
        check_utc(mark.get("marked_utc"))
        if not isinstance(mark.get("mark"), int):
            raise ValueError(f"mark is {mark.get('mark')!r}")
        if mark.get("kind", MarkKind.MARK) not in [*MarkKind]:
            raise ValueError(f"kind is {mark['kind']!r}")

    def check_place(self, line: Mapping[str, Any]) -> None:
        """Raises ValueError where a line of a mark or an edit names no frame of the run."""
        index = line.get("index")
        if not isinstance(index, int) or not 0 <= index < len(self):
            raise ValueError(f"index is {index!r}, and the run has {len(self)} frames")
        for name, form in (("pts_s", (int, float)), ("segment", int)):
            if not isinstance(line.get(name), form) or not math.isfinite(line[name]):
                raise ValueError(f"{name} is {line.get(name)!r}")


def check_utc(moment: object) -> None:
    """Raises ValueError where this is no time with its zone."""
    if not isinstance(moment, str) or datetime.fromisoformat(moment).tzinfo is None:
        raise ValueError(f"{moment!r} is no time with its zone")


def open_runs(folders: Sequence[Path], *, unfinished: bool = False) -> Sequence[RecordedRun]:
    """Several runs, in the order given.

    Raises:
        OptionError: one is given twice, by whatever path, or is a copy of another: it would count twice.
        RunUnreadable: see `RecordedRun`.
    """
    runs: list[RecordedRun] = []
    known: dict[str, Path] = {}
    for folder in folders:
        run = RecordedRun(folder, unfinished=unfinished)
        same = str(run.manifest.get("run_id") or folder.resolve())
        if same in known:
            raise OptionError(f"{folder}: is the same run as {known[same]}; name each run once")
        known[same] = folder
        runs.append(run)
    return runs


def read_json_lines(path: Path, *, schema: str, check: Callable[[Mapping[str, Any]], None]) -> Sequence[dict[str, Any]]:
    """The objects of a file of JSON lines; none where there is no such file. A last line that is cut off is left out.

    Args:
        path: of the file.
        schema: of each object.
        check: raises ValueError, TypeError or KeyError where an object is not what it should be.

    Raises:
        RunUnreadable: it cannot be read, or a line is no such object.
    """
    if not path.exists():
        return ()
    found: list[dict[str, Any]] = []
    try:
        for line in path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            found.append(json.loads(line))
            check_schema(found[-1].get("schema"), schema)
            check(found[-1])
    except OSError as error:
        raise RunUnreadable(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError) as error:
        said = " ".join(str(error).split())[:200]
        raise RunUnreadable(f"{path}: line {max(1, len(found))} cannot be read ({said})") from error
    return tuple(found)


def _read_manifest(folder: Path) -> dict[str, Any]:
    """`run.json`, with the parts that everything rests on."""
    path = folder / MANIFEST
    if not folder.is_dir():
        why = "is a file and" if folder.exists() else "does not exist, so it"
        raise RunUnreadable(f"{folder}: {why} {NO_RUN}")
    if not path.exists():
        inside = sorted(each.parent.name for each in folder.glob(f"*/{MANIFEST}"))
        several = (
            f"{folder}: holds {len(inside)} runs; name one of them, such as {folder / inside[0]}" if inside else ""
        )
        raise RunUnreadable(several or f"{folder}: {NO_RUN}")
    try:
        facts = json.loads(path.read_bytes())
        if not isinstance(facts, dict):
            raise ValueError("it is no object")
        check_schema(facts.get("schema"), manifest.SCHEMA)
        for name in ("options", "source", "model"):
            if not isinstance(facts.get(name), dict):
                raise ValueError(f"{name} is missing")
        if not isinstance(facts.get("status"), str):
            raise ValueError("status is missing")
        if datetime.fromisoformat(str(facts.get("started_utc"))).tzinfo is None:
            raise ValueError("started_utc has no time zone")
    except OSError as error:
        raise RunUnreadable(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        said = " ".join(str(error).split())[:200]
        raise RunUnreadable(f"{path}: is no manifest that can be read ({said})") from error
    return facts
