"""What a received object is answered with: the DICOM export of its results, in its own study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.exports.dicom.export import export_dicom
from stream.labour.recorded_run import RecordedRun

if TYPE_CHECKING:
    from pathlib import Path


def build_answers(original: Path, results: Path, folder: Path) -> None:
    """Writes the report, the segmentation and the best frames of a result, as DICOM files of the object's study.

    Args:
        original: the object as it was received.
        results: the folder of its results.
        folder: where to; it is empty.

    Raises:
        OutputError: the files cannot be written.
        RunUnreadable, SourceError: there is nothing to answer with.
    """
    export_dicom(RecordedRun(results), folder, source=str(original), is_one_patient=True)
