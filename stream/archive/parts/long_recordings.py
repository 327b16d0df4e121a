"""What a worker does of a long recording: plans its parts, measures one, or joins them once all are there."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from engines.errors import PartumError
from stream.archive.frames_table import frames_file, join_frames, row_in
from stream.archive.parts.measure import RECORDS, PartResult, joined_row, measure_part, wrong_beginnings
from stream.archive.parts.plan import clear_folder, read_plan
from stream.archive.parts.planning import LEAST_PARTS, length_s, make_plan
from stream.batch.content import hash_of, stamp_of
from stream.batch.measuring import is_final
from stream.common.errors import SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from engines.base import Engine
    from stream.app.options.session_options import SessionOptions
    from stream.archive.locations import Location
    from stream.archive.parts.plan import Plan, RecordingPart
    from stream.batch.recordings import Recording
    from stream.batch.summary import Row


@dataclass(frozen=True, slots=True)
class PartRequest:
    """A part of a recording that is to be measured.

    Attributes:
        sha256: of the recording.
        begin: the first frame of the part.
        is_refused_before: whether the frame before it was refused; None where nobody has found out yet.
    """

    sha256: str
    begin: int
    is_refused_before: bool | None = None


class LongRecordings:
    """Long recordings of one dataset, as a worker sees them.

    Args:
        folder_of: where the parts of a content are, by its hash.
        session: how recordings are measured.
        engine: stays open.
        least_s: seconds that a part has at least; 0 leaves every recording whole.
        shown: a text about a recording, as it may be written; given with the recording and its hash.
    """

    def __init__(
        self,
        folder_of: Callable[[str], Location],
        *,
        session: SessionOptions,
        engine: Engine,
        least_s: float,
        shown: Callable[[str, Recording, str], str],
    ) -> None:
        self._folder_of, self._session, self._engine, self._least_s = folder_of, session, engine, least_s
        self._shown = shown

    def plan(self, recording: Recording, sha256: str) -> Plan | None:
        """The parts of a recording, found now unless they are known; None of one that is measured as a whole."""
        folder = self._folder_of(sha256)
        if not self._least_s or self._session.stills or length_s(recording) < LEAST_PARTS * self._least_s:
            return None
        known = read_plan(folder)
        if known is not None:
            return known
        clear_folder(folder)  # of another version
        plan = None
        try:
            plan = make_plan(
                recording,
                session=self._session,
                least_s=self._least_s,
                put=lambda name, data: (folder / name).put(data),
                shown=lambda text: self._shown(text, recording, sha256),
            )
        except PartumError as error:
            if not is_final(error):  # else it has a row as a whole, which says so
                raise
        if plan is None:
            clear_folder(folder)
        return plan

    def missing(self, plan: Plan, sha256: str) -> Sequence[PartRequest]:
        """The parts that are not measured yet, or began with what turned out to be wrong."""
        results = self._results(plan, sha256)
        missing = [PartRequest(sha256, part.begin) for part in plan.parts if part.begin not in results]
        if missing:
            return missing
        wrong = wrong_beginnings([results[part.begin] for part in plan.parts])
        return [PartRequest(sha256, begin, is_refused) for begin, is_refused in wrong.items()]

    def measure(self, recording: Recording, request: PartRequest, scratch: Path) -> None:
        """Measures a part; its frames are in the dataset's folder for parts when this returns.

        Raises:
            PartumError: what another try, or another machine, may mend.
        """
        folder = self._folder_of(request.sha256)
        plan = read_plan(folder)
        part = next((each for each in plan.parts if each.begin == request.begin), None) if plan else None
        stamp = stamp_of(recording)
        if part is None or hash_of(recording) != request.sha256:
            raise SourceUnavailable(f"{recording.source}: is not what it was when it was cut into parts; try again")
        target = folder / f"{part.name}.parquet"
        if request.is_refused_before is None and self._result(folder, part) is not None:
            return
        results = scratch / "results"
        results.mkdir()
        try:
            found = measure_part(
                recording,
                part,
                (folder / f"{part.name}.log").read() or b"",
                session=self._session,
                engine=self._engine,
                folder=results,
                is_refused_before=request.is_refused_before,
            )
            if stamp_of(recording) != stamp:
                raise SourceUnavailable(f"{recording.source}: was written to while it was measured; try again")
            warnings = [self._shown(each, recording, request.sha256) for each in found.warnings]
            facts = self._facts(request.sha256) | {"result": found.as_json() | {"warnings": warnings}}
            target.put(frames_file(results / RECORDS, facts))
        finally:
            shutil.rmtree(results, ignore_errors=True)

    def joined(self, plan: Plan, sha256: str, named: Callable[[Row], Row]) -> tuple[Row, bytes]:
        """The row of a recording whose parts are all there, and the file of its frames.

        Args:
            plan: of it.
            sha256: of it.
            named: gives the row its names.
        """
        results, folder = self._results(plan, sha256), self._folder_of(sha256)
        ordered = [results[part.begin] for part in plan.parts]
        row = named(joined_row(plan, ordered, session=self._session, engine=self._engine, sha256=sha256))
        return row, join_frames(self._tables(folder, plan, ordered), row)

    def clear(self, sha256: str) -> None:
        """Removes the parts of a recording that is joined."""
        clear_folder(self._folder_of(sha256))

    def _tables(self, folder: Location, plan: Plan, results: Sequence[PartResult]) -> Iterator[tuple[Location, int]]:
        """The files of the parts, and how many segments those before each began beyond what preprocessing knew of."""
        more = 0
        for part, result in zip(plan.parts, results, strict=True):
            yield folder / f"{part.name}.parquet", more
            more += result.more_segments

    def _results(self, plan: Plan, sha256: str) -> Mapping[int, PartResult]:
        folder = self._folder_of(sha256)
        found = {part.begin: self._result(folder, part) for part in plan.parts}
        return {begin: result for begin, result in found.items() if result is not None}

    def _result(self, folder: Location, part: RecordingPart) -> PartResult | None:
        target = folder / f"{part.name}.parquet"
        facts = row_in(target) if target.exists() else None
        if not facts or {name: facts.get(name) for name in self._facts("")} != self._facts(str(facts.get("sha256"))):
            return None
        result = facts["result"]
        return PartResult(**(result | {"warnings": tuple(result["warnings"])}))

    def _facts(self, sha256: str) -> dict[str, Any]:
        return {
            "sha256": sha256,
            "model_sha256": self._engine.spec.sha256,
            "partum": metadata.version("partum"),
        }
