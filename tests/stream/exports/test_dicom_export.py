"""`partum export-dicom`: valid by other programs, read back to the same numbers, taken by a real receiver."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
import warnings
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs partum[dicom]")
pydicom = pytest.importorskip("pydicom", reason="needs partum[dicom]")

from stream.common.errors import OptionError, RunUnreadable, SourceUnreadable  # noqa: E402
from stream.exports.codes import PRIVATE, SCHEME  # noqa: E402
from stream.exports.dicom.export import export_dicom  # noqa: E402
from stream.labour.course import aop_course, run_pushes  # noqa: E402
from stream.labour.edits import EditedReading, EditKind, add_edit  # noqa: E402
from stream.labour.recorded_run import RecordedRun  # noqa: E402
from stream.labour.run_marks import TypedMark, add_marks  # noqa: E402
from stream.labour.run_masks import RunMasks, mask_in_frame  # noqa: E402
from stream.labour.time_axis import time_axis  # noqa: E402
from stream.outputs.marks import MarkKind  # noqa: E402
from tests.conftest import REPOSITORY  # noqa: E402
from tests.fakes.doubles import picture  # noqa: E402
from tests.samples.dicom_files import PATIENT, native  # noqa: E402
from tests.samples.finished_runs import SHA256, finished_run, run_of, with_push  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

STUDY, SERIES = "2.25.7700123456789", "2.25.7700123456790"
OF_SOURCE = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, "PatientID": "ID^77", "StudyDate": "20260102"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RecordedRun:
    run = finished_run(tmp_path_factory.mktemp("made"), 60, masks=True)
    axis = time_axis(run.table.numbers("pts_s"), run.table.counts("segment"))
    pushing = [TypedMark(time_s=0.8, kind=MarkKind.PUSH_START), TypedMark(time_s=2.0, kind=MarkKind.PUSH_END)]
    add_marks(run, axis, [TypedMark(time_s=0.4, note="head visible"), *pushing], by="test")
    reading = EditedReading(moved=["tangent"], values={"aop_deg": 141.5, "hsd_min_mm": 12.0})
    add_edit(run, 7, EditKind.POINTS, by="Dr B", size_px=(128, 128), reading=reading, note="caput")
    add_edit(run, 8, EditKind.OUTLINES, by="Dr B", size_px=(128, 128), reading=EditedReading(reason="no_fh"))
    return RecordedRun(run.folder)


@pytest.fixture(scope="module")
def exported(made: RecordedRun) -> Path:
    out = made.folder.parent / "dicom"
    export_dicom(made, out, also=[3])
    return out


@pytest.fixture(scope="module")
def of_dicom(tmp_path_factory: pytest.TempPathFactory) -> tuple[RecordedRun, Path]:
    """A run of a DICOM film of 12 frames, and its export."""
    folder = tmp_path_factory.mktemp("dicom")
    pixels = np.stack([picture(62 + 0.2 * index) for index in range(12)])
    native(folder / "film.dcm", pixels, **OF_SOURCE)
    run = RecordedRun(run_of(folder / "film.dcm", folder / "run", masks=True))
    export_dicom(run, folder / "out", also=[5])
    return run, folder / "out"


def items(dataset: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every content item with the names of those above it."""
    for item in dataset.get("ContentSequence", []):
        name = item.ConceptNameCodeSequence[0].CodeValue if "ConceptNameCodeSequence" in item else ""
        yield (*path, name), item
        yield from items(item, (*path, name))


def groups(report: Any) -> dict[str, Any]:
    """Measurement groups by their tracking identifier."""
    found = {}
    for _, item in items(report):
        if item.ValueType == "CONTAINER" and item.ConceptNameCodeSequence[0].CodeValue == "125007":
            named = [each for _, each in items(item) if each.get("TextValue", "")]
            found[named[0].TextValue] = item
    return found


def numbers(group: Any) -> dict[str, float]:
    """Values by code; the ends of intervals by `AOP REP_LO95`."""
    found = {}
    for item in group.ContentSequence:
        if item.ValueType == "NUM":
            code = item.ConceptNameCodeSequence[0].CodeValue
            below = item.get("ContentSequence", [])
            of = [each.ConceptCodeSequence[0].CodeValue for each in below if each.ValueType == "CODE"]
            found[" ".join([*of, code])] = float(item.MeasuredValueSequence[0].NumericValue)
    return found


def test_the_numbers_read_back_are_those_of_the_run(made: RecordedRun, exported: Path) -> None:
    report = pydicom.dcmread(exported / "report.dcm")
    assert report.SOPClassUID.name == "Enhanced SR Storage"
    found = numbers(groups(report)["frame 3"])
    record = made.table.record(3)
    expected = {
        "AOP": "aop_deg", "AOP REP_LO95": "aop_lo95_deg", "AOP REP_HI95": "aop_hi95_deg", "AOP_RAW": "aop_raw_deg",
        "HSD_MIN": "hsd_min_mm", "HSD_MIN REP_LO95": "hsd_min_lo95_mm", "HSD_PERP": "hsd_perp_mm", "TIME": "pts_s",
    }  # fmt: skip
    for code, column in expected.items():
        assert found[code] == pytest.approx(record[column], abs=5e-4), code
    run = numbers(groups(report)[f"run {made.manifest['run_id']}"])
    assert run == {"FRAMES_IN": 60, "FRAMES_MEASURED": 60, "FRAMES_REFUSED": 0, "FRAMES_DROPPED": 0}


def test_each_number_leads_back_to_model_and_configuration(made: RecordedRun, exported: Path) -> None:
    report = pydicom.dcmread(exported / "report.dcm")
    words = [item.TextValue for _, item in items(groups(report)["frame 3"]) if item.ValueType == "TEXT"]
    assert f"model sha256: {SHA256}" in words
    assert any(re.fullmatch("configuration sha256: [0-9a-f]{64}", word) for word in words)
    assert f"run: {made.manifest['run_id']}" in words


def test_marks_and_the_notice_are_in_the_report(exported: Path) -> None:
    found = [item for path, item in items(pydicom.dcmread(exported / "report.dcm")) if path[-1] in ("MARK", "NOTICE")]
    said = [item.TextValue for item in found]
    assert said[:2] == ["Research use only, not a medical device.", "mark: head visible"]
    assert said[2:] == ["push_start", "push_end"]
    assert float(found[1].ContentSequence[0].MeasuredValueSequence[0].NumericValue) == pytest.approx(0.4)


def test_what_a_person_said_of_a_frame_stands_beside_the_automatic_value(made: RecordedRun, exported: Path) -> None:
    report = pydicom.dcmread(exported / "report.dcm")
    reviews = [item for path, item in items(report) if path[-1] == "REVIEW"]
    assert [item.TextValue for item in reviews] == ["points: caput", "outlines"]
    found = numbers(reviews[0])
    assert (found["FRAME"], found["AOP_REVISED"], found["HSD_MIN_REVISED"]) == (7, 141.5, 12.0)
    assert found["AOP_RAW"] == pytest.approx(made.table.record(7)["aop_raw_deg"], abs=5e-4)
    words = [item.TextValue for _, item in items(reviews[1]) if item.ValueType == "TEXT"]
    assert (words[0], words[2]) == ("Dr B", "no_fh")
    assert datetime.fromisoformat(words[1]).tzinfo is not None


def test_a_marked_push_is_in_the_report_as_such(exported: Path) -> None:
    push = groups(pydicom.dcmread(exported / "report.dcm"))["push 1"]
    assert (numbers(push)["PUSH_START"], numbers(push)["PUSH_END"]) == (0.8, 2.0)
    (origin,) = [item for path, item in items(push) if path[-1] == "PUSH_ORIGIN"]
    assert origin.ConceptCodeSequence[0].CodeValue == "PUSH_MARKED"


def test_the_polyline_lies_on_the_frame_that_was_measured(made: RecordedRun, exported: Path) -> None:
    report = pydicom.dcmread(exported / "report.dcm")
    line = next(item for _, item in items(groups(report)["frame 3"]) if item.ValueType == "SCOORD")
    landmarks = made.table.record(3)["landmarks_px"]
    points = np.reshape(line.GraphicData, (-1, 2)) - 0.5
    through = [landmarks[name] for name in ("ps_superior", "ps_inferior", "tangent")]
    np.testing.assert_allclose(points, through, atol=1e-3)
    image = pydicom.dcmread(exported / "frame-000003.dcm")
    assert line.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID
    np.testing.assert_array_equal(image.pixel_array, picture(62 + 0.2 * 3))
    assert [float(each) for each in image.PixelSpacing] == [0.5, 0.5]


def test_the_segmentation_holds_the_masks_that_were_measured(made: RecordedRun, exported: Path) -> None:
    found = pydicom.dcmread(exported / "segmentation-000003.dcm")
    image = pydicom.dcmread(exported / "frame-000003.dcm")
    labels = mask_in_frame(RunMasks(made)[3], (128, 128))
    seen = set()
    for pixels, groups_of in zip(found.pixel_array, found.PerFrameFunctionalGroupsSequence, strict=True):
        source = groups_of.DerivationImageSequence[0].SourceImageSequence[0]
        code = groups_of.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        if source.ReferencedSOPInstanceUID == image.SOPInstanceUID:
            np.testing.assert_array_equal(pixels, labels == code)
            seen.add(code)
    assert seen == {1, 2}


def test_a_dicom_source_keeps_its_study_and_its_frames_are_referred_to(of_dicom: tuple[RecordedRun, Path]) -> None:
    run, out = of_dicom
    source = pydicom.dcmread(run.folder.parent / "film.dcm")
    report, found = (pydicom.dcmread(out / name) for name in ("report.dcm", "segmentation-000005.dcm"))
    for dataset in (report, found):
        assert (dataset.StudyInstanceUID, dataset.PatientID) == (STUDY, "ID^77")
        assert dataset.PatientName == source.PatientName
        assert dataset.SeriesInstanceUID != SERIES
    assert not list(out.glob("frame-*"))
    image = next(item for _, item in items(groups(report)["frame 5"]) if item.ValueType == "IMAGE")
    reference = image.ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert reference.ReferencedFrameNumber == 6
    labels = mask_in_frame(RunMasks(run)[5], (128, 128))
    checked = 0
    for pixels, each in zip(found.pixel_array, found.PerFrameFunctionalGroupsSequence, strict=True):
        item = each.DerivationImageSequence[0].SourceImageSequence[0]
        assert item.ReferencedSOPInstanceUID == source.SOPInstanceUID
        if item.ReferencedFrameNumber == 6:
            code = each.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            np.testing.assert_array_equal(pixels, labels == code)
            checked += 1
    assert checked == 2


@pytest.mark.parametrize(
    ("names", "patient"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        (["ISO 2022 IR 6", "ISO 2022 IR 100"], "Müller^Jörg"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 192", "Ünïcode^名前"),
    ],
)
def test_a_name_in_any_script_is_the_same_in_the_answer(
    names: Any, patient: str, of_dicom: tuple[RecordedRun, Path], tmp_path: Path
) -> None:
    run, _ = of_dicom
    pixels = np.stack([picture(62 + 0.2 * index) for index in range(12)])
    film = native(tmp_path / "film.dcm", pixels, **OF_SOURCE, SpecificCharacterSet=names, PatientName=patient)
    assert pydicom.dcmread(film).PatientName == patient
    export_dicom(run, tmp_path / "out", source=str(film))
    files = list((tmp_path / "out").iterdir())
    assert {pydicom.dcmread(file).Modality for file in files} >= {"SR", "SEG"}
    assert {str(pydicom.dcmread(file).PatientName) for file in files} == {patient}


def test_no_patient_is_in_an_anonymous_export_nor_in_a_name(of_dicom: tuple[RecordedRun, Path], tmp_path: Path) -> None:
    run, kept = of_dicom
    export_dicom(run, tmp_path / "out", is_anonymous=True)
    name = str(pydicom.dcmread(run.folder.parent / "film.dcm").PatientName)
    for path in (tmp_path / "out").iterdir():
        data = path.read_bytes()
        assert not any(word.encode() in data for word in (*name.split("^"), "ID^77", STUDY))
    assert not any(name.split("^", maxsplit=1)[0] in each.name or "77" in each.name for each in kept.iterdir())


def test_pictures_that_were_taken_whole_are_marked_and_left_out_of_an_anonymous_export(
    made: RecordedRun, tmp_path: Path
) -> None:
    done = export_dicom(made, tmp_path / "kept")
    assert "names may be in them, so BurnedInAnnotation is YES" in done.notes[0]
    images = [path for path in done.files if path.name.startswith(("frame", "overlay"))]
    assert {pydicom.dcmread(path).BurnedInAnnotation for path in images} == {"YES"}
    done = export_dicom(made, tmp_path / "anonymous", is_anonymous=True)
    assert [path.name for path in done.files] == ["report.dcm"]


def test_a_push_is_in_the_report_also_where_there_are_no_pictures(tmp_path: Path) -> None:
    run = with_push(finished_run(tmp_path / "made", 170))
    done = export_dicom(run, tmp_path / "out")
    assert "was changed after it was written" in done.notes[0]
    assert "without pictures" in done.notes[2], "the times in the records are not those of the pictures any more"
    assert [path.name for path in done.files] == ["report.dcm"]
    found = groups(pydicom.dcmread(done.files[0]))
    (push,) = run_pushes(run, aop_course(run.table))
    assert push.rest is not None
    assert push.peak is not None
    assert push.peak.absolute is not None
    values = numbers(found["push 1"])
    for code, value in (
        ("PUSH_START", push.start_s),
        ("REST", push.rest.value),
        ("PEAK REP_HI95", push.peak.hi95),
        ("PEAK ABS_HI95", push.peak.absolute[1]),
    ):
        assert values[code] == pytest.approx(value, abs=1e-3), code
    assert push.best_row is not None
    best = numbers(found[f"frame {push.best_row}"])
    assert best["AOP ABS_LO95"] == pytest.approx(run.table.record(push.best_row)["aop_absolute_lo95_deg"], abs=1e-3)


def test_a_dicom_source_that_is_gone_is_asked_for(of_dicom: tuple[RecordedRun, Path], tmp_path: Path) -> None:
    run, _ = of_dicom
    copy = Path(shutil.copytree(run.folder.parent, tmp_path / "copy"))
    manifest = (copy / "run" / "run.json").read_text().replace(str(run.folder.parent), str(copy))
    (copy / "run" / "run.json").write_text(manifest)
    (copy / "film.dcm").rename(copy / "moved.dcm")
    moved = RecordedRun(copy / "run")
    with pytest.raises(SourceUnreadable, match=r"--source.*--anonymous"):
        export_dicom(moved, tmp_path / "a")
    export_dicom(moved, tmp_path / "b", source=str(copy / "moved.dcm"))
    assert pydicom.dcmread(tmp_path / "b" / "report.dcm").StudyInstanceUID == STUDY


@pytest.mark.parametrize(
    ("keyword", "stored", "answered"),
    [
        ("PatientBirthDate", "Jane, 1990", ""),
        ("PatientBirthDate", "00000000", ""),
        ("PatientBirthDate", "1990.01.02", "19900102"),
        ("PatientSex", "Female", ""),
        ("PatientName", ["A^B", "C^D"], ""),
        ("StudyDate", "2026-01-02", ""),
        ("StudyTime", "12:30:05", "123005"),
        ("StudyTime", "25h", ""),
        ("PatientID", "1234567890" * 8, "1234567890" * 8),
        ("SpecificCharacterSet", "ISO_IR 999", "ISO_IR 192"),
    ],
)
def test_one_bad_value_of_the_source_is_left_out_and_named(
    keyword: str, stored: Any, answered: str, of_dicom: tuple[RecordedRun, Path], tmp_path: Path
) -> None:
    run, _ = of_dicom
    pixels = np.stack([picture(62 + 0.2 * index) for index in range(12)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        film = native(tmp_path / "film.dcm", pixels, **{**OF_SOURCE, keyword: stored})
        done = export_dicom(run, tmp_path / "out", source=str(film))
        answers = [pydicom.dcmread(path) for path in done.files]
        found = [answer[keyword].value for answer in answers if keyword in answer]
    is_left_out = any(f"without a value here: {keyword}" in note for note in done.notes)
    assert is_left_out == (answered == "" or keyword == "SpecificCharacterSet")
    assert {answer.StudyInstanceUID for answer in answers} == {STUDY}
    assert found
    assert all(value == answered for value in found)


def test_numbers_and_letters_that_nobody_can_read_are_left_out(
    of_dicom: tuple[RecordedRun, Path], tmp_path: Path
) -> None:
    run, _ = of_dicom
    pixels = np.stack([picture(62 + 0.2 * index) for index in range(12)])
    film = native(
        tmp_path / "film.dcm",
        pixels,
        **OF_SOURCE,
        PatientSize="1.71",
        PatientWeight="70.5",
        SpecificCharacterSet="ISO_IR 144",
    )
    content = (
        film.read_bytes().replace(b"1.71", b"1,71").replace(b"70.5", b"nan ").replace(b"ISO_IR 144", b"ISO_IR 999")
    )
    film.write_bytes(content.replace(PATIENT.encode(), PATIENT.replace("e", "\xe9").encode("latin-1")))
    done = export_dicom(run, tmp_path / "out", source=str(film))
    assert "without a value here: PatientName, PatientSize, PatientWeight, SpecificCharacterSet" in done.notes[0]
    report = pydicom.dcmread(tmp_path / "out" / "report.dcm")
    assert (report.PatientID, report.PatientName, report.StudyInstanceUID) == ("ID^77", "", STUDY)


def test_a_source_whose_header_cannot_be_taken_over_is_refused_without_its_values(
    of_dicom: tuple[RecordedRun, Path], tmp_path: Path
) -> None:
    run, _ = of_dicom
    pixels = np.stack([picture(62 + 0.2 * index) for index in range(12)])
    film = native(tmp_path / "film.dcm", pixels, **OF_SOURCE)
    film.write_bytes(film.read_bytes().replace(b"\x08\x00\x60\x00CS", b"\x09\x00\x60\x00CS"))  # private: there is none
    with pytest.raises(SourceUnreadable, match="--anonymous") as refused:
        export_dicom(run, tmp_path / "out", source=str(film))
    assert PATIENT.split("^")[0] not in str(refused.value)
    assert export_dicom(run, tmp_path / "anonymous", is_anonymous=True).files


def test_runs_without_anything_to_export_are_refused_in_one_line(tmp_path: Path) -> None:
    unmeasured = finished_run(tmp_path / "a", 3, off_plane=range(3))
    with pytest.raises(RunUnreadable, match="no frame of it was measured"):
        export_dicom(unmeasured, tmp_path / "out")
    one = finished_run(tmp_path / "b", 1)
    with pytest.raises(OptionError, match="the run has the frames 0 to 0"):
        export_dicom(one, tmp_path / "out", also=[1])
    done = export_dicom(one, tmp_path / "one")
    assert "without segmentation" in done.notes[-1]
    assert {path.name for path in done.files} == {"frame-000000.dcm", "overlay-000000.dcm", "report.dcm"}
    with pytest.raises(OptionError, match="is not empty"):
        export_dicom(one, tmp_path / "one")


def test_a_recording_that_is_cut_to_another_picture_is_refused(made: RecordedRun, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(made.folder, tmp_path / "copy"))
    lines = (copy / "measurements.jsonl").read_text().splitlines(keepends=True)
    lines[30:] = [
        line.replace('"segment": 0', '"segment": 1').replace('"segment_cause": "start"', '"segment_cause": "cut"')
        for line in lines[30:]
    ]
    (copy / "measurements.jsonl").write_text("".join(lines))
    with pytest.raises(RunUnreadable, match=r"at 1.2 s the picture is cut to another.*--one-patient"):
        export_dicom(RecordedRun(copy), tmp_path / "out")
    assert export_dicom(RecordedRun(copy), tmp_path / "out", is_one_patient=True).files


@pytest.mark.parametrize("kind", ["of pictures", "of DICOM"])
def test_dciodvfy_finds_no_error(exported: Path, of_dicom: tuple[RecordedRun, Path], kind: str) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("needs dciodvfy (package dicom3tools)")
    for path in sorted((exported if kind == "of pictures" else of_dicom[1]).iterdir()):
        result = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False, timeout=60)
        said = (result.stdout + result.stderr).splitlines()
        assert not [line for line in said if line.startswith("Error")], path.name


def test_the_report_s_tree_is_read_by_dcmtk(exported: Path) -> None:
    if shutil.which("dsrdump") is None:
        pytest.skip("needs dsrdump (package dcmtk)")
    shown = subprocess.run(["dsrdump", exported / "report.dcm"], capture_output=True, text=True, check=True, timeout=60)
    assert "Enhanced SR Document" in shown.stdout
    assert "<inferred from SCOORD" in shown.stdout


def wait_for(port: int, receiver: subprocess.Popen[bytes]) -> None:
    """Waits until the receiver listens."""
    while receiver.poll() is None:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    pytest.fail("the receiver ended before it listened")


@pytest.mark.slow
def test_a_real_receiver_takes_every_file(exported: Path, tmp_path: Path) -> None:
    pynetdicom = pytest.importorskip("pynetdicom", reason="needs pynetdicom")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "pynetdicom", "storescp", str(port), "-od", str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as receiver:
        try:
            files = sorted(exported.iterdir())
            sender = pynetdicom.AE()
            for path in files:
                dataset = pydicom.dcmread(path, stop_before_pixels=True)
                sender.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
            wait_for(port, receiver)
            association = sender.associate("127.0.0.1", port)
            assert association.is_established
            for path in files:
                assert association.send_c_store(pydicom.dcmread(path)).Status == 0, path.name
            association.release()
        finally:
            receiver.terminate()
    received = {pydicom.dcmread(path).SOPInstanceUID for path in tmp_path.iterdir()}
    assert received == {pydicom.dcmread(path).SOPInstanceUID for path in files}


def test_the_private_codes_are_documented() -> None:
    page = (REPOSITORY / "docs" / "exports.md").read_text()
    listed = dict(re.findall(r"^\| `([A-Z0-9_]+)` \| (.+?) \|", page, re.MULTILINE))
    assert listed == PRIVATE
    assert all(len(code) <= 16 and len(meaning) <= 64 for code, meaning in PRIVATE.items())  # what DICOM holds
    assert f"`{SCHEME}`" in page
