"""The mask of an exported frame as a DICOM Segmentation of symphysis and head.

An object holds one frame: pictures without a place in the patient (a Frame of Reference) cannot be told apart in it.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentDescription
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UltrasoundImageStorage, generate_uid

from stream.exports.dicom.captures import MANUFACTURER, MODEL
from stream.exports.dicom.codes import PUBIC_SYMPHYSIS, private

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NETWORK_FAMILY = codes.DCM.ArtificialIntelligence


def segmentation_of(
    header: Dataset,
    frame_number: int | None,
    mask: NDArray[np.uint8],
    *,
    version: str,
    series_number: int,
    number: int,
    series_uid: str,
    parameters: dict[str, str],
) -> Dataset:
    """A binary Segmentation of one frame.

    Args:
        header: of the image that the frame is in.
        frame_number: of the frame there, from 1; None of an image of one frame.
        mask: (H, W), of the image's size; 1 = PS, 2 = FH.
        version: of the program.
        series_number: of the series.
        number: of the object in it.
        series_uid: of the series.
        parameters: of the algorithm.
    """
    algorithm = AlgorithmIdentificationSequence(
        name=MODEL, family=NETWORK_FAMILY, version=version, parameters=parameters
    )
    segments = [
        SegmentDescription(
            segment_number=code,
            segment_label=label,
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=kind,
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
        )
        for code, label, kind in ((1, "Pubic symphysis", PUBIC_SYMPHYSIS), (2, "Fetal head", private("FETAL_HEAD")))
    ]
    found = Segmentation(
        source_images=[_single_frame(header)],
        pixel_array=mask,
        segmentation_type="BINARY",
        segment_descriptions=segments,
        series_instance_uid=series_uid,
        series_number=series_number,
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=version,
        device_serial_number="0",
        content_label="PS_AND_HEAD",
        content_description="Symphysis and fetal head, as measured; research use only",
        series_description="Symphysis and head, research use only",
    )
    found.PatientOrientation = ""  # not known, and required of pictures without a place in the patient
    _refer_to(found, header, frame_number)
    return found


def _single_frame(header: Dataset) -> Dataset:
    """The header as that of an image of one frame: the mask of one frame needs no array as long as the film."""
    stand_in = deepcopy(header)
    if "NumberOfFrames" in stand_in:
        stand_in.SOPInstanceUID = generate_uid(prefix=None)
        stand_in.SOPClassUID = UltrasoundImageStorage
        del stand_in.NumberOfFrames
    for keyword in ("FrameOfReferenceUID", "FrameIncrementPointer"):
        if keyword in stand_in:
            delattr(stand_in, keyword)
    return stand_in


def _refer_to(found: Dataset, header: Dataset, frame_number: int | None) -> None:
    """Puts the image itself, with the number of the frame, in the place of the one that stood in for it."""
    sources = [
        item
        for groups in found.PerFrameFunctionalGroupsSequence
        for derivation in groups.DerivationImageSequence
        for item in derivation.SourceImageSequence
    ]
    listed = [item for series in found.ReferencedSeriesSequence for item in series.ReferencedInstanceSequence]
    for item in (*sources, *listed):
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    if frame_number is not None:
        for item in sources:
            item.ReferencedFrameNumber = frame_number
