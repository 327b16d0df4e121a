"""The files that pydicom's own tests are run on, read by both: real scanners' headers and damage of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom.data
import pytest
from pydicom import dcmread
from pydicom.encaps import generate_frames
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_windowing
from pydicom.pixels.utils import get_j2k_parameters, pixel_array

from engines.errors import PartumError
from tests.samples.dicom_files import open_source

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset

FOLDER = Path(pydicom.data.__file__).parent / "test_files"
FILES = sorted(path for path in FOLDER.rglob("*.dcm") if path.stat().st_size < 300_000)
NOT_SUPPORTED = ("BitsAllocated is 32", "BitsAllocated is 1,", "is missing or damaged", "pixel data are 8320 bytes")
"""Deep doses, bit masks, a palette that is not there, and 128 bytes behind one picture, of which nobody can say what
they are: told in one line."""


def grey_by_pydicom(path: Path) -> NDArray[np.float64]:
    """Grey levels (F, H, W) from pydicom's pixels."""
    dataset = dcmread(path)
    pixels = np.asarray(pixel_array(dataset))
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
    if pixels.shape[-1] == 3:
        levels = pixels @ [0.299, 0.587, 0.114] / (257 if pixels.max() > 255 else 1)
    else:
        levels = as_shown(pixels, dataset)
    return levels.reshape(-1, dataset.Rows, dataset.Columns)


def as_shown(pixels: NDArray[Any], dataset: Dataset) -> NDArray[np.float64]:
    bits = dataset.BitsStored
    if "WindowCenter" not in dataset and "JPEG 2000" in dataset.file_meta.TransferSyntaxUID.name:
        bits = min(bits, get_j2k_parameters(next(generate_frames(dataset.PixelData, number_of_frames=1)))["precision"])
    low = -(1 << (bits - 1)) if dataset.PixelRepresentation else 0
    span = np.array([low, low + (1 << bits) - 1], np.float64)
    values, ends = apply_modality_lut(pixels, dataset), apply_modality_lut(span, dataset)
    if "WindowCenter" in dataset:
        values = apply_windowing(values, dataset)
    largest = dataset.get("LargestImagePixelValue")
    if "WindowCenter" not in dataset and largest and not dataset.PixelRepresentation and "RescaleSlope" not in dataset:
        ends[1] = min(ends[1], next((1 << bits) - 1 for bits in (8, 10, 12, 14, 16) if largest < 1 << bits))
    levels = np.clip((values - ends[0]) / (ends[1] - ends[0]) * 255, 0, 255)
    is_inverse = dataset.PhotometricInterpretation == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE"
    return np.asarray(255 - levels if is_inverse else levels)


@pytest.mark.slow
@pytest.mark.skipif(not FILES, reason="this pydicom comes without its test files")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_public_files_are_read_as_pydicom_reads_them_or_refused_in_one_line(path: Path) -> None:
    try:
        expected = grey_by_pydicom(path)
    except Exception as error:  # noqa: BLE001 - pydicom raises anything on its damaged files
        expected, cause = None, repr(error)
    try:
        with open_source(path) as source:
            frames = list(source)
    except PartumError as error:
        message = str(error)
        assert "\n" not in message
        assert expected is None or any(words in message for words in NOT_SUPPORTED), message
        return
    if expected is None:
        pytest.skip(f"pydicom does not read it: {cause[:60]}")
    assert [frame.refusal for frame in frames] == [None] * len(expected)
    images = np.stack([frame.image for frame in frames])
    assert images.shape == expected.shape
    # Where JPEG's saturated colours are clipped on their way to RGB, luma by way of RGB is another one.
    assert np.percentile(np.abs(images - expected), 99.5) <= (9 if "jpeg" in path.name or "dcmtk" in path.name else 2)
