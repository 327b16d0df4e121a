"""Recordings and pictures measured from Python: records, table, plot, pipeline, and what is not a picture."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd
import PIL.Image
import pytest

from engines.base import grey_fault
from engines.errors import ModelMismatch
from engines.sharing import BorrowedEngine
from stream.api.preprocessed_pipeline import PreprocessedPipeline
from stream.api.replay import replay
from stream.api.still import _default_engine, measure_picture
from stream.common.channel import Overflow
from stream.common.errors import ExtraMissing, MaskError, OptionError, SourceNotFound, SourceUnreadable
from stream.frames.frame import PixelSpacing
from stream.frames.reason import Reason
from stream.measurement.biometry import Orientation
from stream.measurement.protocols import measure
from stream.outputs.tables import CsvTable
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import FrameState
from stream.pipeline.record_fields import CLOCK_FIELDS, record_of
from stream.preprocessing.options import WHOLE, PreprocessingOptions
from stream.sources import open_live, open_source
from tests.conftest import REPOSITORY
from tests.fakes.doubles import GreyLevelEngine, picture

if TYPE_CHECKING:
    from pathlib import Path

    from engines.base import Engine
    from stream.api.result import ReplayResult

UNCUT = PreprocessingOptions(sector=WHOLE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve drawn pictures, of which four show no standard plane."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(12):
        cv2.imwrite(str(folder / f"{number:02d}.png"), picture(60 + 0.2 * number, standard=not 4 <= number < 8))
    return folder


@pytest.fixture(scope="module")
def result(folder: Path) -> ReplayResult:
    return replay(folder, engine=GreyLevelEngine(), preprocessing=UNCUT, spacing=PixelSpacing(0.4, 0.4))


def timeless(record: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in record.items() if name not in CLOCK_FIELDS}


def test_a_replay_gives_the_records_of_every_frame(result: ReplayResult) -> None:
    assert len(result) == len(result.records) == 12
    assert [record["state"] for record in result] == ["measured"] * 4 + ["refused"] * 4 + ["measured"] * 4
    assert {record["reason"] for record in result} == {None, "not_standard_plane"}
    assert result.statistics.frames_in == 12
    assert (result.source.kind, result.engine.backend, result.protocol) == ("images", "grey levels", "robust")
    assert repr(result).endswith("12 frames, measured 8, refused 4, dropped 0>")
    assert repr(result.statistics) == "<RunStatistics: 12 frames, measured 8, refused 4, dropped 0>"


def test_a_replay_leaves_the_callers_engine_open_and_measures_as_a_pipeline_does(folder: Path) -> None:
    engine = GreyLevelEngine()
    found = replay(str(folder), engine=engine, preprocessing=UNCUT)
    assert not engine.closed
    with Pipeline(open_source(folder), engine) as pipeline:
        assert [timeless(record_of(each)) for each in pipeline] == [timeless(each) for each in found]
    assert engine.closed


@pytest.mark.slow
def test_a_pipeline_measures_the_demonstration_clip_as_a_replay_does(
    loaded_engine: Engine, short_demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.api.replay.DEMO_CLIP", short_demo)
    found = replay(engine=loaded_engine)
    with PreprocessedPipeline(open_source(short_demo), BorrowedEngine(loaded_engine)) as pipeline:
        assert [timeless(record_of(each)) for each in pipeline] == [timeless(each) for each in found]
    assert len(found) == 80
    assert {record["state"] for record in found} == {"measured", "refused"}
    assert found.statistics.reasons["cut_by_sector"] > 0  # which only preprocessing can tell


def test_a_pipeline_preprocesses_unless_told_otherwise(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (6, 96, 128), dtype=np.uint8)
    for number, image in enumerate(noise):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    with PreprocessedPipeline(open_source(tmp_path), GreyLevelEngine()) as pipeline:
        reasons = [each.reason for each in pipeline]
    assert reasons == [record["reason"] for record in replay(tmp_path, engine=GreyLevelEngine())]
    assert set(reasons) == {Reason.NO_SECTOR}
    with PreprocessedPipeline(open_source(tmp_path), GreyLevelEngine(), preprocessing=UNCUT) as pipeline:
        assert Reason.NO_SECTOR not in {each.reason for each in pipeline}
    with open_source(tmp_path) as source, pytest.raises(OptionError, match="no protocol 'best'"):
        PreprocessedPipeline(source, GreyLevelEngine(), protocol="best")


def test_a_pipeline_keeps_up_with_a_live_feed_and_lets_a_recording_wait(folder: Path) -> None:
    for source, overflow in ((open_source(folder), Overflow.BLOCK), (open_live("udp://@:5000"), Overflow.DROP_OLDEST)):
        with source:
            assert PreprocessedPipeline(source, GreyLevelEngine())._frames._overflow is overflow


def test_the_table_has_the_columns_and_values_of_the_csv(result: ReplayResult, folder: Path, tmp_path: Path) -> None:
    table = result.to_pandas()
    csv = CsvTable(tmp_path / "m.csv")
    with Pipeline(open_source(folder, spacing=PixelSpacing(0.4, 0.4)), GreyLevelEngine()) as pipeline:
        for each in pipeline:
            csv.write(each)
    csv.close()
    written = pd.read_csv(tmp_path / "m.csv")
    assert list(table.columns) == list(written.columns)
    for name in ("aop_deg", "hsd_min_mm", "ps_inferior_x_px", "spacing_x_mm", "hsd_perp_extrapolated_mm"):
        assert table[name].dtype == np.float64
        np.testing.assert_allclose(table[name], written[name].astype(float))
    assert table["index"].dtype == np.int64
    assert table["aop_deg"].isna().sum() == 5  # the first one measured begins a track, which shows nothing yet


def test_the_plot_is_a_figure_that_notebooks_show(result: ReplayResult) -> None:
    figure = result.plot(title="a title")
    above, below = figure.axes
    assert (above.get_ylabel(), below.get_ylabel()) == ("AoP (°)", "HSD, shortest (mm)")
    line = next(each for each in above.lines if each.get_label() == "tracked")
    assert len(line.get_xdata()) == 12  # type: ignore[arg-type]
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_a_table_without_pandas_names_the_extra(result: ReplayResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ExtraMissing, match=r"pip install 'partum\[notebook\]'"):
        result.to_pandas()


def test_without_matplotlib_only_the_plot_fails(folder: Path) -> None:
    probe = f"""
import sys
sys.modules["matplotlib"] = None
import partum
from tests.conftest import REPOSITORY
from tests.fakes.doubles import GreyLevelEngine
result = partum.replay({str(folder)!r}, engine=GreyLevelEngine())
print(len(result))
try:
    result.plot()
except partum.PartumError as error:
    print(error)
"""
    shown = subprocess.run(
        [sys.executable, "-c", probe], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=120
    ).stdout.splitlines()
    assert shown[0] == "12"
    assert re.fullmatch(r"a plot needs matplotlib, .*; pip install matplotlib", shown[1])


def test_what_cannot_be_replayed_is_said_as_on_the_command_line(tmp_path: Path) -> None:
    engine = GreyLevelEngine()
    with pytest.raises(SourceNotFound, match="no such file"):
        replay(tmp_path / "none.mp4", engine=engine)
    with pytest.raises(OptionError, match="no protocol 'best'; choose one of: robust, iugc2024, fhps2023"):
        replay(engine=engine, protocol="best")
    with pytest.raises(OptionError, match="normal pictures only"):
        replay(engine=engine, protocol="iugc2024", orientation=Orientation.MIRRORED)
    with pytest.raises(OptionError, match="is a live feed"):
        replay("rtsp://host/live", engine=engine)
    assert not engine.closed


def test_one_picture_is_measured_as_a_replay_of_it_alone(folder: Path) -> None:
    image = cv2.imread(str(folder / "00.png"), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    engine = GreyLevelEngine()
    still = measure_picture(image.astype(np.uint8), engine=engine, spacing=PixelSpacing(0.4, 0.4), preprocessing=UNCUT)
    assert still.state is FrameState.MEASURED
    assert not engine.closed
    assert image.flags.writeable  # it was copied
    (alone,) = replay(folder / "00.png", engine=engine, spacing=PixelSpacing(0.4, 0.4), preprocessing=UNCUT)
    record = record_of(still)
    assert {name for name, value in alone.items() if record[name] != value} <= {*CLOCK_FIELDS}


def test_a_picture_without_an_engine_takes_the_default_one_and_keeps_it() -> None:
    _default_engine.cache_clear()
    black = np.zeros((48, 64), np.uint8)
    assert [measure_picture(black).reason for _ in range(2)] == [Reason.NO_SECTOR] * 2
    assert (_default_engine.cache_info().misses, _default_engine.cache_info().hits) == (1, 1)
    assert _default_engine().predict(black).plane_logit.shape == (1,)  # still open


def test_what_a_notebook_shows_of_a_measurement_is_short(folder: Path) -> None:
    image = cv2.imread(str(folder / "00.png"), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    still = measure_picture(image.astype(np.uint8), engine=GreyLevelEngine(), preprocessing=UNCUT)
    assert still.outlines is not None
    shown = repr(still)
    assert "array(" not in shown
    assert "aop_deg=" in shown
    assert len(shown) < 2000
    assert repr(GreyLevelEngine()) == "<GreyLevelEngine: grey levels fp32 CPU>"


def test_a_picture_that_is_no_standard_plane_has_a_reason() -> None:
    still = measure_picture(picture(standard=False), engine=GreyLevelEngine(), preprocessing=UNCUT)
    assert (still.state, still.reason) == (FrameState.REFUSED, Reason.NOT_STANDARD_PLANE)
    black = measure_picture(np.zeros((48, 64), np.uint8), engine=GreyLevelEngine())
    assert (black.state, black.reason) == (FrameState.REFUSED, Reason.NO_SECTOR)


NO_GREY_PICTURES = {
    "rgb": (np.zeros((40, 50, 3), np.uint8), r"uint8 of shape \(40, 50, 3\), a colour picture; take one channel"),
    "rgba": (np.zeros((40, 50, 4), np.uint8), "a colour picture"),
    "one channel": (np.zeros((40, 50, 1), np.uint8), r"picture\[\.\.\., 0\]"),
    "colours in fractions": (np.zeros((40, 50, 3), np.float32), "a colour picture"),
    "fractions": (np.zeros((40, 50)), r"float64 of shape \(40, 50\); convert it first"),
    "empty": (np.zeros((0, 4), np.uint8), r"uint8 of shape \(0, 4\)"),
    "a row": (np.zeros(4, np.uint8), r"uint8 of shape \(4,\)"),
    "list": ([[0, 1], [2, 0]], "list; make it an array"),
    "PIL": (PIL.Image.new("RGB", (50, 40)), r"Image; make it an array: np\.asarray\(picture\.convert\('L'\)\)"),
    "nothing": (None, "NoneType"),
}


@pytest.mark.parametrize(("given", "said"), NO_GREY_PICTURES.values(), ids=NO_GREY_PICTURES)
def test_what_is_no_grey_picture_is_refused_alike_everywhere(given: Any, said: str) -> None:
    with pytest.raises(SourceUnreadable, match=rf"a picture is a grey array \(H, W\) of uint8, got .*{said}"):
        measure_picture(given, engine=GreyLevelEngine())
    with pytest.raises(ModelMismatch, match=rf"uint8 of shape \(H, W\) or \(B, H, W\), got .*{said}"):
        GreyLevelEngine().predict(given)
    with pytest.raises(MaskError, match=rf"a label mask is \(H, W\) uint8 with pixels in it, got .*{said}"):
        measure(given)


def test_the_advice_on_a_picture_that_is_not_grey_works() -> None:
    colour = cv2.cvtColor(picture(), cv2.COLOR_GRAY2RGB)
    for grey in (
        colour[..., 0],
        cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY),
        np.asarray(PIL.Image.fromarray(colour).convert("L")),
    ):
        assert grey_fault(grey) is None
        np.testing.assert_array_equal(grey, picture())


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"field_of_view": [[True]]}, MaskError),
        ({"field_of_view": np.ones((128, 128), np.uint8)}, MaskError),
        ({"pixel_size": 1.0}, OptionError),
        ({"pixel_size": ("a", "b")}, OptionError),
        ({"pixel_size": (1.0, 0.0)}, OptionError),
    ],
    ids=str,
)
def test_what_is_no_field_of_view_and_no_size_of_a_pixel_is_refused(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"the field of view must be|a pixel's size must be"):
        measure(np.zeros((128, 128), np.uint8), **options)


def test_an_engine_takes_a_plain_picture_or_a_batch_of_any_size() -> None:
    engine, small = GreyLevelEngine(), cv2.resize(picture(), (64, 64)).astype(np.uint8)
    one, both = engine.predict(picture()), engine.predict(np.stack([picture(), picture(standard=False)]))
    np.testing.assert_array_equal(one.class_logits, both.class_logits[:1])
    np.testing.assert_array_equal(both.plane_logit, np.array([4, -4], np.float32))
    assert engine.predict(small).class_logits.shape == one.class_logits.shape
    wrong: tuple[Any, ...] = (picture().astype(float), np.zeros((1, 1, 8, 8), np.uint8), np.zeros((0, 8, 8), np.uint8))
    for given in wrong:
        with pytest.raises(ModelMismatch, match=r"uint8 of shape \(H, W\) or \(B, H, W\), got"):
            engine.predict(given)
