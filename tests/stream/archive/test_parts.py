"""A long recording that is measured in parts has the rows of one that is measured as a whole; without a cluster."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from stream.app.options.session_options import SessionOptions
from stream.archive.inputs import InputFinder
from stream.archive.locations import Location
from stream.archive.measuring import ArchiveJob, ArchiveWorker
from stream.archive.parts.long_recordings import PartRequest
from stream.archive.parts.part_source import LoggedPreprocessor, PartSource
from stream.archive.parts.plan import RecordingPart, clear_folder, read_plan
from stream.archive.parts.planning import Planner, length_s
from stream.archive.parts.waiting import MOST_REQUESTS, WaitingForParts
from stream.batch.content import hash_of, stamp_of
from stream.batch.measuring import measure_job
from stream.batch.recordings import Job, Recording
from stream.batch.summary import COLUMNS
from stream.common.errors import SourceUnavailable, SourceUnreadable
from stream.frames.frame import Frame, SegmentCause
from stream.frames.reason import Reason
from stream.measurement.biometry import Orientation
from stream.outputs.recorder import Recorder
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record_fields import CLOCK_FIELDS, flatten
from stream.preprocessing.preprocessor import FramePreprocessor
from stream.sources.base import SourceInfo
from stream.sources.files.video import VideoSource
from stream.sources.recorded import RecordedSource
from stream.sources.recording_base import RecordingSource
from tests.fakes.doubles import GreyLevelEngine
from tests.samples.source_files import CLOCK, from_grey, write_metaimage, write_video
from tests.stream.archive.long_film import CLIP, demo, write_long_film

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from engines.base import Engine
    from stream.archive.inputs import ArchiveInput
    from stream.archive.measuring import Outcome

pq = pytest.importorskip("pyarrow.parquet", reason="needs the package pyarrow")
NAMES = {"name", "source", "same_content"}
PART_S = 0.5
COUNT = 82
"""Pictures of the film up to a few behind the change of depth."""


class NoOthers:
    """A `stream.archive.measuring.Claims` where there is nobody else."""

    def begin(self, key: str) -> None:
        """Nothing is noted."""

    def claim(self, sha256: str, key: str) -> bool:
        """All is this worker's."""
        return True


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_long_film(tmp_path_factory.mktemp("film") / "long.mp4")


@pytest.fixture(scope="module")
def whole(
    film: Path, loaded_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], list[Any]]:
    """Row and frames as `partum batch` makes them."""
    folder = tmp_path_factory.mktemp("whole")
    recording = Recording(str(film), str(film))
    job = Job(recording, hash_of(recording), stamp_of(recording), folder)
    row = measure_job(job, options=SessionOptions(tables_only=True), engine=loaded_engine, threads=1)
    lines = (folder / "measurements.jsonl").read_text().splitlines()
    return row, [flatten(json.loads(line)) for line in lines]


def worker_of(folder: Path, engine: Engine, **session: Any) -> ArchiveWorker:
    job = ArchiveJob(
        dataset=Location.parse(str(folder)),
        session=SessionOptions(**session),
        threads=1,
        is_named=False,
        part_s=PART_S,
    )
    return ArchiveWorker(job, engine, NoOthers())


def unit_of(path: Path) -> ArchiveInput:
    (unit,), _, _ = InputFinder().inputs([str(path)])
    return unit


def measured(worker: ArchiveWorker, unit: ArchiveInput, requests: Sequence[PartRequest]) -> Outcome:
    """Measures parts, the last first, as a cluster may; returns what then comes of the whole."""
    for request in reversed(requests):
        outcome = worker.measure(unit.with_part(request))
        assert outcome.error is None, outcome.error
        assert not outcome.rows
    return worker.measure(unit)


def check_same(row: Any, folder: Path, whole: tuple[dict[str, Any], list[Any]]) -> None:
    expected, records = whole
    for name in set(COLUMNS) - NAMES:
        assert row.get(name) == expected.get(name), name
    (file,) = folder.rglob("*.parquet")
    frames = pq.read_table(file, partitioning=None).to_pylist()
    assert len(frames) == len(records) == expected["frames"]
    for ours, theirs in zip(frames, records, strict=True):
        for name in set(theirs) - set(CLOCK_FIELDS):
            assert ours[name] == theirs[name], (name, ours["index"])
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {file.name}, "no part is left"


@pytest.mark.slow
def test_parts_joined_have_the_row_and_the_frames_of_the_whole(
    film: Path, loaded_engine: Engine, whole: tuple[dict[str, Any], list[Any]], tmp_path: Path
) -> None:
    """Also where parts took the frame before them for what it was not: those are measured once more."""
    worker, unit = worker_of(tmp_path, loaded_engine), unit_of(film)
    asked = worker.measure(unit)
    assert len(asked.parts) >= 5
    assert not asked.rows
    is_refused = {part.begin: whole[1][part.begin - 1]["state"] == "refused" for part in asked.parts[1:]}
    wrong = [replace(part, is_refused_before=not is_refused[part.begin]) for part in asked.parts[1:3]]
    again = measured(worker, unit, [asked.parts[0], *wrong, *asked.parts[3:]]).parts
    assert {part.begin: part.is_refused_before for part in again} == {
        part.begin: is_refused[part.begin] for part in wrong
    }
    (row,) = measured(worker, unit, again).rows
    check_same(row, tmp_path, whole)
    assert {"cut", "orientation", "depth"} <= {record["segment_cause"] for record in whole[1]}
    assert set(is_refused.values()) == {True, False}


@pytest.mark.slow
def test_a_recording_that_ends_damaged_says_so_when_it_is_measured_in_parts(
    film: Path, loaded_engine: Engine, tmp_path: Path
) -> None:
    cut = write_long_film(tmp_path / "SMITH_cut.avi", count=50)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 3 // 4])
    recording = Recording(str(cut), str(cut))
    (tmp_path / "whole").mkdir()
    job = Job(recording, hash_of(recording), stamp_of(recording), tmp_path / "whole")
    row = measure_job(job, options=SessionOptions(tables_only=True), engine=loaded_engine, threads=1)
    lines = (tmp_path / "whole" / "measurements.jsonl").read_text().splitlines()
    worker, unit = worker_of(tmp_path / "out", loaded_engine), unit_of(cut)
    asked = worker.measure(unit)
    assert len(asked.parts) > 1
    assert b"SMITH" not in b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*.*"))
    (ours,) = measured(worker, unit, asked.parts).rows
    assert ours["state"] == row["state"] == "failed"
    row["error"] = row["error"].replace(str(cut), ours["name"])
    check_same(ours, tmp_path / "out", (row, [flatten(json.loads(line)) for line in lines]))


@pytest.mark.parametrize("codec", ["libx264", "mjpeg"])
def test_decoding_from_an_entry_gives_the_pictures_of_decoding_from_the_start(codec: str, tmp_path: Path) -> None:
    """And an entry that is wrong is found out."""
    film = write_long_film(tmp_path / "film.mkv", codec=codec, count=5 * CLIP, gop=20)
    with VideoSource(film, clock=CLOCK) as source:
        frames = [(frame.image.copy(), source.entry) for frame in source]
    begin = 4 * CLIP
    entry = frames[begin - 1][1]
    assert entry is not None
    assert entry.picture > 0
    checksum = zlib.crc32(frames[begin - 1][0].tobytes()), zlib.crc32(frames[begin][0].tobytes())
    part = RecordingPart(begin=begin, end=begin + 9, before=begin - 1, checksum=checksum)
    info = SourceInfo(uri="", kind="", width=1, height=1)
    for at in ((entry.packet, entry.picture), (entry.packet, entry.picture + 1), None):
        part_source = PartSource(
            Recording(str(film), str(film)), replace(part, entry=at), clock=CLOCK, spacing=None, info=info
        )
        found = list(part_source)
        assert [frame.index for frame in found] == list(range(begin - 1, begin + 9))
        for frame in found:
            np.testing.assert_array_equal(frame.image, frames[frame.index][0])


@pytest.mark.parametrize("kind", ["native", "rle", "jpeg", "h264", "raw stack", "compressed stack"])
def test_a_part_of_a_dicom_file_or_a_stack_has_the_frames_of_the_whole(kind: str, tmp_path: Path) -> None:
    pictures = np.stack(demo(2 * CLIP))[:, ::4, ::4]
    path = _write(tmp_path, kind, np.ascontiguousarray(pictures))
    recording = Recording(str(path), str(path))
    assert length_s(recording) == pytest.approx(2 * CLIP / 25)
    with recording.open(clock=CLOCK, spacing=None) as source:
        assert isinstance(source, RecordingSource)
        frames = [(frame.image.copy(), source.entry) for frame in source]
    begin = 20
    entry = frames[begin - 1][1]
    if kind == "compressed stack":
        assert entry is None
    else:
        assert entry is not None
        assert entry.picture > 0
    checksum = zlib.crc32(frames[begin - 1][0].tobytes()), zlib.crc32(frames[begin][0].tobytes())
    part = RecordingPart(
        begin=begin,
        end=begin + 5,
        before=begin - 1,
        entry=(entry.packet, entry.picture) if entry else None,
        checksum=checksum,
    )
    info = SourceInfo(uri="", kind="", width=1, height=1)
    source = PartSource(recording, part, clock=CLOCK, spacing=None, info=info)
    found = list(source._read() if entry is None else source._from_entry(entry))
    assert [frame.index for frame in found] == list(range(begin - 1, begin + 5))
    for each in found:
        np.testing.assert_array_equal(each.image, frames[each.index][0])


def _write(folder: Path, kind: str, pictures: NDArray[np.uint8]) -> Path:
    """Grey pictures as a file of this kind."""
    if kind.endswith("stack"):
        return write_metaimage(folder / "loop.mha", pictures, compressed=kind.startswith("compressed"))
    pytest.importorskip("pydicom", reason="needs the package pydicom")
    from pydicom.uid import MPEG4HP41

    from tests.samples import dicom_files as dicom

    path = folder / "loop.dcm"
    if kind == "h264":
        film = write_video(folder / "film.mp4", map(from_grey, pictures), gop=10)
        facts: dict[str, Any] = {"photometric": "YBR_PARTIAL_420", "has_table": False, "NumberOfFrames": len(pictures)}
        return dicom.encapsulated(path, [film.read_bytes()], pictures.shape[1:], syntax=MPEG4HP41, **facts)
    if kind == "jpeg":
        return dicom.encapsulated(path, [dicom.jpeg(each) for each in pictures], pictures.shape[1:])
    dicom.native(path, pictures)
    return path if kind == "native" else dicom.compressed(path, "1.2.840.10008.1.2.5")


def test_a_recorded_stream_is_read_from_any_frame_on(tmp_path: Path) -> None:
    film = write_long_film(tmp_path / "film.mp4", count=COUNT)
    recorder = Recorder(tmp_path / "recording", note="")
    with (
        VideoSource(film, clock=CLOCK) as source,
        Pipeline(source, GreyLevelEngine(), preprocessor=FramePreprocessor(is_live=False)) as pipeline,
    ):
        for measurement in pipeline:
            recorder.write(measurement)
    recorder.close()

    def read(begin: int) -> list[tuple[Any, ...]]:
        with RecordedSource(tmp_path / "recording", clock=CLOCK, begin=begin) as recorded:
            return [(each.index, each.pts, each.segment, each.spacing, each.image.tobytes()) for each in recorded]

    whole = read(0)
    assert len(whole) == COUNT
    assert len({len(pixels) for *_, pixels in whole}) > 1, "a new file begins where the size changes"
    for begin in (1, CLIP + 1, COUNT - 1):
        assert read(begin) == whole[begin:]


def frame(index: int, segment: int, cause: SegmentCause) -> Frame:
    return Frame(
        image=np.full((8, 8), index % 256, np.uint8),
        index=index,
        pts=index,
        time_base=Fraction(1, 25),
        captured_ns=0,
        segment=segment,
        segment_cause=cause,
    )


def planned(orientation: Orientation, causes: Sequence[SegmentCause], *, drop: bool = False) -> Sequence[RecordingPart]:
    """The parts of a recording with segments of ten frames that begin so."""
    planner = Planner(orientation, least_frames=15, put=lambda name, data: None)
    for segment, cause in enumerate(causes):
        for number in range(10):
            each = frame(10 * segment + number, segment, cause)
            planner.add(each, each, Reason.REPEATED if drop and number > 4 else None)
    return planner.finish()


START, CUT, FLIP = SegmentCause.START, SegmentCause.CUT, SegmentCause.ORIENTATION


def test_parts_begin_where_segments_do_once_they_are_long_enough() -> None:
    parts = planned(Orientation.AUTO, [START, CUT, CUT, FLIP, CUT])
    assert [(part.begin, part.end, part.before) for part in parts] == [(0, 20, None), (20, 40, 19), (40, 50, 39)]
    assert planned(Orientation.AUTO, [START])[0].end == 10


def test_the_frame_before_a_part_is_the_last_one_that_was_looked_at() -> None:
    parts = planned(Orientation.AUTO, [START, CUT, CUT], drop=True)
    assert [part.before for part in parts] == [None, 14]


def test_behind_a_flip_that_ended_what_the_user_said_nothing_is_cut() -> None:
    assert [part.begin for part in planned(Orientation.NORMAL, [START, CUT, FLIP, CUT, CUT, CUT])] == [0, 20]
    loop = SegmentCause.LOOP
    assert [part.begin for part in planned(Orientation.NORMAL, [START, FLIP, CUT, loop, CUT, CUT])] == [0, 40]


def test_inputs_of_one_content_wait_for_the_same_parts(film: Path) -> None:
    waiting, unit = WaitingForParts(), unit_of(film)
    twin = replace(unit, key="twin")
    requests = [PartRequest("a" * 64, begin) for begin in (0, 20)]
    parts = waiting.wait(unit, requests)
    assert len(parts) == 2
    assert not waiting.wait(twin, requests)
    assert waiting.end(parts[0]) == []
    assert waiting.end(parts[1]) == [unit, twin]
    for _ in range(MOST_REQUESTS):
        (part,) = waiting.wait(unit, requests[:1])
        waiting.end(part)
    assert waiting.is_lost(part)
    assert not waiting.is_wanted(part)


def test_a_plan_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"schema": "partum.archive.plan/1"}')
    assert read_plan(Location.parse(str(tmp_path))) is None


def test_a_log_that_ends_early_is_told_as_such() -> None:
    with pytest.raises(SourceUnavailable, match="frame 3 came, and none was planned"):
        LoggedPreprocessor([]).process(frame(3, 0, SegmentCause.START))


def test_why_a_part_cannot_be_measured_is_told_though_it_would_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any) -> None:
        raise SourceUnreadable("its codec cannot be decoded here")

    monkeypatch.setattr("stream.archive.parts.long_recordings.LongRecordings.measure", fails)
    path = tmp_path / "film.mp4"
    path.write_bytes(b"film")
    worker = worker_of(tmp_path / "out", GreyLevelEngine())
    outcome = worker.measure(unit_of(path).with_part(PartRequest("a" * 64, 0)))
    assert "its codec cannot be decoded here" in str(outcome.error)
    assert not outcome.failures


def test_of_parts_that_are_removed_the_plan_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["000-009.log", "plan.json", "000-009.parquet"]
    for name in names:
        (tmp_path / name).touch()
    gone: list[str] = []
    monkeypatch.setattr(Location, "remove", lambda location: gone.append(location.name))
    clear_folder(Location.parse(str(tmp_path)))
    assert (gone[0], sorted(gone)) == ("plan.json", sorted(names))
