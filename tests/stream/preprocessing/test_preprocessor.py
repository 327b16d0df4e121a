"""What passes preprocessing is ultrasound alone: names around and in the sector reach no output of any kind."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pytest
from websockets.sync.client import connect

from stream.app.options.session_options import SessionOptions
from stream.app.options.values import ScannerProfile
from stream.common.channel import Overflow
from stream.common.clock import MonotonicClock
from stream.common.errors import OptionError
from stream.frames.frame import BLANK, Frame, PixelSpacing
from stream.frames.reason import Reason
from stream.outputs.pictures.overlay import OverlayVideo
from stream.outputs.recorder import Recorder
from stream.outputs.web.board import Board
from stream.outputs.web.server import WebServer
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import FrameState
from stream.pipeline.record_fields import record_of
from stream.preprocessing import FramePreprocessor, PreprocessingOptions, parse_sector, read_profile
from stream.preprocessing.sector.detection import Panes
from stream.preprocessing.sector.tracker import GATHER_LIVE
from stream.sources.recorded import RecordedSource
from tests.fakes.doubles import DrawnSource, GreyLevelEngine
from tests.samples.screens import HEIGHT, INSIDE, NAME, WIDTH, Screen, scan, write

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SIDE = 700
SCREEN = Screen(inside=INSIDE, tick_px=38.7)


@cache
def pictures() -> Sequence[NDArray[np.uint8]]:
    return scan(30, size=SIDE)


def frame(image: NDArray[np.uint8], number: int, *, segment: int = 0) -> Frame:
    return Frame(
        image=image.copy(), index=number, pts=number, time_base=Fraction(1, 25), captured_ns=0, segment=segment
    )


class ScreenSource(DrawnSource):
    """A scanner's whole screen, live."""

    def __init__(self, screen: Screen, count: int) -> None:
        super().__init__(count)
        self._screen = screen

    def __iter__(self) -> Iterator[Frame]:
        for each in super().__iter__():
            yield replace(each, image=self._screen.draw(pictures()[each.index % 30], each.index))


def drawn_text(text: str, at: tuple[int, int], scale: float) -> tuple[NDArray[np.uint8], tuple[int, int, int, int]]:
    """Text as the screen has it, on black, and its box."""
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    write(image, text, at, scale, 255)
    left, top, width, height = cv2.boundingRect(image)
    return image[top : top + height, left : left + width], (left, top, width, height)


def likeness_anywhere(image: NDArray[np.uint8], text: NDArray[np.uint8]) -> float:
    """The best correlation of a text with any place of a picture, at any of the sizes it may have been brought to."""
    best = -1.0
    for scale in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5):
        small = cv2.resize(text, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        if small.shape[0] <= image.shape[0] and small.shape[1] <= image.shape[1]:
            best = max(best, float(cv2.matchTemplate(image, small, cv2.TM_CCOEFF_NORMED).max()))
    return best


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[NDArray[np.uint8]]]:
    """Every picture that leaves a live run over a screen with names: served, painted, recorded, and passed on."""
    folder = tmp_path_factory.mktemp("outputs")
    preprocessor = FramePreprocessor()
    board = Board(clock=MonotonicClock(), preprocessor=preprocessor)
    overlay = OverlayVideo(folder / "overlay.mp4", note="", frame_rate_hz=Fraction(25))
    recorder = Recorder(folder / "recording", note="")
    found: dict[str, list[NDArray[np.uint8]]] = {"passed on": [], "served": [], "painted": [], "recorded": []}
    with WebServer([board], host="127.0.0.1", port=0) as server:
        address = server.address.replace("http", "ws") + "stream"
        with (
            connect(address, close_timeout=1) as viewer,  # it reads no more when it has seen enough
            Pipeline(ScreenSource(SCREEN, 60), GreyLevelEngine(), preprocessor=preprocessor) as pipeline,
        ):
            for measurement in pipeline:
                for sink in (board, overlay, recorder):
                    sink.write(measurement)
                found["passed on"].append(measurement.frame.image)
            while len(found["served"]) < 3:
                data = viewer.recv(timeout=10)
                assert isinstance(data, bytes)
                jpeg = np.frombuffer(data[4 + int.from_bytes(data[:4], "big") :], np.uint8)
                image = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE), np.uint8) if jpeg.size else BLANK
                if image.size > BLANK.size:
                    found["served"].append(image)
    for sink in (board, overlay, recorder):
        sink.close()
    with av.open(str(folder / "overlay.mp4")) as film:
        painted = [np.asarray(each.to_ndarray(format="gray"), np.uint8) for each in film.decode(video=0)]
    found["painted"] = painted[::6]
    with RecordedSource(folder / "recording", clock=MonotonicClock()) as recorded:
        found["recorded"] = [each.image for each in recorded][::6]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["passed on", "served", "painted", "recorded"])
def test_no_name_around_or_in_the_sector_reaches_a_picture(
    outputs: dict[str, list[NDArray[np.uint8]]], kind: str
) -> None:
    whole = SCREEN.draw(pictures()[3], 3)
    texts = [
        drawn_text(NAME, (420, 60), 1.1)[0],
        drawn_text(INSIDE, (SCREEN.left + 330, SCREEN.top + 470), 0.9)[0],
        drawn_text("Preset 03", (40, 348), 0.8)[0],
    ]
    for text in texts:
        assert likeness_anywhere(whole, text) > 0.75  # the measure sees what is there
    images = [image for image in outputs[kind] if min(image.shape) > 40]
    assert images
    for image in images[:: max(1, len(images) // 6)]:
        for text in texts:
            assert likeness_anywhere(image, text) < 0.55


def test_the_outputs_show_the_scan_itself(outputs: dict[str, list[NDArray[np.uint8]]]) -> None:
    last = outputs["passed on"][-1]
    assert last.shape[0] < 700
    assert last.shape[1] < 720
    middle = pictures()[59 % 30][250:420, 60:300]  # far from the text
    assert cv2.matchTemplate(last, middle, cv2.TM_CCOEFF_NORMED).max() > 0.99
    assert all(image.shape == (1, 1) for image in outputs["passed on"][: GATHER_LIVE - 1])  # nothing before it is found


def test_the_scale_comes_from_the_ruler_and_a_new_depth_begins_a_new_segment() -> None:
    preprocessor = FramePreprocessor()
    deeper = replace(SCREEN, tick_px=51.3)
    looked = [preprocessor.process(frame(SCREEN.draw(pictures()[number % 30], number), number)) for number in range(20)]
    assert [reason for _, reason in looked] == [Reason.NO_SECTOR] * (GATHER_LIVE - 1) + [None] * (21 - GATHER_LIVE)
    shown = looked[-1][0]
    assert shown.spacing is not None
    assert shown.spacing.y_mm == pytest.approx(10 / 38.7, rel=1e-3)
    assert shown.origin[0] == pytest.approx(562, abs=9)
    assert preprocessor.state.scale.startswith("ruler, 10 mm")
    later = [
        preprocessor.process(frame(deeper.draw(pictures()[number % 30], number), number))[0] for number in range(20, 60)
    ]
    assert all(each.spacing is None or each.spacing.y_mm == pytest.approx(10 / 51.3, rel=1e-3) for each in later)
    assert later[-1].spacing is not None
    assert later[-1].segment > shown.segment


def test_the_source_s_own_scale_goes_before_the_ruler() -> None:
    preprocessor = FramePreprocessor()
    spacing = PixelSpacing(0.3, 0.3)
    for number in range(20):
        shown, _ = preprocessor.process(
            replace(frame(SCREEN.draw(pictures()[number], number), number), spacing=spacing)
        )
    assert shown.spacing == spacing
    assert preprocessor.state.scale == "source"


def test_a_recording_is_cut_from_its_first_frame_on() -> None:
    frames = [frame(SCREEN.draw(pictures()[number], number), number) for number in range(26)]
    preprocessor = FramePreprocessor(is_live=False)
    preprocessor.look_ahead(frames)
    shown, reason = preprocessor.process(frames[0])
    assert reason is None
    assert shown.image.shape[0] < 700
    assert preprocessor.state.masked == 1


def test_a_frozen_screen_with_a_running_clock_is_frozen() -> None:
    preprocessor = FramePreprocessor()
    reasons = []
    for number in range(60):
        picture = pictures()[min(number, 29)]
        reasons.append(preprocessor.process(frame(SCREEN.draw(picture, number), number))[1])
    assert set(reasons[GATHER_LIVE:30]) == {None}
    assert reasons[30:40].count(Reason.REPEATED) > 5
    assert set(reasons[43:]) == {Reason.FROZEN}


def test_a_probe_in_the_air_is_told_from_a_dark_scan() -> None:
    preprocessor = FramePreprocessor()
    for number in range(20):
        preprocessor.process(frame(SCREEN.draw(pictures()[number], number), number))
    rng = np.random.default_rng(3)
    depth = np.hypot(*np.indices((SIDE, SIDE)) - np.array([-60.0, SIDE / 2])[:, None, None])
    lit = (pictures()[0] > 0) | (pictures()[7] > 0)
    reasons = []
    for number in range(20, 26):  # bands along the probe's face, and nothing below
        bands = (
            160 * np.exp(-(depth - 100) / 25) * (1 + 0.5 * np.cos(depth / 3)) * lit * rng.uniform(0.7, 1.3, lit.shape)
        )
        air = np.clip(np.where(depth < 190, bands, 0), 0, 255).astype(np.uint8)
        reasons.append(preprocessor.process(frame(SCREEN.draw(air, number), number))[1])
    assert set(reasons) == {Reason.NO_CONTACT}
    dark = (pictures()[5] // 3).astype(np.uint8)
    assert preprocessor.process(frame(SCREEN.draw(dark, 26), 26))[1] is None


def test_the_pipeline_accounts_for_every_frame_and_shows_no_number_without_a_sector() -> None:
    two = Screen(left=340, second_pane=pictures()[9])

    class TwoLive(ScreenSource):
        def __iter__(self) -> Iterator[Frame]:
            for each in DrawnSource.__iter__(self):
                screen = replace(two, second_pane=pictures()[(each.index + 11) % 30])
                yield replace(each, image=screen.draw(pictures()[each.index % 30], each.index))

    with Pipeline(
        TwoLive(SCREEN, 30), GreyLevelEngine(), preprocessor=FramePreprocessor(), overflow=Overflow.BLOCK
    ) as pipeline:
        found = list(pipeline)
    assert len(found) == 30
    assert {each.state for each in found} == {FrameState.REFUSED}
    assert {each.reason for each in found} == {Reason.NO_SECTOR, Reason.TWO_PANES}
    assert all(each.aop is None and each.frame.image.shape == (1, 1) for each in found)


def test_a_box_and_the_whole_picture_are_taken_as_they_are_asked_for() -> None:
    box = FramePreprocessor(PreprocessingOptions(sector=parse_sector("700x664+560+150")))
    shown, reason = box.process(frame(SCREEN.draw(pictures()[0]), 0))
    assert (shown.image.shape, shown.origin, reason) == ((664, 700), (560, 150), None)
    whole = FramePreprocessor(PreprocessingOptions(sector="whole"))
    shown, _ = whole.process(frame(SCREEN.draw(pictures()[0]), 0))
    assert np.array_equal(shown.image, SCREEN.draw(pictures()[0]))
    with pytest.raises(OptionError, match="reaches out of the picture"):
        FramePreprocessor(PreprocessingOptions(sector=parse_sector("700x664+1560+150"))).process(
            frame(SCREEN.draw(pictures()[0]), 0)
        )
    with pytest.raises(OptionError, match="800x600"):
        parse_sector("middle")


@pytest.mark.parametrize("is_live", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (3, 200), (200, 3), (64, 64)])
def test_pictures_of_any_size_are_looked_at_and_may_change_it(shape: tuple[int, int], is_live: bool) -> None:
    rng = np.random.default_rng(1)
    larger = shape[0] + 7, shape[1] + 9
    for level in (None, 0, 90):
        frames = [
            frame(rng.integers(0, 255, size, np.uint8) if level is None else np.full(size, level, np.uint8), number)
            for number, size in enumerate([shape] * 30 + [larger] * 30)
        ]
        preprocessor = FramePreprocessor(is_live=is_live)
        if not is_live:
            preprocessor.look_ahead(frames)
        assert all(preprocessor.process(each)[1] in (None, *Reason) for each in frames)


def test_a_profile_says_what_stays_and_the_command_line_goes_before_it(tmp_path: Path) -> None:
    path = tmp_path / "scanner.toml"
    path.write_text('screen = [1920, 1080]\nsector = "700x664+560+150"\npane = "left"\nspacing_mm = [0.2, 0.25]\n')
    profile = read_profile(path)
    assert profile == PreprocessingOptions(
        sector=(560, 150, 700, 664), pane=Panes.LEFT, spacing=PixelSpacing(0.2, 0.25), size=(1920, 1080)
    )
    for given, expected in (
        ({}, profile),
        ({"tick_mm": 5.0}, replace(profile, tick_mm=5.0)),
        ({"sector": "whole"}, replace(profile, sector="whole")),
        ({"sector": "auto", "pane": "right"}, replace(profile, sector="auto", pane=Panes.RIGHT)),
    ):
        options = SessionOptions(profile=ScannerProfile.read(path), **given)
        assert options.preprocessing == expected
    shown, _ = FramePreprocessor(profile).process(frame(SCREEN.draw(pictures()[0]), 0))
    assert shown.spacing == PixelSpacing(0.2, 0.25)
    with pytest.raises(OptionError, match="for a screen of 1920x1080; this one is 700x700"):
        FramePreprocessor(profile).process(frame(pictures()[0], 0))
    preprocessor = FramePreprocessor(profile)
    assert preprocessor.process(frame(SCREEN.draw(pictures()[0]), 0))[1] is None
    assert preprocessor.process(frame(pictures()[1], 1))[1] is Reason.NO_SECTOR  # later on it must not end the run
    assert preprocessor.process(frame(SCREEN.draw(pictures()[2]), 2))[1] is None
    path.write_text('\ufeffpane = "left"\n', encoding="utf-8")  # as some editors write it
    assert read_profile(path) == PreprocessingOptions(pane=Panes.LEFT)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sector = 3", "sector = 3: give a text"),
        ("sector = '9999999999999x20+0+0'", "give auto, whole"),
        ("sector = 'WHOLE'", "give auto, whole"),
        ("colour = 1", "'colour' is none of"),
        ("spacing_mm = [0.2]", "as [0.25, 0.25]"),
        ("spacing_mm = [200, 200]", "another unit"),
        ("spacing_mm = [0.2, nan]", "positive"),
        ("spacing_mm = ['0.2', '0.2']", "as [0.25, 0.25]"),
        ("tick_mm = -1", "tick_mm = -1: give"),
        ("tick_mm = true", "tick_mm = True: give"),
        ("tick_mm = nan", "tick_mm = nan: give"),
        ("pane = 'up'", '"left" or "right"'),
        ("pane = 'two'", '"left" or "right"'),
        ("pane = ['left']", '"left" or "right"'),
        ("screen = '1920x1080'", "as [1920, 1080]"),
        ("screen = [1920.5, 1080]", "as [1920, 1080]"),
        ("screen = [1920]", "as [1920, 1080]"),
        ("= =", "no profile"),
    ],
)
def test_what_a_profile_cannot_mean_is_said_with_its_key(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "scanner.toml"
    path.write_text(f"{text}\n")
    with pytest.raises(OptionError, match=re.escape(said)) as caught:
        read_profile(path)
    assert str(path) in str(caught.value)
    assert "_" not in str(caught.value).removeprefix(str(path)).replace("tick_mm", "").replace("spacing_mm", "")


def test_pixels_of_unknown_shape_give_no_angle() -> None:
    class Analogue(DrawnSource):
        def __iter__(self) -> Iterator[Frame]:
            for each in super().__iter__():
                yield replace(each, pixel_aspect=None)

    with Pipeline(Analogue(4), GreyLevelEngine()) as pipeline:
        assert {each.reason for each in pipeline} == {Reason.UNCALIBRATED}
    with Pipeline(Analogue(4, spacing=PixelSpacing(0.5, 0.5)), GreyLevelEngine()) as pipeline:
        assert {each.reason for each in pipeline} == {None}


def test_a_recorded_run_replays_bit_for_bit(tmp_path: Path) -> None:
    class Overloaded(ScreenSource):
        """Freezes for a while, and comes faster than it is measured at its end."""

        def __iter__(self) -> Iterator[Frame]:
            for each in super().__iter__():
                held = pictures()[20] if 20 <= each.index < 40 else pictures()[each.index % 30]
                yield replace(each, image=self._screen.draw(held, each.index))

    class Slow(GreyLevelEngine):
        def infer(self, images: NDArray[np.uint8]):  # type: ignore[no-untyped-def]
            if self.calls > 30:
                threading.Event().wait(0.08)
            return super().infer(images)

    recorder = Recorder(tmp_path / "recording", note="a note")
    preprocessor = FramePreprocessor()
    with Pipeline(Overloaded(SCREEN, 80), Slow(), preprocessor=preprocessor, overflow=Overflow.DROP_OLDEST) as pipeline:
        live = []
        for measurement in pipeline:
            recorder.write(measurement)
            live.append(record_of(measurement))
    recorder.close()
    assert {"no_sector", "overload"} <= {record["reason"] for record in live}
    segments = [record["segment"] for record in live]
    assert segments == sorted(segments)  # type: ignore[type-var]

    from stream.preprocessing.recorded import RecordedPreprocessor

    folder = tmp_path / "recording"
    source = RecordedSource(folder, clock=MonotonicClock())
    assert source.info.note == "a note"
    with Pipeline(source, GreyLevelEngine(), preprocessor=RecordedPreprocessor(folder)) as pipeline:
        replayed = [record_of(measurement) for measurement in pipeline]
    for one, other in zip(live, replayed, strict=True):
        assert {**one, "latency_ms": 0} == {**other, "latency_ms": 0}
    text = (folder / "frames.jsonl").read_text()
    assert json.loads(text.splitlines()[0])["notice"]
    assert "DOE" not in text


def test_a_recording_that_was_cut_off_is_read_to_its_last_whole_frame(tmp_path: Path) -> None:
    from stream.common.errors import SourceTruncated, SourceUnreadable

    recorder = Recorder(tmp_path / "recording", note="")
    with Pipeline(DrawnSource(20), GreyLevelEngine()) as pipeline:
        for measurement in pipeline:
            recorder.write(measurement)
    recorder.close()
    lines = tmp_path / "recording" / "frames.jsonl"
    whole = lines.read_bytes()
    lines.write_bytes(whole[:-30])
    with RecordedSource(tmp_path / "recording", clock=MonotonicClock()) as source:
        assert len(list(source)) == 19
    lines.write_bytes(whole)
    part = tmp_path / "recording" / "0000.nut"
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    with RecordedSource(tmp_path / "recording", clock=MonotonicClock()) as source:
        read: list[Frame] = []
        with pytest.raises(SourceTruncated, match="cut off there"):
            read.extend(source)
    lines.write_bytes(whole.replace(b"partum.recording/1", b"partum.recording/9"))
    with pytest.raises(SourceUnreadable, match=r"partum\.recording/9"):
        RecordedSource(tmp_path / "recording", clock=MonotonicClock())
