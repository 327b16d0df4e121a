"""Frames of a run as Secondary Capture images: grey as they were measured, and drawn with their reading."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from stream.exports.dicom.study import UNICODE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream.exports.dicom.study import Study
    from stream.frames.frame import PixelSpacing

MANUFACTURER, MODEL = "Partum", "Partum"
NOTICE = "Research use only, not a medical device"


def captured_image(
    picture: NDArray[np.uint8],
    study: Study,
    *,
    series_uid: str,
    series_number: int,
    number: int,
    description: str,
    version: str,
    spacing: PixelSpacing | None,
    has_text: bool,
) -> Dataset:
    """A Secondary Capture image of one frame.

    Args:
        picture: (H, W) grey or (H, W, 3) RGB, uint8.
        study: it belongs to.
        series_uid: of its series.
        series_number: likewise.
        number: of the image in its series, from 1.
        description: of the series.
        version: of the program.
        spacing: of its pixels, where known.
        has_text: whether text of the scanner's screen may be in it: the picture was not cut to its sector.
    """
    image = Dataset()
    image.update(study.attributes)
    now = datetime.now().astimezone()
    image.SpecificCharacterSet = UNICODE
    image.SOPClassUID, image.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid(prefix=None)
    image.Modality, image.ConversionType = "US", "WSD"
    image.SeriesInstanceUID, image.SeriesNumber, image.SeriesDescription = series_uid, series_number, description
    image.InstanceNumber, image.PatientOrientation, image.Laterality = number, "", ""
    image.InstanceCreationDate, image.InstanceCreationTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    image.Manufacturer, image.ManufacturerModelName, image.SoftwareVersions = MANUFACTURER, MODEL, version
    image.DateOfSecondaryCapture, image.TimeOfSecondaryCapture = image.InstanceCreationDate, image.InstanceCreationTime
    image.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    image.SecondaryCaptureDeviceSoftwareVersions = version
    image.ImageComments = NOTICE
    image.BurnedInAnnotation = "YES" if has_text else "NO"
    _set_pixels(image, picture)
    if spacing is not None:
        image.PixelSpacing = [f"{spacing.y_mm:.10g}", f"{spacing.x_mm:.10g}"]
        image.PixelSpacingCalibrationType = "GEOMETRY"
        image.PixelSpacingCalibrationDescription = "As measured by the run"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta = meta
    return image


def _set_pixels(image: Dataset, picture: NDArray[np.uint8]) -> None:
    image.SamplesPerPixel = 1 if picture.ndim == 2 else 3
    image.PhotometricInterpretation = "MONOCHROME2" if picture.ndim == 2 else "RGB"
    if picture.ndim == 3:
        image.PlanarConfiguration = 0
    image.Rows, image.Columns = picture.shape[:2]
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    data = np.ascontiguousarray(picture).tobytes()
    image.PixelData = data + b"\0" * (len(data) % 2)
