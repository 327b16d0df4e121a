"""`partum export-dicom`: writes the files of a run's DICOM export."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.uid import generate_uid

from engines.errors import PartumError
from stream.common.atomic_file import write_error
from stream.common.errors import OptionError, RunUnreadable, SourceError, SourceUnreadable
from stream.exports.dicom.captures import captured_image
from stream.exports.dicom.codes import declare_scheme
from stream.exports.dicom.drawing import drawn_frame, full_mask
from stream.exports.dicom.report import structured_report
from stream.exports.dicom.segmentation import segmentation_of
from stream.exports.dicom.study import study_of
from stream.exports.summary import check_one_patient, summarise
from stream.labour.run_masks import RunMasks
from stream.labour.run_pictures import RunPictures
from stream.labour.run_source import source_path
from stream.outputs.run_log import log_file_change
from stream.sources.files.dicom.file import damage_error, quiet_pydicom

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.exports.dicom.study import Study
    from stream.exports.summary import RunSummary
    from stream.frames.frame import Frame
    from stream.labour.recorded_run import RecordedRun

    Located = tuple[Dataset, int | None, tuple[int, int]]

FIRST_SERIES = 9001
"""Number of the first series: beyond those of a scanner."""


@dataclass(slots=True, eq=False)
class DicomExport:
    """What was written.

    Attributes:
        files: their paths.
        notes: what is not in them, and why, for people.
    """

    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def export_dicom(
    run: RecordedRun,
    out: Path,
    *,
    source: str | None = None,
    is_anonymous: bool = False,
    is_one_patient: bool = False,
    also: Sequence[int] = (),
) -> DicomExport:
    """Writes report, segmentation and captured frames of a run into a folder.

    Args:
        run: finished.
        out: new or empty folder.
        source: where the recording is now, if it has moved.
        is_anonymous: a study of its own without a patient, also where the source was DICOM.
        is_one_patient: the recording shows one patient, though its picture is cut to another.
        also: indices of frames beside the best ones.

    Raises:
        RunUnreadable: there is nothing to export, or it may show two patients.
        OptionError: a frame asked for was not measured, or the folder is not empty.
        SourceError: the source was DICOM, and cannot be read.
        OutputError: a file cannot be written.
    """
    if not is_one_patient:
        check_one_patient(run)
    summary = summarise(run, also=also)
    if not summary.frames and not summary.reviews:
        raise RunUnreadable(
            f"{run.folder}: no frame of it was measured, so there is nothing to export; partum report says why"
        )
    study = study_of(run, Path(source) if source else source_path(run), is_anonymous=is_anonymous)
    writing = _Writing(run, summary, study, out)
    writing.make_folder()
    if writing.has_text:
        writing.note_text(is_left_out=is_anonymous)
    pictures = {} if writing.has_text and is_anonymous else writing.pictures(source)
    masks = writing.masks()
    try:
        with quiet_pydicom():  # not around the source, which takes it itself
            warnings.simplefilter("ignore")  # warnings quote values, and libraries on top of pydicom pass them on
            writing.write(pictures, masks)
    except damage_error() as error:
        if isinstance(error, PartumError) or study.is_new:
            raise
        raise SourceUnreadable(  # what a library says of a header may quote values, and values may name the patient
            f"{run.folder}: the header of its DICOM source has values that no export can take over"
            f" ({type(error).__name__}); give --anonymous for a study of its own"
        ) from None
    return writing.done


class _Writing:
    """One export as it is made."""

    def __init__(self, run: RecordedRun, summary: RunSummary, study: Study, out: Path) -> None:
        self.run, self.summary, self.study, self.out = run, summary, study, out
        self.done = DicomExport(notes=[note for note in (summary.changes, study.note) if note])
        if study.left_out:
            names = ", ".join(study.left_out)
            self.done.notes.append(f"not as DICOM wants it in the source, so without a value here: {names}")
        self.version = metadata.version("partum")
        self.captured: dict[int, Dataset] = {}
        self.has_text = run.options.get("sector") == "whole"

    def make_folder(self) -> None:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            if any(self.out.iterdir()):
                raise OptionError(f"{self.out}: is not empty; give a new folder by --out")
        except OSError as error:
            raise write_error(self.out, error) from error

    def note_text(self, *, is_left_out: bool) -> None:
        """Says what a run that took its pictures whole may show."""
        what = "they are left out" if is_left_out else "BurnedInAnnotation is YES"
        self.done.notes.append(f"the run took its pictures whole (--sector whole): names may be in them, so {what}")

    def write(self, pictures: dict[int, Frame], masks: dict[int, RunMasks]) -> None:
        if pictures:
            if not self.study.instances:
                self._capture(pictures)
            self._overlays(pictures, masks)
        located = {frame.index: found for frame in self.summary.frames if (found := self.find(frame.index))}
        if masks and located:
            self._segment(masks, pictures, located)
        evidence = list({str(header.SOPInstanceUID): header for header, _, _ in located.values()}.values())
        report = structured_report(
            self.summary,
            self.study,
            self.find,
            evidence=evidence,
            version=self.version,
            series_number=FIRST_SERIES + 3,
        )
        declare_scheme(report)
        self._save(report, "report.dcm")
        if self.out.resolve().is_relative_to(self.run.folder.resolve()):
            log_file_change(self.run.folder, self.out.resolve().relative_to(self.run.folder.resolve()).as_posix())

    def find(self, index: int) -> Located | None:
        """The image that a frame is in, its number there, and where in the image it begins."""
        if index in self.captured:
            return self.captured[index], None, (0, 0)
        found = self.study.instance_of(index)
        table = self.run.table
        origin = int(table.counts("origin_x_px")[index]), int(table.counts("origin_y_px")[index])
        return (*found, origin) if found else None

    def pictures(self, source: str | None) -> dict[int, Frame]:
        """Frames that are exported, by index; none where they are not to be had."""
        try:
            with RunPictures(self.run, source=source) as pictures:
                return {frame.index: pictures[frame.index] for frame in self.summary.frames}
        except (RunUnreadable, SourceError) as error:
            if source is not None:  # it was named for its pictures
                raise
            self.done.notes.append(f"without pictures: {error}")
            return {}

    def masks(self) -> dict[int, RunMasks]:
        """The masks kept, by index of those frames that have one."""
        try:
            masks = RunMasks(self.run)
        except RunUnreadable as error:
            self.done.notes.append(f"without segmentation: {error}")
            return {}
        return {frame.index: masks for frame in self.summary.frames if frame.index in masks}

    def _capture(self, pictures: dict[int, Frame]) -> None:
        series = generate_uid(prefix=None)
        for number, (index, frame) in enumerate(pictures.items(), 1):
            image = captured_image(
                frame.image,
                self.study,
                series_uid=series,
                series_number=FIRST_SERIES,
                number=number,
                description="Frames measured",
                version=self.version,
                spacing=frame.spacing,
                has_text=self.has_text,
            )
            self.captured[index] = image
            self._save(image, f"frame-{index:06d}.dcm")

    def _overlays(self, pictures: dict[int, Frame], masks: dict[int, RunMasks]) -> None:
        series = generate_uid(prefix=None)
        for number, numbers in enumerate(self.summary.frames, 1):
            frame = pictures[numbers.index]
            mask = full_mask(masks, numbers.index, frame.image.shape)
            picture = drawn_frame(
                frame, numbers, mask, is_mirrored=bool(self.run.table.words("mirrored")[numbers.index])
            )
            image = captured_image(
                picture,
                self.study,
                series_uid=series,
                series_number=FIRST_SERIES + 1,
                number=number,
                description="Best frames with their reading",
                version=self.version,
                spacing=None,
                has_text=self.has_text,
            )
            self._save(image, f"overlay-{numbers.index:06d}.dcm")

    def _segment(self, masks: dict[int, RunMasks], pictures: dict[int, Frame], located: dict[int, Located]) -> None:
        series = generate_uid(prefix=None)
        for number, index in enumerate(sorted(masks.keys() & located.keys() & pictures.keys()), 1):
            header, frame_number, (left, top) = located[index]
            mask = full_mask(masks, index, pictures[index].image.shape)
            assert mask is not None
            whole = np.zeros((int(header.Rows), int(header.Columns)), np.uint8)
            whole[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
            found = segmentation_of(
                header,
                frame_number,
                whole,
                version=self.version,
                series_number=FIRST_SERIES + 2,
                number=number,
                series_uid=series,
                parameters=self.summary.trace,
            )
            declare_scheme(found)
            self._save(found, f"segmentation-{index:06d}.dcm")

    def _save(self, dataset: Dataset, name: str) -> None:
        path = self.out / name
        written = io.BytesIO()  # pydicom puts errors of a disk into words, with its own lines
        dcmwrite(written, dataset, enforce_file_format=True)
        try:
            path.write_bytes(written.getbuffer())
        except OSError as error:
            raise write_error(path, error) from error
        self.done.files.append(path)
