"""Sound little DICOM files of every coding, the same at every call."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG4HP41,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    MediaStorageDirectoryStorage,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
)

from benchmarks.fuzz import seeds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@cache
def dicom() -> tuple[bytes, ...]:
    """Uncompressed in every encoding, coded in every format that the extra decodes, and with what may stand beside."""
    grey = seeds.pictures()
    colour = np.stack([grey, 255 - grey, grey[::-1]], axis=-1)
    deep = grey.astype(np.uint16) * 16
    jpegs = [_coded(picture, "JPEG") for picture in grey]
    film = seeds.ts()[0]
    return (
        _native(grey, ExplicitVRLittleEndian),
        _native(grey, ImplicitVRLittleEndian)[132:],
        _native(colour, ExplicitVRBigEndian, PlanarConfiguration=1),
        _native(colour[:, :, :, :2].reshape(len(grey), seeds.HEIGHT, -1), ExplicitVRLittleEndian, is_subsampled=True),
        _native(grey, DeflatedExplicitVRLittleEndian),
        _native(deep, ExplicitVRLittleEndian, BitsStored=12, HighBit=11, WindowCenter=1000, WindowWidth=900),
        _native(grey, ExplicitVRLittleEndian, PhotometricInterpretation="PALETTE COLOR", **_palette()),
        _encapsulated(jpegs, JPEGBaseline8Bit, fragments=2),
        _encapsulated([_coded(picture, "JPEG") for picture in colour], JPEGBaseline8Bit, samples=3),
        _encapsulated([_coded(picture, "JPEG2000") for picture in grey], JPEG2000Lossless),
        _compressed(colour[:2], RLELossless),
        _compressed(colour[:2], JPEGLSLossless),
        _encapsulated([film], MPEG4HP41, samples=3, NumberOfFrames=len(grey)),
    )


@cache
def dicomdir() -> tuple[bytes, ...]:
    """The index of a folder with the files A and B."""
    index = _data_set(ExplicitVRLittleEndian, sop_class=MediaStorageDirectoryStorage)
    records = []
    for name in ("A", "B"):
        record = Dataset()
        record.OffsetOfTheNextDirectoryRecord, record.RecordInUseFlag = 0, 0xFFFF
        record.OffsetOfReferencedLowerLevelDirectoryEntity = 0
        record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", name
        records.append(record)
    index.DirectoryRecordSequence = records
    return (_written(index),)


def one_file() -> bytes:
    """A sound file beside a mutated one."""
    return dicom()[0]


def _native(pixels: NDArray[Any], syntax: str, *, is_subsampled: bool = False, **attributes: Any) -> bytes:
    samples = 3 if pixels.ndim == 4 or is_subsampled else 1
    dataset = _picture_set(syntax, samples=samples, bits=8 * pixels.dtype.itemsize, **attributes)
    if is_subsampled:
        dataset.PhotometricInterpretation = "YBR_FULL_422"
    _add_pixels(dataset, pixels.tobytes())
    return _written(dataset)


def _compressed(pixels: NDArray[Any], syntax: str) -> bytes:
    dataset = _picture_set(ExplicitVRLittleEndian, samples=3, NumberOfFrames=len(pixels))
    _add_pixels(dataset, pixels.tobytes())
    dataset.compress(UID(syntax), generate_instance_uid=False)
    return _written(dataset)


def _encapsulated(
    frames: Sequence[bytes], syntax: str, *, samples: int = 1, fragments: int = 1, **attributes: Any
) -> bytes:
    dataset = _picture_set(syntax, samples=samples, **attributes)
    _add_pixels(dataset, encapsulate(list(frames), fragments_per_frame=fragments, has_bot=fragments > 1))
    return _written(dataset)


def _coded(picture: NDArray[np.uint8], kind: str) -> bytes:
    memory = io.BytesIO()
    Image.fromarray(picture).save(memory, kind, **({"no_jp2": True} if kind == "JPEG2000" else {"quality": 90}))
    return memory.getvalue()


def _palette() -> dict[str, Any]:
    described = {f"{colour}PaletteColorLookupTableDescriptor": [256, 0, 8] for colour in ("Red", "Green", "Blue")}
    entries = {f"{colour}PaletteColorLookupTableData": bytes(range(256)) for colour in ("Red", "Green", "Blue")}
    return described | entries


def _data_set(syntax: str, *, sop_class: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, "1.2.3.4"
    dataset.PatientName = "Nobody"
    return dataset


def _picture_set(syntax: str, *, samples: int, bits: int = 8, **attributes: Any) -> Dataset:
    dataset = _data_set(syntax, sop_class=UltrasoundMultiFrameImageStorage)
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType = 1, 1
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 0, 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = seeds.WIDTH - 1, seeds.HEIGHT - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.03
    dataset.SequenceOfUltrasoundRegions = [region]
    dataset.FrameTimeVector = [0, *[33.3] * (seeds.COUNT - 1)]
    dataset.SamplesPerPixel = samples
    dataset.PhotometricInterpretation = "MONOCHROME2" if samples == 1 else "RGB"
    if samples == 3:
        dataset.PlanarConfiguration = 0
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = seeds.COUNT, seeds.HEIGHT, seeds.WIDTH
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits, bits - 1, 0
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def _add_pixels(dataset: Dataset, data: bytes) -> None:
    dataset.PixelData = data
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated == 16 else "OB"
    dataset["PixelData"].is_undefined_length = dataset.file_meta.TransferSyntaxUID.is_encapsulated


def _written(dataset: Dataset) -> bytes:
    memory = io.BytesIO()
    dcmwrite(memory, dataset, enforce_file_format=True)
    return memory.getvalue()
