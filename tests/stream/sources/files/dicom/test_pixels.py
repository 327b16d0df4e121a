"""Grey levels of DICOM files in every coding, against how the files were made and against pydicom's pixels."""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from pydicom import Dataset, dcmread, uid
from pydicom.pixels.processing import apply_windowing, convert_color_space
from pydicom.pixels.utils import pixel_array

from stream.common.clock import ManualClock
from stream.common.errors import SourceUnreadable
from stream.sources.files.dicom.source import DicomSource
from tests.samples.dicom_files import (
    ADOBE_RGB,
    encapsulated,
    jpeg,
    jpeg_2000,
    lossless_jpeg,
    luma,
    native,
    rgb_jpeg,
    smooth,
    video,
    without_jfif,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SHAPE = 22, 31  # odd, so that padding and subsampling show
GREY = smooth(3, *SHAPE)
RGB = smooth(3, *SHAPE, colours=3)
UNCOMPRESSED = [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian]
SAMPLINGS = [
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
]

RAMP = np.add.outer(np.arange(16), np.arange(16)) * 130
"""12 bits; coded below by libjpeg-turbo and OpenJPH, as nothing that is installed here writes these formats."""
EXTENDED_JPEG = (
    b"c-s4a<NpH&0WUXCHwH#V1_nkTWcYuZ!I^=Xi3x;&fCY$HIapa)SXjB(+1WUFxOjNDxwyG``Gf>``2_j6xdp@o1cgOJMMZh|#U;c<"
    b"B!omnMgAXT;O1cvU=Uzr6lC~+gh3Q+J~H3|2}=twFtRWs3v)B5o4bT07X81)zyZ=?&!DJqy=}jk>5MCum%=u{nQePae{5WHY~i^{"
    b"TisyH>Hlv60DJ!~J^"
)
HTJ2K = (
    b"c-s5#|38pH(}4j91fUoOQ2C7fjEw&S7&sW1fE=#>K@2=V79#^I3yTBe{}={gg^meGprfPXe+q**1EYUIYMxhsheB9tk%EDqk(r*c"
    b"-v0><Two*H7#ROgKER;1{TnNL2?N6c24M#VVFtIK%s?K51PTFB!-9rSOid*W3s{~qEDiw*iUu&SMtDq6aQw8Yh^dspL&>q}$pI(E"
    b"H`{=6x*QCw%b1|x`KhX^!lnuaCZIDx;NRb#gz9gGjc;}_{J#kRR$xN>"
)


def images(path: Path) -> NDArray[np.uint8]:
    with DicomSource(path, clock=ManualClock()) as source:
        return np.stack([frame.image for frame in source])


def difference(first: NDArray[Any], second: NDArray[Any]) -> int:
    assert first.shape == second.shape
    return int(np.abs(first.astype(int) - second.astype(int)).max())


def oracle_luma(path: Path) -> NDArray[np.uint8]:
    """Luma of what pydicom decodes."""
    return luma(pixel_array(path))


@pytest.mark.parametrize("syntax", [*UNCOMPRESSED, uid.DeflatedExplicitVRLittleEndian])
def test_uncompressed_grey_comes_out_as_stored(tmp_path: Path, syntax: str) -> None:
    path = native(tmp_path / "a.dcm", GREY, syntax=syntax)
    assert np.array_equal(images(path), GREY)


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
@pytest.mark.parametrize("planar", [0, 1])
def test_uncompressed_colour_becomes_luma_whatever_its_layout(tmp_path: Path, syntax: str, planar: int) -> None:
    path = native(tmp_path / "a.dcm", RGB, photometric="RGB", syntax=syntax, PlanarConfiguration=planar)
    assert difference(images(path), luma(RGB)) <= 1
    assert difference(images(path), oracle_luma(path)) <= 1


@pytest.mark.parametrize("planar", [0, 1])
def test_of_stored_ycbcr_the_first_sample_is_taken(tmp_path: Path, planar: int) -> None:
    ycc = convert_color_space(RGB, "RGB", "YBR_FULL")
    path = native(tmp_path / "a.dcm", ycc, photometric="YBR_FULL", PlanarConfiguration=planar)
    assert np.array_equal(images(path), ycc[..., 0])
    assert difference(images(path), oracle_luma(path)) <= 2


def test_subsampled_ycbcr_is_unpacked(tmp_path: Path) -> None:
    ycc = convert_color_space(RGB[:, :, :30], "RGB", "YBR_FULL")
    stored = np.empty((3, 22, 15, 4), np.uint8)
    stored[..., :2] = ycc[..., 0].reshape(3, 22, 15, 2)
    stored[..., 2:] = ycc[:, :, ::2, 1:]
    path = native(tmp_path / "a.dcm", stored.reshape(3, 22, 60), photometric="YBR_FULL_422", Columns=30)
    assert np.array_equal(images(path), ycc[..., 0])


def test_monochrome_1_is_inverted(tmp_path: Path) -> None:
    assert np.array_equal(images(native(tmp_path / "a.dcm", GREY, photometric="MONOCHROME1")), 255 - GREY)


def test_bytes_in_big_endian_words_are_unswapped_across_odd_frames(tmp_path: Path) -> None:
    odd = np.ascontiguousarray(GREY[:, :21])
    path = native(tmp_path / "a.dcm", odd, syntax=uid.ExplicitVRBigEndian)
    dataset = dcmread(path)
    dataset.PixelData = np.frombuffer(odd.tobytes() + b"\0", "<u2").byteswap().tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.save_as(path)
    assert np.array_equal(images(path), odd)


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
def test_deep_grey_maps_its_whole_stored_range(tmp_path: Path, syntax: str) -> None:
    stored = np.arange(4096, dtype=np.uint16).reshape(1, 64, 64)
    path = native(tmp_path / "a.dcm", stored, syntax=syntax, BitsStored=12)
    assert np.array_equal(images(path), np.rint(stored / 4095 * 255).astype(np.uint8))
    assert images(path).ravel()[[0, 2048, 4095]].tolist() == [0, 128, 255]


def test_bits_outside_those_stored_are_masked(tmp_path: Path) -> None:
    values = np.arange(1024, dtype=np.uint16).reshape(1, 32, 32)
    path = native(tmp_path / "a.dcm", values << 4 | 0xC00F, BitsStored=10, HighBit=13)
    assert np.array_equal(images(path), np.rint(values / 1023 * 255).astype(np.uint8))


def test_signed_values_map_from_the_most_negative_up(tmp_path: Path) -> None:
    values = np.arange(-2048, 2048, dtype=np.int16).reshape(1, 64, 64)
    path = native(tmp_path / "a.dcm", values, BitsStored=12, PixelRepresentation=1)
    assert np.array_equal(images(path), np.rint((values + 2048.0) / 4095 * 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("LINEAR", [0, 0, 130, 255, 255]),
        ("LINEAR_EXACT", [0, 0, 128, 255, 255]),
        ("SIGMOID", [0, 29, 128, 226, 255]),
    ],
)
def test_a_window_is_applied_after_rescaling(tmp_path: Path, function: str, expected: list[int]) -> None:
    values = np.array([0, 74, 100, 126, 2000], np.uint16).reshape(1, 1, 5)
    window: dict[str, Any] = {"WindowCenter": [100, 7], "WindowWidth": [51, 9], "VOILUTFunction": function}
    for stored, slope, intercept in ((values, None, None), (values + 10, 1, -10), (2 * values, 0.5, 0)):
        rescale: dict[str, Any] = {"RescaleSlope": slope, "RescaleIntercept": intercept} if slope else {}
        path = native(tmp_path / "a.dcm", stored, BitsStored=12, **window, **rescale)
        assert images(path).ravel().tolist() == expected


def test_windows_agree_with_pydicom(tmp_path: Path) -> None:
    stored = np.arange(4096, dtype=np.uint16).reshape(1, 64, 64)
    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        attributes: dict[str, Any] = {"WindowCenter": 1300, "WindowWidth": 900, "VOILUTFunction": function}
        path = native(tmp_path / "a.dcm", stored, BitsStored=12, **attributes)
        expected = apply_windowing(stored, dcmread(path)) / 4095 * 255
        assert np.abs(images(path) - expected).max() <= 0.5 + 1e-9


def lut(keyword: str, entries: NDArray[Any], *, first: int = 0, bits: int) -> dict[str, Any]:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "OW", entries.tobytes())
    if keyword == "ModalityLUTSequence":
        item.ModalityLUTType = "US"
    return {keyword: [item]}


@pytest.mark.parametrize("syntax", UNCOMPRESSED[:2])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_voi_table_goes_before_a_window(tmp_path: Path, syntax: str, bits: int) -> None:
    entries = np.linspace((1 << bits) - 1, 0, 256).astype(np.uint8 if bits == 8 else np.uint16)
    table = lut("VOILUTSequence", entries, bits=bits)
    path = native(tmp_path / "a.dcm", GREY, syntax=syntax, WindowCenter=20, WindowWidth=10, **table)
    assert difference(images(path), 255 - GREY) <= 1


def test_a_modality_table_comes_before_the_window(tmp_path: Path) -> None:
    entries = (np.arange(256) * 4).astype(np.uint16)
    table = lut("ModalityLUTSequence", entries, bits=16)
    path = native(tmp_path / "a.dcm", GREY, WindowCenter=512, WindowWidth=1024, **table)
    assert difference(images(path), GREY) <= 1


def test_a_table_that_is_damaged_is_told(tmp_path: Path) -> None:
    table = lut("VOILUTSequence", np.zeros(20, np.uint8), bits=8)
    table["VOILUTSequence"][0].LUTDescriptor = [256, 0, 8]
    with pytest.raises(SourceUnreadable, match="VOILUTSequence is damaged"):
        images(native(tmp_path / "a.dcm", GREY, **table))


def test_an_inverse_presentation_is_inverted(tmp_path: Path) -> None:
    path = native(tmp_path / "a.dcm", GREY, PresentationLUTShape="INVERSE")
    assert np.array_equal(images(path), 255 - GREY)
    path = native(tmp_path / "a.dcm", GREY, PresentationLUTShape="INVERSE", photometric="MONOCHROME1")
    assert np.array_equal(images(path), 255 - GREY)


def test_without_a_window_the_largest_pixel_value_says_which_bits_are_in_use(tmp_path: Path) -> None:
    stored = GREY.astype(np.uint16) * 16
    path = native(tmp_path / "a.dcm", stored, LargestImagePixelValue=int(stored.max()))
    assert difference(images(path), np.rint(stored / 4095 * 255)) == 0
    assert difference(images(native(tmp_path / "b.dcm", stored)), np.rint(stored / 65535 * 255)) == 0


def test_the_full_window_of_8_bits_changes_nothing(tmp_path: Path) -> None:
    path = native(tmp_path / "a.dcm", GREY, WindowCenter=128, WindowWidth=256)
    assert np.array_equal(images(path), GREY)


@pytest.mark.parametrize("entry_bits", [8, 16])
@pytest.mark.parametrize("syntax", UNCOMPRESSED)
def test_palettes_become_luma(tmp_path: Path, entry_bits: int, syntax: str) -> None:
    palette = np.random.default_rng(5).integers(0, 256, (200, 3))
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    attributes: dict[str, Any] = {}
    for index, colour in enumerate(("Red", "Green", "Blue")):
        entries = palette[:, index] * (257 if entry_bits == 16 else 1)
        attributes[f"{colour}PaletteColorLookupTableDescriptor"] = [200, 20, entry_bits]
        attributes[f"{colour}PaletteColorLookupTableData"] = entries.astype(f"{order}u{entry_bits // 8}").tobytes()
    path = native(tmp_path / "a.dcm", GREY, photometric="PALETTE COLOR", syntax=syntax, **attributes)
    expected = luma(palette[np.clip(GREY.astype(int) - 20, 0, 199)])
    assert difference(images(path), expected) <= 1


@pytest.mark.parametrize("entry_bits", [8, 16])
@pytest.mark.parametrize("syntax", UNCOMPRESSED)
def test_segmented_palettes_become_luma(tmp_path: Path, entry_bits: int, syntax: str) -> None:
    """A discrete segment of one entry of 10, and a linear one of 100 entries up to 210, PS3.3 C.7.9.2."""
    scale = 257 if entry_bits == 16 else 1
    line = np.round(10 + np.arange(1, 101) * 2).astype(int)
    entries = np.concatenate([[10], line])
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    segments = np.array([0, 1, 10 * scale, 1, 100, 210 * scale], f"{order}u{entry_bits // 8}")
    attributes: dict[str, Any] = {}
    for colour in ("Red", "Green", "Blue"):
        attributes[f"{colour}PaletteColorLookupTableDescriptor"] = [101, 0, entry_bits]
        attributes[f"Segmented{colour}PaletteColorLookupTableData"] = segments.tobytes()
    path = native(tmp_path / "a.dcm", GREY, photometric="PALETTE COLOR", syntax=syntax, **attributes)
    assert difference(images(path), entries[np.clip(GREY, 0, 100)]) <= 1


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1", "RGB", "YBR_FULL"])
def test_rle_is_exact(tmp_path: Path, photometric: str) -> None:
    pixels = GREY if photometric.startswith("MONO") else RGB
    expected = {"MONOCHROME1": 255 - GREY, "MONOCHROME2": GREY, "RGB": luma(RGB), "YBR_FULL": RGB[..., 0]}
    path = native(tmp_path / "a.dcm", pixels, photometric=photometric)
    dataset = dcmread(path)
    dataset.compress(uid.RLELossless, encoding_plugin="pydicom")
    dataset.save_as(path)
    assert difference(images(path), expected[photometric]) <= (1 if photometric == "RGB" else 0)


def test_deep_rle_is_exact(tmp_path: Path) -> None:
    stored = GREY.astype(np.uint16) * 16
    path = native(tmp_path / "a.dcm", stored, BitsStored=12)
    dataset = dcmread(path)
    dataset.compress(uid.RLELossless, encoding_plugin="pydicom")
    dataset.save_as(path)
    assert np.array_equal(images(path), np.rint(stored / 4095 * 255).astype(np.uint8))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_jpeg_colour_gives_the_luma_as_coded(tmp_path: Path, sampling: int) -> None:
    frames = [jpeg(picture, sampling=sampling) for picture in RGB]
    for name, coded in (("jfif", frames), ("plain", [without_jfif(frame) for frame in frames])):
        path = encapsulated(tmp_path / f"{name}.dcm", coded, SHAPE, photometric="YBR_FULL_422")
        assert difference(images(path), luma(RGB)) <= 6  # what JPEG itself costs
        decoded = pixel_array(path, raw=True)[..., 0]
        assert difference(images(path), decoded) <= 1


def test_a_jfif_marker_outranks_a_header_that_says_rgb(tmp_path: Path) -> None:
    path = encapsulated(tmp_path / "a.dcm", [jpeg(picture) for picture in RGB], SHAPE, photometric="RGB")
    assert difference(images(path), luma(RGB)) <= 6


@pytest.mark.parametrize("marker", [b"", ADOBE_RGB])
def test_rgb_inside_jpeg_becomes_luma(tmp_path: Path, marker: bytes) -> None:
    frames = [coded[:2] + marker + coded[2:] for coded in map(rgb_jpeg, RGB)]
    path = encapsulated(tmp_path / "a.dcm", frames, SHAPE, photometric="RGB")
    assert difference(images(path), luma(RGB)) <= 6
    assert difference(images(path), oracle_luma(path)) <= 2
    wrong = np.stack([picture[..., 0] for picture in RGB])
    assert difference(images(path), wrong) > 50  # red taken for luma would be far off


def test_components_named_r_g_b_outrank_a_header_that_says_ycbcr(tmp_path: Path) -> None:
    frames = [rgb_jpeg(picture, names=b"RGB") for picture in RGB]
    path = encapsulated(tmp_path / "a.dcm", frames, SHAPE, photometric="YBR_FULL_422")
    assert difference(images(path), luma(RGB)) <= 6


def test_adobes_marker_without_transform_leaves_ycbcr_to_the_header(tmp_path: Path) -> None:
    ycc = convert_color_space(RGB, "RGB", "YBR_FULL")
    frames = [coded[:2] + ADOBE_RGB + coded[2:] for coded in map(rgb_jpeg, ycc)]
    path = encapsulated(tmp_path / "a.dcm", frames, SHAPE, photometric="YBR_FULL")
    assert difference(images(path), luma(RGB)) <= 6


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_grey_jpeg(tmp_path: Path, photometric: str) -> None:
    path = encapsulated(tmp_path / "a.dcm", [jpeg(picture) for picture in GREY], SHAPE, photometric=photometric)
    expected = GREY if photometric == "MONOCHROME2" else 255 - GREY
    assert difference(images(path), expected) <= 4


@pytest.mark.parametrize("syntax", [uid.JPEGLossless, uid.JPEGLosslessSV1])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_lossless_jpeg_is_exact_at_every_depth(tmp_path: Path, syntax: str, bits: int) -> None:
    stored = GREY.astype(np.int64) << (bits - 8)
    frames = [lossless_jpeg(picture, precision=bits) for picture in stored]
    attributes: dict[str, Any] = {"bits": 8 if bits == 8 else 16, "BitsStored": bits}
    path = encapsulated(tmp_path / "a.dcm", frames, SHAPE, syntax=syntax, **attributes)
    assert np.array_equal(images(path), np.rint(stored / ((1 << bits) - 1) * 255).astype(np.uint8))


def test_lossless_jpeg_samples_are_what_the_header_says(tmp_path: Path) -> None:
    frames = [lossless_jpeg(picture, precision=8) for picture in RGB]
    for photometric, expected in (("RGB", luma(RGB)), ("YBR_FULL", RGB[..., 0])):
        path = encapsulated(tmp_path / "a.dcm", frames, SHAPE, photometric=photometric, syntax=uid.JPEGLosslessSV1)
        assert difference(images(path), expected) <= 1


@pytest.mark.parametrize("header_bits", [12, 16])
@pytest.mark.parametrize(
    ("coded", "syntax", "tolerance"), [(EXTENDED_JPEG, uid.JPEGExtended12Bit, 1), (HTJ2K, uid.HTJ2KLossless, 0)]
)
def test_formats_that_few_decoders_know(
    tmp_path: Path, coded: bytes, syntax: str, tolerance: int, header_bits: int
) -> None:
    frame = zlib.decompress(base64.b85decode(coded))
    attributes: dict[str, Any] = {"bits": 16, "BitsStored": header_bits}
    path = encapsulated(tmp_path / "a.dcm", [frame], (16, 16), syntax=syntax, **attributes)
    # OpenJPH wrote 16 bits for the values of 12, so that there the header decides; in JPEG there are 12.
    white = 4095 if syntax == uid.JPEGExtended12Bit else (1 << header_bits) - 1
    assert difference(images(path)[0], np.rint(RAMP / white * 255)) <= tolerance


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_jpeg_2000_is_exact_at_every_depth(tmp_path: Path, bits: int) -> None:
    stored = GREY if bits == 8 else GREY.astype(np.uint16) << (bits - 8)
    frames = [jpeg_2000(picture) for picture in stored]
    attributes: dict[str, Any] = {"bits": 8 if bits == 8 else 16, "BitsStored": bits}
    path = encapsulated(tmp_path / "a.dcm", frames, SHAPE, syntax=uid.JPEG2000Lossless, **attributes)
    expected = np.rint(stored / ((1 << bits) - 1) * 255).astype(np.uint8)
    assert np.array_equal(images(path), expected)


@pytest.mark.parametrize("photometric", ["YBR_RCT", "RGB", "YBR_FULL"])
def test_jpeg_2000_colour_is_what_the_header_says(tmp_path: Path, photometric: str) -> None:
    frames = [jpeg_2000(picture, has_colour_transform=photometric == "YBR_RCT") for picture in RGB]
    path = encapsulated(tmp_path / "a.dcm", frames, SHAPE, photometric=photometric, syntax=uid.JPEG2000Lossless)
    assert difference(images(path), RGB[..., 0] if photometric == "YBR_FULL" else luma(RGB)) <= 1


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "RGB"])
def test_jpeg_ls_is_exact(tmp_path: Path, photometric: str) -> None:
    pytest.importorskip("jpeg_ls", reason="needs pyjpegls, which has no wheel for this Python")
    pixels = GREY if photometric == "MONOCHROME2" else RGB
    path = native(tmp_path / "a.dcm", pixels, photometric=photometric)
    dataset = dcmread(path)
    dataset.compress(uid.JPEGLSLossless)
    dataset.save_as(path)
    assert difference(images(path), GREY if pixels is GREY else luma(RGB)) <= (0 if pixels is GREY else 1)


@pytest.mark.parametrize(
    ("codec", "container", "syntax"),
    [
        ("libx264", "mp4", uid.MPEG4HP41),
        ("libx264", "h264", uid.MPEG4HP41),
        ("libx264", "mpegts", uid.MPEG4HP422D),
        ("libx265", "mp4", uid.HEVCMP51),
        ("mpeg2video", "mpeg2video", uid.MPEG2MPML),
        ("mpeg2video", "mpegts", uid.MPEG2MPHL),
    ],
)
@pytest.mark.parametrize("fragments", [1, 7])
def test_embedded_video_is_stretched_to_full_range(
    tmp_path: Path, codec: str, container: str, syntax: str, fragments: int
) -> None:
    grey = smooth(12, 48, 64)
    stream = video(grey, codec=codec, container=container)
    path = encapsulated(
        tmp_path / "a.dcm",
        [stream],
        (48, 64),
        photometric="YBR_PARTIAL_420",
        syntax=syntax,
        fragments=fragments,
        has_table=False,
        NumberOfFrames=12,
    )
    read = images(path)
    assert len(read) == 12
    assert np.abs(read.astype(int) - grey).mean() < 2.5
    assert read.min() < 6
    assert read.max() > 249
