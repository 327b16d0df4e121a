"""Folders of DICOM files, and the indexes of such folders, as sources of frames."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread, uid
from pydicom.dataset import FileMetaDataset

from stream.common.clock import ManualClock
from stream.common.errors import SourceTruncated, SourceUnreadable
from stream.frames.frame import PixelSpacing, SegmentCause
from stream.frames.reason import Reason
from stream.sources import open_source
from stream.sources.base import RATE_NOTE
from tests.samples.dicom_files import CODED, GREY, SHAPE, encapsulated, header, native, smooth

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stream.frames.frame import Frame
    from stream.sources.base import SourceInfo


def play(path: Path, spacing: PixelSpacing | None = None) -> tuple[list[Frame], SourceInfo]:
    with open_source(str(path), clock=ManualClock(), spacing=spacing) as source:
        return list(source), source.info


def levels(frames: Sequence[Frame]) -> list[int]:
    """Grey level of each frame of one level."""
    assert all(frame.image.min() == frame.image.max() for frame in frames)
    return [int(frame.image[0, 0]) for frame in frames]


def still(path: Path, level: int, size: tuple[int, int] = (24, 32), **attributes: Any) -> Path:
    attributes = {"NumberOfFrames": None, "SeriesInstanceUID": "1.2.1", "InstanceNumber": level} | attributes
    path.parent.mkdir(parents=True, exist_ok=True)
    return native(path, np.full((1, *size), level, np.uint8), **attributes)


def index(folder: Path, files: Sequence[str | list[str]]) -> Path:
    """A DICOMDIR as PS3.3 F.3 has it, as far as it matters here; its records name a patient."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = uid.MediaStorageDirectoryStorage, "1.2.3"
    records = [Dataset()]
    records[0].DirectoryRecordType, records[0].PatientName = "PATIENT", "Secret^Patient"
    for file in files:
        record = Dataset()
        record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", file
        records.append(record)
    dataset.DirectoryRecordSequence = records
    dataset.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return folder / "DICOMDIR"


def test_single_frames_of_a_series_are_a_film_by_instance_number(tmp_path: Path) -> None:
    for level in (10, 2, 1):
        still(tmp_path / f"IM_{20 - level}.dcm", level)
    frames, info = play(tmp_path)
    assert levels(frames) == [1, 2, 10]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert [frame.pts for frame in frames] == [0, 40000, 80000]
    assert {frame.segment for frame in frames} == {0}
    assert (info.kind, info.frame_count, info.note) == ("dicom", 3, RATE_NOTE)


def test_files_without_suffix_or_preamble_are_found(tmp_path: Path) -> None:
    data = still(tmp_path / "a.dcm", 7).read_bytes()
    (tmp_path / "a.dcm").unlink()
    (tmp_path / "IM0001").write_bytes(data)
    (tmp_path / "IM0002").write_bytes(still(tmp_path / "b", 9).read_bytes()[132:])
    (tmp_path / "b").unlink()
    assert levels(play(tmp_path)[0]) == [7, 9]
    assert levels(play(tmp_path / "IM0002")[0]) == [9]


def test_other_series_other_sizes_and_films_begin_segments(tmp_path: Path) -> None:
    still(tmp_path / "a.dcm", 1, SeriesNumber=1)
    still(tmp_path / "b.dcm", 2, (30, 20), SeriesNumber=1)
    still(tmp_path / "c.dcm", 3, (30, 20), SeriesNumber=2, SeriesInstanceUID="1.2.2")
    native(tmp_path / "d.dcm", GREY, SeriesNumber=3, SeriesInstanceUID="1.2.3", FrameTime="20")
    native(tmp_path / "e.dcm", GREY, SeriesNumber=3, SeriesInstanceUID="1.2.3", FrameTime="30", InstanceNumber=5)
    frames, info = play(tmp_path)
    assert [frame.segment for frame in frames] == [0, 1, 2, *[3] * 6, *[4] * 6]
    causes = [frame.segment_cause for frame in frames if frame.index in (1, 2, 3, 9)]
    assert causes == [SegmentCause.SIZE, SegmentCause.TIME, SegmentCause.SIZE, SegmentCause.TIME]
    steps = [b.pts - a.pts for a, b in itertools.pairwise(frames)]
    assert steps == [40000, 40000, 40000, *[20000] * 6, *[30000] * 5]
    assert info.frame_count == len(frames) == 15


def test_the_users_scale_is_for_pictures_of_the_first_ones_size(tmp_path: Path) -> None:
    still(tmp_path / "a.dcm", 1, SeriesNumber=1)
    still(tmp_path / "b.dcm", 2, (30, 20), SeriesNumber=2, PixelSpacing=[0.5, 0.5])
    typed = PixelSpacing(0.2, 0.2)
    assert [frame.spacing for frame in play(tmp_path, typed)[0]] == [typed, PixelSpacing(0.5, 0.5)]


def test_reports_are_passed_over_and_damage_does_not_stop_the_rest(tmp_path: Path) -> None:
    report = header(rows=1, columns=1, frames=1, photometric="RGB", syntax=uid.ExplicitVRLittleEndian)
    report.save_as(tmp_path / "report.dcm", enforce_file_format=True)
    for number, name in enumerate("abc", 1):
        encapsulated(tmp_path / f"{name}.dcm", CODED, SHAPE, SeriesInstanceUID="1.2.1", InstanceNumber=number)
    cut = (tmp_path / "b.dcm").read_bytes()
    (tmp_path / "b.dcm").write_bytes(cut[: cut.rindex(CODED[5][:20])])
    with open_source(str(tmp_path), clock=ManualClock()) as source:
        frames: list[Frame] = []
        with pytest.raises(SourceTruncated, match=r"b\.dcm: ends after 5 of 6 frames"):
            frames.extend(source)  # keeps what came before the error
    assert source.info.note.startswith("not played, of this folder: 1 DICOM files")
    assert source.info.frame_count == 18


def test_a_damaged_frame_is_refused_in_its_place(tmp_path: Path) -> None:
    broken = [*CODED[:2], CODED[2][:-200], *CODED[3:]]
    encapsulated(tmp_path / "a.dcm", broken, SHAPE)
    frames, _ = play(tmp_path)
    assert [frame.refusal for frame in frames] == [None, None, Reason.DAMAGED, None, None, None]


@pytest.mark.parametrize("given", ["DICOMDIR", "."])
def test_an_index_leads_to_its_files(tmp_path: Path, given: str) -> None:
    still(tmp_path / "DATA" / "IM1", 5, InstanceNumber=2)
    still(tmp_path / "data2" / "im2", 6, InstanceNumber=1)  # copied with small letters
    still(tmp_path / "beside.dcm", 7)
    index(tmp_path, [["DATA", "IM1"], ["DATA2", "IM2"], ["DATA", "GONE"], ["UP", "SECRET"]])
    frames, info = play(tmp_path / given)
    assert levels(frames) == [6, 5]
    assert "2 files of the index are missing" in info.note
    assert ("not in the index, and not played: 1 DICOM files" in info.note) == (given == ".")
    assert "Secret" not in repr(info)


def test_an_index_never_leads_out_of_its_folder(tmp_path: Path) -> None:
    still(tmp_path / "OUTSIDE", 5)
    (tmp_path / "inside").mkdir()
    path = index(tmp_path / "inside", [["UP", "OUTSIDE"]])
    path.write_bytes(path.read_bytes().replace(b"UP\\OUTSIDE", b"..\\OUTSIDE"))
    with pytest.raises(SourceUnreadable, match="lists no DICOM file that is there"):
        play(path)


def test_a_folder_of_reports_is_told(tmp_path: Path) -> None:
    report = header(rows=1, columns=1, frames=1, photometric="RGB", syntax=uid.ExplicitVRLittleEndian)
    report.save_as(tmp_path / "report.dcm", enforce_file_format=True)
    with pytest.raises(SourceUnreadable, match="DICOM without pictures"):
        play(tmp_path)


def test_a_folder_plays_the_same_frames_as_its_files(tmp_path: Path) -> None:
    film = smooth(5, *SHAPE, seed=3)
    native(tmp_path / "a.dcm", GREY, InstanceNumber=1)
    native(tmp_path / "b.dcm", film, InstanceNumber=2)
    assert dcmread(tmp_path / "a.dcm").get("SeriesInstanceUID") is None
    frames, _ = play(tmp_path)
    assert np.array_equal(np.stack([frame.image for frame in frames]), np.concatenate([GREY, film]))


@pytest.mark.parametrize("content", [b"text", bytes(128) + b"DICM" + b"junk" * 30, b""])
def test_files_beside_a_damaged_index_are_played(tmp_path: Path, content: bytes) -> None:
    still(tmp_path / "a.dcm", 5)
    (tmp_path / "DICOMDIR").write_bytes(content)
    frames, info = play(tmp_path)
    assert levels(frames) == [5]
    assert "its index (DICOMDIR) leads to no file" in info.note
