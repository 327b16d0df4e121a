"""DICOM objects that a scanner might send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def write_object(path: Path, pixels: NDArray[Any]) -> None:
    """Writes an uncompressed ultrasound loop, with UIDs of its own and no patient.

    Args:
        path: of the file.
        pixels: (frames, rows, columns), uint8.
    """
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = UltrasoundMultiFrameImageStorage, generate_uid()
    dataset.Modality, dataset.SamplesPerPixel, dataset.PhotometricInterpretation = "US", 1, "MONOCHROME2"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.FrameTime = "40"
    dataset.PixelData = pixels.tobytes()
    dcmwrite(path, dataset, enforce_file_format=True)
