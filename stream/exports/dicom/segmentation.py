"""The masks of exported frames as DICOM Segmentation: symphysis and head, by the frames they were found in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentDescription
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from stream.exports.dicom.captures import MANUFACTURER, MODEL
from stream.exports.dicom.codes import PUBIC_SYMPHYSIS, private

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Reference = tuple[Dataset, int | None]

NETWORK_FAMILY = codes.DCM.ArtificialIntelligence


def segmentation_of(
    references: Sequence[Reference],
    masks: Sequence[NDArray[np.uint8]],
    *,
    version: str,
    series_number: int,
    number: int,
    series_uid: str,
    parameters: dict[str, str],
) -> Dataset:
    """A binary Segmentation of frames of one size.

    Args:
        references: header of the image that each frame is in, and its number there, from 1; None of a single frame.
        masks: (H, W) of each frame, of the image's size; 1 = PS, 2 = FH.
        version: of the program.
        series_number: of the series.
        number: of the object in it.
        series_uid: of the series.
        parameters: of the algorithm.
    """
    stand_ins = [_single_frame(header) for header, _ in references]
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
        source_images=stand_ins,
        pixel_array=np.stack(masks),
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
        content_description="Pubic symphysis and fetal head, as measured",
        series_description="Symphysis and head",
    )
    found.PatientOrientation = ""  # not known, and required of pictures without a place in the patient
    _refer_to(found, {str(stand_in.SOPInstanceUID): each for stand_in, each in zip(stand_ins, references, strict=True)})
    return found


def _single_frame(header: Dataset) -> Dataset:
    """The header as that of an image of one frame: the masks of a few frames need no array as long as the film."""
    stand_in = Dataset()
    stand_in.update({element.tag: element for element in header if element.tag.group != 0x7FE0})
    if "NumberOfFrames" in stand_in:
        stand_in.SOPInstanceUID = generate_uid(prefix=None)
        del stand_in.NumberOfFrames
    for keyword in ("FrameOfReferenceUID", "FrameIncrementPointer"):
        if keyword in stand_in:
            delattr(stand_in, keyword)
    return stand_in


def _refer_to(found: Dataset, images: dict[str, Reference]) -> None:
    """Puts the images themselves, with the number of the frame, in the place of those that stood in for them."""
    for groups in found.PerFrameFunctionalGroupsSequence:
        for derivation in groups.DerivationImageSequence:
            for item in derivation.SourceImageSequence:
                header, number = images[str(item.ReferencedSOPInstanceUID)]
                item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
                if number is not None:
                    item.ReferencedFrameNumber = number
    for series in found.ReferencedSeriesSequence:
        instances = {}
        for item in series.ReferencedInstanceSequence:
            header, _ = images[str(item.ReferencedSOPInstanceUID)]
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
            instances[str(header.SOPInstanceUID)] = item
        series.ReferencedInstanceSequence = list(instances.values())
