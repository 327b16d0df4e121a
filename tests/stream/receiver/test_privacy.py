"""No value of an object's text elements leaves the queue, however the object fails."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet
import pytest
from pydicom import dcmread
from pydicom.uid import (
    MPEG4HP41,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    MediaStorageDirectoryStorage,
    RLELossless,
)

from stream.receiver.queue import ReceivedQueue
from tests.fakes.dicom.receiver_process import Receiver, wait_for_results
from tests.samples.dicom_files import encapsulated, native, region, smooth

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning")]

NAME, NUMBER = "ZQMARKER", "47114711"
UID = f"1.2.826.0.1.{NUMBER}"
TEXTS: dict[str, Any] = {
    **dict.fromkeys(("PatientName", "PatientID", "StationAETitle", "BodyPartExamined", "Manufacturer"), NAME),
    **dict.fromkeys(("AccessionNumber", "InstitutionAddress", "AdditionalPatientHistory", "SeriesDescription"), NAME),
    **dict.fromkeys(("TextValue", "LongCodeValue", "OperatorsName", "StudyID", "ImageComments"), NAME),
    **dict.fromkeys(("PatientWeight", "SeriesNumber", "InstanceNumber", "AcquisitionNumber"), NUMBER),
    **dict.fromkeys(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"), UID),
    "RetrieveURL": f"http://{NAME}",
}
SYNTAX = b"1.2.840.10008.1.2.1\0"
PICTURES = smooth(4, 64, 64)


def patched(file: Path, old: bytes, new: bytes) -> Path:
    """The file with other words of the same length, which no library would write."""
    data = file.read_bytes()
    assert len(old) == len(new)
    assert old in data
    file.write_bytes(data.replace(old, new))
    return file


def objects(folder: Path) -> Iterator[Path]:
    """Objects that fail, each otherwise, and all of whose text is a mark."""
    count = 0

    def name() -> Path:
        nonlocal count
        count += 1
        return folder / f"{count}.dcm"

    def loop(**attributes: Any) -> Path:
        return native(name(), PICTURES, **{**TEXTS, **attributes})

    def coded(syntax: str, frame: bytes = NAME.encode(), **attributes: Any) -> Path:
        return encapsulated(name(), [frame] * 4, (64, 64), syntax=syntax, **{**TEXTS, **attributes})

    whole = loop().read_bytes()
    yield loop(Modality=NAME)
    for model in (b"ZQMARKER^DOE", b"ZQMARKER  11"):
        yield patched(loop(), b"MONOCHROME2 ", model)
    for syntax in (b"1.2.840.471147114711", b"ZQMARKER^JANE^DOE^^^"):
        yield patched(loop(), SYNTAX, syntax)
        yield patched(coded(JPEGBaseline8Bit), b"1.2.840.10008.1.2.4.50", syntax + b"11")
    yield loop(SOPClassUID=UID)
    yield loop(SOPClassUID=MediaStorageDirectoryStorage)
    yield loop(BitsStored=9)
    yield loop(BitsAllocated=12)
    yield loop(Rows=None)
    yield loop(Rows=63)
    yield loop(SamplesPerPixel=3)
    yield loop(NumberOfFrames=NUMBER)
    yield patched(loop(NumberOfFrames="98765432"), b"98765432", NAME.encode())
    yield patched(loop(FrameTime="98765432"), b"98765432", NAME.encode())
    yield loop(PixelAspectRatio=[NUMBER, "1"])
    yield loop(WindowCenter="1", WindowWidth=NUMBER, VOILUTFunction=NAME, PresentationLUTShape=NAME)
    yield loop(SpecificCharacterSet=NAME)
    yield loop(CineRate=NUMBER, FrameTimeVector=[NUMBER] * 4)
    yield loop(SequenceOfUltrasoundRegions=[region(box=(0, 0, 99, 99), delta_cm=(0.02, 0.02))])
    yield native(name(), PICTURES, photometric="PALETTE COLOR", **TEXTS)
    yield native(name(), PICTURES, syntax=ExplicitVRBigEndian, **{**TEXTS, "BitsStored": 3, "HighBit": 9})
    for known in (JPEGBaseline8Bit, JPEG2000Lossless, RLELossless, MPEG4HP41):
        yield coded(known)
    yield coded(JPEGBaseline8Bit, b"\xff\xd8\xff\xfe\x00\x0a" + NAME.encode() + b"\xff\xd9")
    for cut in (200, len(whole) // 2, len(whole) - 5000, whole.index(b"MONOCHROME2") + 4):
        (file := name()).write_bytes(whole[:cut])
        yield file
    (file := name()).write_bytes(whole.replace(b"CS\x02\x00US", b"CS\xff\x7fUS", 1))
    yield file
    (file := name()).write_bytes(whole.replace(b"LO\x08\x00ZQMARKER", b"SQ\x08\x00ZQMARKER"))
    yield file
    dataset = dcmread(loop())
    del dataset.PixelData
    dataset.save_as(file := name())
    yield file
    dataset = dcmread(loop())
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(file := name())
    (file := name()).write_bytes((folder / f"{count - 1}.dcm").read_bytes()[:-40])
    yield file


def test_no_text_of_an_object_leaves_the_queue_however_it_fails(tmp_path: Path) -> None:
    samples, out = tmp_path / "samples", tmp_path / "out"
    samples.mkdir()
    queue = ReceivedQueue(out)
    keys = {queue.put([file.read_bytes()]) for file in objects(samples)}
    receiver = Receiver(out, "-v")
    wait_for_results(out, len(keys), receiver)
    assert receiver.end(signal.SIGTERM) == 0
    outside = [path for path in out.rglob("*") if path.is_file() and ".queue" not in path.parts]
    assert {"summary.csv", "summary.parquet", "index.html"} <= {path.name for path in outside}
    said = {str(path): path.read_bytes().decode("latin-1") for path in outside}
    said["names"] = "\n".join(said)
    said["terminal"] = receiver.said
    said["parquet"] = str(pyarrow.parquet.read_table(out / "summary.parquet").to_pylist())
    for mark in (NAME, NUMBER, "DOE", "JANE", "471147"):
        assert not [(where, line) for where, text in said.items() for line in text.splitlines() if mark in line]
    assert said[str(out / "summary.csv")].count("failed") > len(keys) / 2
    assert ".queue" not in said[str(out / "summary.csv")] + receiver.said, "an object is called by its hash"
