"""What ends a file early must not leave one that looks whole, and pictures show what was measured."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
import pytest

from stream.common.errors import OptionError, OutputError
from stream.frames.frame import Frame, PixelSpacing
from stream.measurement.biometry import Biometry, Landmarks
from stream.outputs import tables
from stream.outputs.group import SinkGroup
from stream.outputs.pictures.drawing import PICTURE_PX, YELLOW, Painter
from stream.outputs.pictures.overlay import OverlayVideo
from stream.outputs.pictures.trend_plot import COLUMNS, MOST_POINTS, TrendPlot
from stream.outputs.results_folder import prepare_folder
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import FrameState, Measurement
from tests.fakes.browser import contrast, luminance
from tests.fakes.doubles import DrawnSource, GreyLevelEngine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from stream.outputs.base import Sink


@pytest.fixture(scope="module")
def measurements() -> list[Measurement]:
    with Pipeline(DrawnSource(30, off_plane=range(10, 20)), GreyLevelEngine()) as pipeline:
        return list(pipeline)


def write_all(sink: Sink | SinkGroup, measurements: list[Measurement]) -> None:
    for measurement in measurements:
        sink.write(measurement)


def overlay(path: Path, rate: Fraction | None = None) -> OverlayVideo:
    return OverlayVideo(path, note="", frame_rate_hz=rate)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [None, Fraction(1_000_000, 33_333), Fraction("29.970029970029"), Fraction(1, 900)])
def test_any_frame_rate_makes_a_film(measurements: list[Measurement], tmp_path: Path, rate: Fraction | None) -> None:
    film = overlay(tmp_path / "overlay.mp4", rate)
    for measurement in measurements:
        film.write(measurement)
    film.close()
    film.close()
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([measurement.frame.pts_s for measurement in measurements], abs=1e-3)
    assert [path.name for path in tmp_path.iterdir()] == ["overlay.mp4"]


def test_a_film_without_frames_leaves_no_file(tmp_path: Path) -> None:
    overlay(tmp_path / "overlay.mp4").close()
    assert list(tmp_path.iterdir()) == []


def test_a_film_that_cannot_be_encoded_is_told_and_taken_away(
    measurements: list[Measurement], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint = Painter.paint

    def paint_five(self: Painter, measurement: Measurement) -> NDArray[np.uint8]:
        if measurement.frame.index == 5:
            raise MemoryError("no canvas")
        return paint(self, measurement)

    monkeypatch.setattr(Painter, "paint", paint_five)
    film = overlay(tmp_path / "overlay.mp4")
    with pytest.raises(OutputError, match="no canvas"), SinkGroup([lambda: film]) as together:
        write_all(together, measurements)
    assert list(tmp_path.iterdir()) == []


def test_both_tables_together_are_those_of_each_alone(measurements: list[Measurement], tmp_path: Path) -> None:
    lines, columns = tables.JsonLinesTable(tmp_path / "alone.jsonl"), tables.CsvTable(tmp_path / "alone.csv")
    with closing(lines), closing(columns), closing(tables.RecordTables(tmp_path)) as both:
        for measurement in measurements:
            for table in (lines, columns, both):
                table.write(measurement)
    for name in ("jsonl", "csv"):
        assert (tmp_path / f"measurements.{name}").read_bytes() == (tmp_path / f"alone.{name}").read_bytes()


@pytest.mark.parametrize("sink", [tables.JsonLinesTable, tables.CsvTable])
def test_a_full_disk_leaves_whole_lines(
    measurements: list[Measurement], tmp_path: Path, sink: type[tables.JsonLinesTable | tables.CsvTable]
) -> None:
    resource = pytest.importorskip("resource")
    table = sink(tmp_path / "table")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal = pytest.importorskip("signal")
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with closing(table), pytest.raises(OutputError, match="cannot be written"):
            write_all(table, measurements)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    text = (tmp_path / "table").read_text()
    assert text.endswith("\n")
    assert 0 < text.count("\n") < 30


def test_the_first_error_is_the_one_that_is_raised() -> None:
    class Stubborn:
        def __init__(self) -> None:
            self.closed = 0

        def write(self, measurement: Measurement) -> None: ...

        def close(self) -> None:
            self.closed += 1
            raise OutputError("cannot close")

    first, second = Stubborn(), Stubborn()

    def use() -> None:
        with SinkGroup([lambda: first, lambda: second]):
            raise KeyError("the cause")

    with pytest.raises(KeyError, match="the cause"):
        use()
    assert first.closed == second.closed == 1
    with pytest.raises(OutputError, match="cannot close"):
        SinkGroup([lambda: first]).__exit__(None, None, None)


def test_sinks_already_open_are_closed_where_a_later_one_fails(measurements: list[Measurement], tmp_path: Path) -> None:
    opened = tables.JsonLinesTable(tmp_path / "a.jsonl")

    def fail() -> tables.CsvTable:
        raise OutputError("no space")

    with pytest.raises(OutputError):
        SinkGroup([lambda: opened, fail])
    with pytest.raises(ValueError, match="closed"):
        opened.write(measurements[0])


def yellow_share(canvas: NDArray[np.uint8], centre: tuple[float, float], angle_deg: float) -> float:
    """How yellow the canvas is on the arc's radius in a direction (degrees clockwise from right, y down)."""
    x = round(centre[0] + 26 * np.cos(np.deg2rad(angle_deg)))
    y = round(centre[1] + 26 * np.sin(np.deg2rad(angle_deg)))
    patch = canvas[y - 2 : y + 3, x - 2 : x + 3].astype(float)
    return float(1 - np.abs(patch - np.array(YELLOW)).max(axis=2).min() / 255)


@pytest.mark.parametrize("has_foot", [True, False])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_arc_is_drawn_over_the_head(measurements: list[Measurement], mirrored: bool, has_foot: bool) -> None:
    # PS axis to the left (or right), tangent straight down: the head lies between, below the axis.
    side = 1 if mirrored else -1
    vertex = (64.0, 40.0)
    landmarks = Landmarks(
        ps_superior=(64.0 + 30 * side, 40.0),
        ps_inferior=vertex,
        tangent=(64.0, 90.0),
        hsd_min_foot=(64.0 + 10 * side, 60.0) if has_foot else None,
        hsd_perp_foot=None,
    )
    reading = Biometry(protocol="robust", aop_deg=90.0, hsd_min=20.0, landmarks=landmarks, mirrored=mirrored)
    canvas = Painter("").paint(replace(measurements[0], biometry=reading, outlines=None))
    scale = PICTURE_PX / 128
    centre = ((vertex[0] + 0.5) * scale - 0.5, (vertex[1] + 0.5) * scale - 0.5)
    over_head, other_side = (90 + 20 * -side, 90 + 150 * side) if mirrored else (90 + 20, 90 - 150)
    assert yellow_share(canvas, centre, over_head) > 0.8
    assert yellow_share(canvas, centre, other_side) < 0.7


def test_a_frame_thinner_than_the_canvas_can_be_painted(measurements: list[Measurement]) -> None:
    frame = replace(measurements[0].frame, image=np.zeros((2000, 1), np.uint8))
    canvas = Painter("").paint(replace(measurements[0], frame=frame, biometry=None, outlines=None))
    assert canvas.shape == (Painter.size[1], Painter.size[0], 3)


@pytest.mark.slow
def test_the_trend_keeps_its_memory_and_takes_any_title(measurements: list[Measurement], tmp_path: Path) -> None:
    trend = TrendPlot(tmp_path / "trend.png", "a$^$_é_漢.mp4")
    for _ in range(MOST_POINTS // 30 + 40):
        for measurement in measurements:
            trend.write(measurement)
    assert len(trend._plot._points) <= (MOST_POINTS + 1) * len(COLUMNS)
    trend.close()
    image = cv2.imread(str(tmp_path / "trend.png"))
    assert image is not None


def test_results_never_end_up_in_their_own_source(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    with pytest.raises(OptionError, match="source"):
        prepare_folder(pictures / "out", source=pictures)
    film = tmp_path / "overlay.mp4"
    film.write_bytes(b"film")
    with pytest.raises(OptionError, match="source"):
        prepare_folder(tmp_path, source=film)
    assert film.read_bytes() == b"film"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "partum-runs").write_text("a file")
    with pytest.raises(OutputError, match="partum-runs"):
        prepare_folder(None, source=tmp_path / "clip.mp4")


def result(index: int, *, hsd_px: float | None = 60.0, mm_per_px: float | None = None, **changes: Any) -> Measurement:
    """A measured frame at 25 Hz, or a refused one where there is no HSD."""
    frame = Frame(
        image=np.zeros((8, 8), np.uint8),
        index=index,
        pts=index,
        time_base=Fraction(1, 25),
        captured_ns=0,
        spacing=PixelSpacing(mm_per_px, mm_per_px) if mm_per_px else None,
    )
    reading = Biometry(protocol="robust", aop_deg=120.0, hsd_min=hsd_px) if hsd_px else None
    state = FrameState.MEASURED if hsd_px else FrameState.REFUSED
    return Measurement(frame=frame, protocol="robust", state=state, latency_ms=1.0, biometry=reading, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("frames", [0, 1, 50])
def test_a_plot_of_nothing_has_the_usual_axes_and_says_so(frames: int, tmp_path: Path) -> None:
    trend = TrendPlot(tmp_path / "trend.png", "nothing")
    for index in range(frames):
        trend.write(result(index, hsd_px=None))
    above, below = trend.figure().axes
    assert above.get_ylim() == (70.0, 180.0)
    assert below.get_ylim() == (0.0, 60.0)
    assert above.get_xlim() == (0.0, max((frames - 1) / 25, 1.0) if frames != 50 else 49 / 25)
    for axes in (above, below):
        assert [text.get_text() for text in axes.texts] == ["nothing was measured"]
    trend.close()
    assert cv2.imread(str(tmp_path / "trend.png")) is not None


def with_drops() -> Iterator[Measurement]:
    """Twenty seconds of a machine that measures one frame of ten, and then none for two seconds."""
    for index in range(500):
        is_measured = index % 10 == 0 and not 300 < index < 350
        yield result(index) if is_measured else replace(result(index, hsd_px=None), state=FrameState.DROPPED)


def test_dropped_frames_leave_no_gap_but_a_long_stretch_of_them_does(tmp_path: Path) -> None:
    trend = TrendPlot(tmp_path / "trend.png", "drops")
    for measurement in with_drops():
        trend.write(measurement)
    below = trend.figure().axes[1]
    drawn = np.asarray(below.lines[0].get_ydata())
    assert np.isfinite(drawn).sum() == 46
    gaps = np.flatnonzero(np.diff(np.concatenate(([False], np.isnan(drawn), [False])).astype(int)) == 1)
    assert len(gaps) == 1  # one gap: the line is drawn before and after it
    grey = [patch for patch in below.patches if np.isfinite(patch.get_extents().width)]
    assert len(grey) <= 2  # that gap, and the one of the legend


def test_one_plot_has_one_unit_whatever_the_last_frame_is(tmp_path: Path) -> None:
    trend = TrendPlot(tmp_path / "trend.png", "a scale that is found late")
    for index in range(20):
        trend.write(result(index))  # 60 px, the scale is not known yet
    for index in range(20, 40):
        trend.write(result(index, mm_per_px=0.25))
    trend.write(replace(result(40, hsd_px=None), state=FrameState.DROPPED))
    below = trend.figure().axes[1]
    assert below.get_ylabel() == "HSD, shortest (mm)"
    drawn = np.asarray(below.lines[0].get_ydata())
    assert np.isnan(drawn[:20]).all()
    assert drawn[20:40] == pytest.approx(15.0)
    without = TrendPlot(tmp_path / "px.png", "no scale")
    without.write(result(0))
    below = without.figure().axes[1]
    assert below.get_ylabel() == "HSD, shortest (px)"
    assert np.asarray(below.lines[0].get_ydata()) == pytest.approx(60.0)


def test_a_reading_that_nothing_agrees_with_yet_is_told_small(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, int]] = []
    monkeypatch.setattr(
        "stream.outputs.pictures.drawing.draw_text",
        lambda canvas, text, at, size, *rest, **options: written.append((text, size)),
    )
    Painter("").paint(result(0))
    assert ("this frame alone: 120°", 14) in written
    assert not [text for text, size in written if "120" in text and size > 14]


@pytest.mark.parametrize(
    ("latency_ms", "is_late", "status"),
    [(900.0, True, "MEASURED"), (11_000.0, True, "NOT LIVE: 11 s late"), (11_000.0, False, "MEASURED")],
)
def test_the_film_of_a_live_feed_says_what_came_late(
    latency_ms: float, is_late: bool, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    painter = Painter("", is_live=is_late)
    monkeypatch.setattr(
        "stream.outputs.pictures.drawing.draw_text", lambda canvas, text, *rest, **options: written.append(text)
    )
    painter.paint(replace(result(0), latency_ms=latency_ms))
    assert written[0] == status


@pytest.mark.parametrize("grey", range(0, 256, 15))
def test_lines_of_the_film_stand_out_from_any_grey(measurements: list[Measurement], grey: int) -> None:
    good = measurements[5]
    assert good.biometry is not None
    assert good.biometry.landmarks is not None
    found = good.biometry.landmarks
    assert found.hsd_min_foot is not None
    frame = replace(good.frame, image=np.full((128, 128), grey, np.uint8))
    canvas = Painter("").paint(replace(good, frame=frame))[..., ::-1]
    for one, other in ((found.ps_superior, found.ps_inferior), (found.hsd_min_foot, found.ps_inferior)):
        start, end = ((np.array(point) + 0.5) * PICTURE_PX / 128 - 0.5 for point in (one, other))
        along = (end - start) / np.hypot(*(end - start))
        ways = [
            start + (end - start) * 0.4 + np.array([-along[1], along[0]]) * step for step in np.arange(-6, 6.1, 0.5)
        ]
        colours = [tuple(canvas[round(y), round(x)]) for x, y in ways]
        line, casing = max(colours[8:17], key=luminance), min(colours, key=luminance)
        assert contrast(line, casing) >= 3
        assert max(contrast(line, (grey,) * 3), contrast(casing, (grey,) * 3)) >= 3
