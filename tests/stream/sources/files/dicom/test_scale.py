"""Times and pixel sizes of DICOM files."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom import uid

from stream.common.clock import ManualClock
from stream.frames.frame import PixelSpacing
from stream.frames.regions import RegionKind, spacing_within
from stream.sources.base import RATE_NOTE
from stream.sources.files.dicom.source import DicomSource
from tests.samples.dicom_files import encapsulated, native, region, smooth, video

if TYPE_CHECKING:
    from pathlib import Path

    from stream.frames.regions import Region

FRAME_TIME, FRAME_TIME_VECTOR = 0x00181063, 0x00181065
PICTURES = np.zeros((5, 40, 60), np.uint8)
WHOLE = (0, 0, 59, 39)


def times_us(path: Path) -> tuple[list[int], Fraction | None]:
    with DicomSource(path, clock=ManualClock()) as source:
        frames = list(source)
        assert {frame.time_base for frame in frames} == {Fraction(1, 1_000_000)}
        return [frame.pts for frame in frames], source.info.frame_rate_hz


def scale(path: Path, spacing: PixelSpacing | None = None) -> tuple[PixelSpacing | None, float, str]:
    with DicomSource(path, clock=ManualClock(), spacing=spacing) as source:
        frames = list(source)
        assert {frame.spacing for frame in frames} == {source.info.spacing}
        return source.info.spacing, frames[0].aspect, source.info.note.replace(RATE_NOTE, "").strip("; ")


EVERY_40_MS = [0, 40000, 80000, 120000, 160000]


@pytest.mark.parametrize(
    ("attributes", "expected_us", "rate_hz"),
    [
        ({}, EVERY_40_MS, None),
        ({"FrameTime": "33.333"}, [0, 33333, 66666, 99999, 133332], Fraction(1_000_000, 33333)),
        ({"FrameTime": "16.6666"}, [0, 16667, 33333, 50000, 66666], Fraction(10_000_000, 166666)),
        ({"CineRate": "50"}, [0, 20000, 40000, 60000, 80000], Fraction(50)),
        ({"RecommendedDisplayFrameRate": "10"}, [0, 100000, 200000, 300000, 400000], Fraction(10)),
        ({"CineRate": "30"}, [0, 33333, 66667, 100000, 133333], Fraction(30)),
        ({"FrameTime": "20", "CineRate": "50", "RecommendedDisplayFrameRate": "10"}, None, Fraction(50)),
        ({"FrameTime": "0", "CineRate": "25"}, EVERY_40_MS, Fraction(25)),
        ({"FrameTime": "-40", "CineRate": "0", "RecommendedDisplayFrameRate": "25"}, EVERY_40_MS, Fraction(25)),
        ({"FrameTime": "1e9", "CineRate": "100000"}, EVERY_40_MS, None),
        ({"FrameTime": ""}, EVERY_40_MS, None),
        ({"ActualFrameDuration": "66"}, [0, 66000, 132000, 198000, 264000], Fraction(1000, 66)),
        ({"ActualFrameDuration": "66", "FrameTime": "20"}, None, Fraction(50)),
        ({"EffectiveDuration": 0.5}, [0, 100000, 200000, 300000, 400000], Fraction(10)),
        ({"EffectiveDuration": 0.5, "RecommendedDisplayFrameRate": "50"}, [0, 100000, 200000, 300000, 400000], 10),
        ({"EffectiveDuration": 500.0}, EVERY_40_MS, None),
    ],
)
def test_times_come_from_the_first_sound_attribute(
    tmp_path: Path, attributes: dict[str, Any], expected_us: list[int] | None, rate_hz: Fraction | None
) -> None:
    pts, rate = times_us(native(tmp_path / "a.dcm", PICTURES, **attributes))
    assert rate == rate_hz
    assert pts == (expected_us or [0, 20000, 40000, 60000, 80000])


@pytest.mark.parametrize("broken", ["nan", "inf", "33,3", "fast", "1e400"])
def test_a_frame_time_that_is_no_number_is_ignored(tmp_path: Path, broken: str) -> None:
    path = native(tmp_path / "a.dcm", PICTURES, FrameTime="12345678", CineRate="50")
    path.write_bytes(path.read_bytes().replace(b"12345678", broken.ljust(8).encode()))
    assert times_us(path) == ([0, 20000, 40000, 60000, 80000], Fraction(50))


@pytest.mark.parametrize(
    ("vector", "expected_us"),
    [
        (["0", "30", "50", "30", "40.5"], [0, 30000, 80000, 110000, 150500]),
        (["17", "30", "50", "30", "40"], [0, 30000, 80000, 110000, 150000]),
        (["0", "30", "0", "-5", "40"], [0, 30000, 60000, 90000, 130000]),
        (["0", "30", "50"], [0, 30000, 80000, 110000, 140000]),
        (["0", "30", "30", "30", "30", "99", "99", "99"], [0, 30000, 60000, 90000, 120000]),
        (["30", "50", "30", "40.5"], [0, 30000, 80000, 110000, 150500]),  # one less than there are frames
        (["0", "30", "80", "110", "150"], [0, 30000, 80000, 110000, 150000]),  # counted from the first frame
        (["0", "30", "31", "32", "33"], [0, 30000, 61000, 93000, 126000]),  # steps that grow
    ],
)
@pytest.mark.parametrize("pointer", [FRAME_TIME_VECTOR, None])
def test_a_frame_time_vector_gives_each_step(
    tmp_path: Path, vector: list[str], expected_us: list[int], pointer: int | None
) -> None:
    attributes: dict[str, Any] = {"FrameIncrementPointer": pointer} if pointer else {}
    path = native(tmp_path / "a.dcm", PICTURES, FrameTimeVector=vector, FrameTime="20", **attributes)
    assert times_us(path)[0] == expected_us


def note_of(path: Path) -> str:
    with DicomSource(path, clock=ManualClock()) as source:
        return source.info.note


def test_times_that_are_a_guess_carry_a_note(tmp_path: Path) -> None:
    assert note_of(native(tmp_path / "a.dcm", PICTURES)) == RATE_NOTE
    assert note_of(native(tmp_path / "a.dcm", PICTURES[:1])) == ""
    assert note_of(native(tmp_path / "a.dcm", PICTURES, FrameTime="20")) == ""
    assert "only grow" in note_of(native(tmp_path / "a.dcm", PICTURES, FrameTimeVector=["0", "30", "60", "90", "120"]))


def test_the_increment_pointer_chooses(tmp_path: Path) -> None:
    both: dict[str, Any] = {"FrameTimeVector": ["0", *["30"] * 4], "FrameTime": "20"}
    path = native(tmp_path / "a.dcm", PICTURES, FrameIncrementPointer=FRAME_TIME, **both)
    assert times_us(path)[0] == [0, 20000, 40000, 60000, 80000]
    path = native(tmp_path / "a.dcm", PICTURES, FrameIncrementPointer=FRAME_TIME, **both | {"FrameTime": "0"})
    assert times_us(path)[0] == [0, 30000, 60000, 90000, 120000]


def test_an_embedded_video_keeps_its_rate_unless_the_header_knows(tmp_path: Path) -> None:
    stream = video(smooth(5, 32, 48), codec="libx264", container="mp4", rate_hz=20)
    options: dict[str, Any] = {"syntax": uid.MPEG4HP41, "has_table": False, "NumberOfFrames": 5}
    path = encapsulated(tmp_path / "a.dcm", [stream], (32, 48), photometric="YBR_PARTIAL_420", **options)
    assert times_us(path) == ([0, 50000, 100000, 150000, 200000], Fraction(20))
    options["FrameTime"] = "25"
    path = encapsulated(tmp_path / "a.dcm", [stream], (32, 48), photometric="YBR_PARTIAL_420", **options)
    assert times_us(path) == ([0, 25000, 50000, 75000, 100000], Fraction(40))


def test_spacing_of_the_ultrasound_region_is_in_millimetres_and_unsigned(tmp_path: Path) -> None:
    regions = [region(box=WHOLE, delta_cm=(0.02, -0.03))]
    spacing, aspect, note = scale(native(tmp_path / "a.dcm", PICTURES, SequenceOfUltrasoundRegions=regions))
    assert spacing is not None
    assert (spacing.x_mm, spacing.y_mm) == pytest.approx((0.2, 0.3))
    assert aspect == pytest.approx(2 / 3)
    assert note == ""


@pytest.mark.parametrize(
    ("attributes", "beside_mm"),
    [
        ({"RegionSpatialFormat": 2}, 0.2),
        ({"RegionDataType": 3}, 0.2),
        ({"PhysicalUnitsXDirection": 4}, None),
        ({"PhysicalUnitsYDirection": 0}, None),
        ({"PhysicalDeltaX": 0.0}, None),
        ({"PhysicalDeltaY": 100.0}, None),
    ],
)
def test_only_tissue_in_centimetres_has_a_scale(
    tmp_path: Path, attributes: dict[str, Any], beside_mm: float | None
) -> None:
    other = region(box=WHOLE, delta_cm=(0.5, 0.5), **attributes)
    small = region(box=(5, 5, 20, 20), delta_cm=(0.02, 0.02))
    spacing, *_ = scale(native(tmp_path / "a.dcm", PICTURES, SequenceOfUltrasoundRegions=[other, small]))
    assert spacing == (PixelSpacing(beside_mm, beside_mm) if beside_mm else None)
    spacing, aspect, _ = scale(native(tmp_path / "b.dcm", PICTURES, SequenceOfUltrasoundRegions=[other]))
    assert (spacing, aspect) == (None, 1.0)


LEFT, RIGHT = (0, 0, 29, 39), (30, 0, 59, 39)


def regions_of(path: Path, spacing: PixelSpacing | None = None) -> tuple[tuple[Region, ...], PixelSpacing | None]:
    with DicomSource(path, clock=ManualClock(), spacing=spacing) as source:
        frame = next(iter(source))
    return frame.regions, frame.spacing


@pytest.mark.parametrize(
    ("box", "expected_mm"),
    [
        ((0, 0, 30, 40), 0.2),
        ((30, 0, 30, 40), 0.4),
        ((33, 5, 20, 20), 0.4),
        ((2, 2, 30, 30), 0.2),  # all but two columns of 30 lie in the left region
        ((0, 0, 60, 40), None),
        ((15, 0, 30, 40), None),
    ],
)
def test_a_scale_holds_in_its_own_region(
    tmp_path: Path, box: tuple[int, int, int, int], expected_mm: float | None
) -> None:
    items = [region(box=LEFT, delta_cm=(0.02, 0.02)), region(box=RIGHT, delta_cm=(0.04, 0.04))]
    regions, overall = regions_of(native(tmp_path / "a.dcm", PICTURES, SequenceOfUltrasoundRegions=items))
    assert overall is None
    spacing, reason = spacing_within(box, regions, overall)
    assert (spacing.x_mm if spacing else None) == pytest.approx(expected_mm)
    assert ("no scale" in reason) == (expected_mm is None)


def test_the_pane_beside_the_only_region_has_no_scale(tmp_path: Path) -> None:
    items = [region(box=LEFT, delta_cm=(0.02, 0.02))]
    regions, overall = regions_of(native(tmp_path / "a.dcm", PICTURES, SequenceOfUltrasoundRegions=items))
    assert overall == PixelSpacing(x_mm=0.2, y_mm=0.2)
    assert spacing_within((30, 0, 30, 40), regions, overall) == (
        None,
        "no scale: the picture that is measured lies in none of the file's ultrasound regions",
    )


def test_a_region_inside_another_goes_first_and_one_without_scale_has_none(tmp_path: Path) -> None:
    items = [
        region(box=WHOLE, delta_cm=(0.02, 0.02)),
        region(box=(40, 20, 59, 39), delta_cm=(0.04, 0.04)),
        region(box=(0, 30, 39, 39), delta_cm=(1, 1), RegionSpatialFormat=3),
    ]
    regions, overall = regions_of(native(tmp_path / "a.dcm", PICTURES, SequenceOfUltrasoundRegions=items))
    assert [item.box for item in regions] == [(0, 0, 60, 40), (40, 20, 20, 20), (0, 30, 40, 10)]
    assert [item.kind for item in regions] == [RegionKind.TISSUE, RegionKind.TISSUE, RegionKind.OTHER]
    found = [spacing_within(item.box, regions, overall)[0] for item in regions]
    assert found == [PixelSpacing(0.2, 0.2), PixelSpacing(0.4, 0.4), None]


def test_regions_of_unlike_scale_give_the_whole_picture_none(tmp_path: Path) -> None:
    items = [region(box=box, delta_cm=(delta, delta)) for box, delta in ((LEFT, 0.01), (RIGHT, 0.04))]
    spacing, _, note = scale(native(tmp_path / "a.dcm", PICTURES, SequenceOfUltrasoundRegions=items))
    assert spacing is None
    assert "unlike scale" in note
    alike = [region(box=box, delta_cm=(0.02, 0.02)) for box in (LEFT, RIGHT)]
    spacing, _, note = scale(native(tmp_path / "b.dcm", PICTURES, SequenceOfUltrasoundRegions=alike))
    assert (spacing, note) == (PixelSpacing(x_mm=0.2, y_mm=0.2), "")


@pytest.mark.parametrize("delta_cm", [(2e-5, 2e-5), (20.0, 20.0), (0.02, 0.2)])
def test_a_scale_no_ultrasound_has_is_unknown_and_the_viewer_is_told(
    tmp_path: Path, delta_cm: tuple[float, float]
) -> None:
    items = [region(box=WHOLE, delta_cm=delta_cm)]
    path = native(tmp_path / "a.dcm", PICTURES, SequenceOfUltrasoundRegions=items)
    spacing, _, note = scale(path)
    assert spacing is None
    assert note.startswith("no scale: ")
    assert "plausible" in note
    assert spacing_within((5, 5, 20, 20), *regions_of(path)) == (None, "")


def test_the_rounding_of_a_scale_makes_it_no_other(tmp_path: Path) -> None:
    items = [region(box=box, delta_cm=(delta, delta)) for box, delta in ((LEFT, 0.0264583), (RIGHT, 0.0264584))]
    spacing, _, note = scale(native(tmp_path / "a.dcm", PICTURES, SequenceOfUltrasoundRegions=items))
    assert spacing is not None
    assert spacing.x_mm == pytest.approx(0.264583, rel=1e-5)
    assert note == ""


def test_the_users_scale_holds_in_every_region(tmp_path: Path) -> None:
    chosen = PixelSpacing(x_mm=0.3, y_mm=0.3)
    items = [region(box=LEFT, delta_cm=(0.02, 0.02)), region(box=RIGHT, delta_cm=(0.04, 0.04))]
    regions, overall = regions_of(native(tmp_path / "a.dcm", PICTURES, SequenceOfUltrasoundRegions=items), chosen)
    assert [item.box for item in regions] == [(0, 0, 30, 40), (30, 0, 30, 40)]
    assert spacing_within((30, 0, 30, 40), regions, overall) == (chosen, "")


def test_one_region_that_reaches_out_makes_all_scales_unknown(tmp_path: Path) -> None:
    items = [region(box=LEFT, delta_cm=(0.02, 0.02)), region(box=(30, 0, 119, 79), delta_cm=(0.02, 0.02))]
    regions, overall = regions_of(native(tmp_path / "a.dcm", PICTURES, SequenceOfUltrasoundRegions=items))
    assert (regions, overall) == ((), None)


@pytest.mark.parametrize(("box", "is_taken"), [((0, 0, 60, 40), True), ((10, 10, 119, 79), False)])
def test_a_region_that_reaches_out_of_the_picture_gives_no_scale(
    tmp_path: Path, box: tuple[int, int, int, int], is_taken: bool
) -> None:
    regions = [region(box=box, delta_cm=(0.02, 0.02))]
    path = native(tmp_path / "a.dcm", PICTURES, SequenceOfUltrasoundRegions=regions)
    spacing, _, note = scale(path)
    assert (spacing is not None) == is_taken
    assert ("no scale" in note) != is_taken
    chosen = PixelSpacing(x_mm=0.4, y_mm=0.4)
    assert scale(path, chosen) == (chosen, 1.0, "")


@pytest.mark.parametrize("keyword", ["PixelSpacing", "NominalScannedPixelSpacing"])
def test_spacing_attributes_name_rows_first(tmp_path: Path, keyword: str) -> None:
    attributes: dict[str, Any] = {keyword: ["0.3", "0.2"]}
    spacing, aspect, _ = scale(native(tmp_path / "a.dcm", PICTURES, **attributes))
    assert spacing == PixelSpacing(x_mm=0.2, y_mm=0.3)
    assert aspect == pytest.approx(2 / 3)


@pytest.mark.parametrize("values", [["1", "1"], ["0", "0"], ["-0.2", "0.2"], ["50", "50"], ["0.2"]])
def test_spacing_attributes_that_cannot_be_are_ignored(tmp_path: Path, values: list[str]) -> None:
    assert scale(native(tmp_path / "a.dcm", PICTURES, PixelSpacing=values))[0] is None


def test_the_aspect_ratio_serves_where_nothing_else_is_known(tmp_path: Path) -> None:
    assert scale(native(tmp_path / "a.dcm", PICTURES, PixelAspectRatio=["4", "3"]))[:2] == (None, 0.75)
    assert scale(native(tmp_path / "a.dcm", PICTURES, PixelAspectRatio=["0", "0"]))[:2] == (None, 1.0)


def shape_and_note(path: Path) -> tuple[float | None, str]:
    with DicomSource(path, clock=ManualClock()) as source:
        return next(iter(source)).pixel_aspect, source.info.note


@pytest.mark.parametrize(
    ("rows_first", "aspect"),
    [
        (["200", "300"], 1.5),
        (["2e-4", "3e-4"], 1.5),
        (["0.2", "20"], None),
        (["1", "100"], None),
        (["-0.2", "0.2"], None),
    ],
)
def test_a_spacing_in_another_unit_still_says_the_shape(
    tmp_path: Path, rows_first: list[str], aspect: float | None
) -> None:
    path = native(tmp_path / "a.dcm", PICTURES, PixelSpacing=rows_first)
    shape, note = shape_and_note(path)
    assert shape == (pytest.approx(aspect) if aspect else None)
    assert "no scale: " in note


@pytest.mark.parametrize(
    ("deltas_cm", "aspect"),
    [
        (((30.0, 20.0),), 1.5),
        (((30.0, -20.0), (60.0, 40.0)), 1.5),
        (((30.0, 20.0), (20.0, 20.0)), None),
        (((0.02, 0.2),), None),
    ],
)
def test_regions_in_another_unit_still_say_the_shape(
    tmp_path: Path, deltas_cm: tuple[tuple[float, float], ...], aspect: float | None
) -> None:
    items = [region(box=box, delta_cm=delta) for box, delta in zip((LEFT, RIGHT), deltas_cm, strict=False)]
    shape, note = shape_and_note(native(tmp_path / "a.dcm", PICTURES, SequenceOfUltrasoundRegions=items))
    assert shape == (pytest.approx(aspect) if aspect else None)
    assert "no scale: " in note


def test_an_aspect_ratio_that_cannot_be_is_unknown(tmp_path: Path) -> None:
    shape, note = shape_and_note(native(tmp_path / "a.dcm", PICTURES, PixelAspectRatio=["1", "100"]))
    assert shape is None
    assert "no angle: the file's PixelAspectRatio is not plausible" in note


def test_an_embedded_video_says_the_shape_of_its_pixels_where_the_header_does_not(tmp_path: Path) -> None:
    stream = video(smooth(5, 32, 48), codec="libx264", container="mp4", aspect=Fraction(16, 15))
    options: dict[str, Any] = {"syntax": uid.MPEG4HP41, "has_table": False, "NumberOfFrames": 5}
    path = encapsulated(tmp_path / "a.dcm", [stream], (32, 48), photometric="YBR_PARTIAL_420", **options)
    assert scale(path)[1] == pytest.approx(16 / 15)
    options["PixelAspectRatio"] = ["4", "3"]
    path = encapsulated(tmp_path / "a.dcm", [stream], (32, 48), photometric="YBR_PARTIAL_420", **options)
    assert scale(path)[1] == pytest.approx(0.75)


def test_the_callers_spacing_goes_before_the_files(tmp_path: Path) -> None:
    chosen = PixelSpacing(x_mm=0.11, y_mm=0.22)
    path = native(tmp_path / "a.dcm", PICTURES, PixelSpacing=["0.3", "0.2"])
    assert scale(path, chosen) == (chosen, 0.5, "")
