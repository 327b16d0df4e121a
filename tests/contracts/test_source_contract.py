"""What every source of frames must do, run over all of them."""

from __future__ import annotations

import gc
import itertools
import re
import threading
import weakref
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

from benchmarks.fuzz import seeds
from stream.common.clock import ManualClock
from stream.common.errors import SourceError
from stream.frames.frame import PixelSpacing
from stream.sources import open_source
from stream.sources.wrappers import LoopedSource, PacedSource, RespacedSource
from tests.samples.source_files import (
    HEIGHT,
    WIDTH,
    waves,
    write_film,
    write_images,
    write_metaimage,
    write_nrrd,
    write_waves,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from av.container import InputContainer
    from av.video.stream import VideoStream

    from stream.common.clock import Clock
    from stream.frames.frame import Frame
    from stream.sources.base import FrameSource

COUNT = 12
"""Frames in each recording; few enough to be quick, more than any decoder holds back."""


SPACING = PixelSpacing(x_mm=0.2, y_mm=0.3)


@dataclass(frozen=True)
class Case:
    """A way to open one recording."""

    open: Callable[[Clock], FrameSource]
    kind: str
    is_endless: bool = False

    def frames(self, source: FrameSource) -> Iterator[Frame]:
        """The frames, or those of the first three passes of an endless source."""
        return itertools.islice(source, 3 * COUNT if self.is_endless else None)


def _dicom(folder: Path) -> str:
    pytest.importorskip("pydicom")
    from tests.samples.dicom_files import native

    return str(native(folder / "a.dcm", waves(COUNT)))


def _mp4(folder: Path) -> str:
    return str(write_waves(folder / "a.mp4", COUNT))


def _zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.write(write_metaimage(folder / "a.mha", waves(COUNT)), "a.mha")
    return folder / "a.zip"


def _slicer(folder: Path) -> Path:
    """Times along the first axis."""
    fields = {"kinds": "list domain domain"}
    return write_nrrd(folder / "a.nrrd", np.ascontiguousarray(np.moveaxis(waves(COUNT), 0, -1)), fields=fields)


def _phantom(_folder: Path) -> str:
    return f"phantom:?seed=1&size=128&rate=30&duration={COUNT / 30}"


RECORDINGS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "mp4": ("video", _mp4),
    "mp4 turned": ("video", lambda folder: write_waves(folder / "a.mp4", COUNT, rotation=90)),
    "avi": ("video", lambda folder: write_waves(folder / "a.avi", COUNT, codec="mjpeg", pix_fmt="yuvj420p")),
    "mkv": ("video", lambda folder: write_waves(folder / "a.mkv", COUNT, codec="ffv1", pix_fmt="gray")),
    "mov": ("video", lambda folder: write_waves(folder / "a.mov", COUNT, codec="qtrle", pix_fmt="rgb24")),
    "gif": ("images", lambda folder: write_waves(folder / "a.gif", COUNT, codec="gif", pix_fmt="gray")),
    "apng": ("images", lambda folder: write_film(folder / "a.png", waves(COUNT))),
    "webp": ("images", lambda folder: write_film(folder / "a.webp", waves(COUNT), lossless=True)),
    "tiff": ("images", lambda folder: write_film(folder / "a.tif", waves(COUNT))),
    "avif": ("video", lambda folder: write_film(folder / "a.avif", waves(COUNT), mode="RGB", quality=100)),
    "zip": ("stack", _zip),
    "images": ("images", lambda folder: write_images(folder / "images", waves(COUNT))),
    "mha": ("stack", lambda folder: write_metaimage(folder / "a.mha", waves(COUNT))),
    "mha packed": ("stack", lambda folder: write_metaimage(folder / "a.mha", waves(COUNT), compressed=True)),
    "mha 16 bit": ("stack", lambda folder: write_metaimage(folder / "a.mha", waves(COUNT).astype("<u2") * 9)),
    "mhd": ("stack", lambda folder: write_metaimage(folder / "a.mhd", waves(COUNT), data_name="a.raw")),
    "nrrd": ("stack", lambda folder: write_nrrd(folder / "a.nrrd", waves(COUNT))),
    "nrrd packed": ("stack", lambda folder: write_nrrd(folder / "a.nrrd", waves(COUNT), encoding="gzip")),
    "nrrd of Slicer": ("stack", _slicer),
    "nhdr": ("stack", lambda folder: write_nrrd(folder / "a.nhdr", waves(COUNT), data_name="a.raw")),
    "dicom": ("dicom", _dicom),
    "phantom": ("phantom", _phantom),
}


def _plain(clock: Clock, uri: str) -> FrameSource:
    return open_source(uri, clock=clock)


def _looped(clock: Clock, uri: str) -> FrameSource:
    return LoopedSource(lambda: open_source(uri, clock=clock))


def _paced(clock: Clock, uri: str) -> FrameSource:
    return PacedSource(open_source(uri, clock=clock), speed=2, clock=clock)


def _respaced(clock: Clock, uri: str) -> FrameSource:
    return RespacedSource(open_source(uri, clock=clock), spacing=SPACING)


CASES: dict[str, tuple[str, Callable[[Clock, str], FrameSource]]] = {
    **{name: (name, _plain) for name in RECORDINGS},
    "looped mp4": ("mp4", _looped),
    "looped phantom": ("phantom", _looped),
    "paced mp4": ("mp4", _paced),
    "paced mha": ("mha", _paced),
    "respaced phantom": ("phantom", _respaced),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The address of a recording, by its name; written once, and only read by the tests."""

    @cache
    def write(name: str) -> str:
        return str(RECORDINGS[name][1](tmp_path_factory.mktemp("recording")))

    return write


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, written: Callable[[str], str]) -> Case:
    recording, opening = CASES[request.param]
    kind, uri = RECORDINGS[recording][0], written(recording)
    return Case(lambda clock: opening(clock, uri), kind, is_endless=opening is _looped)


@pytest.mark.slow
def test_frames_are_numbered_and_time_moves_forward(case: Case) -> None:
    with case.open(ManualClock(5)) as source:
        frames = list(case.frames(source))
    assert [frame.index for frame in frames] == list(range(3 * COUNT if case.is_endless else COUNT))
    assert frames[0].pts == 0
    assert len({frame.time_base for frame in frames}) == 1
    assert frames[0].time_base > 0
    for before, after in itertools.pairwise(frames):
        assert after.segment >= before.segment
        assert after.segment > before.segment or after.pts > before.pts
        assert after.captured_ns >= before.captured_ns
    assert frames[0].captured_ns == 5


@pytest.mark.slow
def test_pictures_are_grey_and_cannot_be_written_to(case: Case) -> None:
    with case.open(ManualClock()) as source:
        for frame in case.frames(source):
            assert frame.image.dtype == np.uint8
            assert frame.image.ndim == 2
            with pytest.raises(ValueError, match="read-only"):
                frame.image[0, 0] = 1


@pytest.mark.slow
def test_facts_agree_with_the_frames(case: Case) -> None:
    with case.open(ManualClock()) as source:
        info, frames = source.info, list(case.frames(source))
    assert info.kind == case.kind
    assert {frame.image.shape for frame in frames} == {(info.height, info.width)}
    assert frames[0].spacing == info.spacing
    assert info.frame_count in ({None} if case.is_endless else {None, COUNT})
    if info.frame_rate_hz is not None:
        period_s = frames[1].pts_s - frames[0].pts_s
        assert period_s == pytest.approx(1 / info.frame_rate_hz, rel=0.01)


@pytest.mark.slow
def test_a_recording_is_gone_through_once(case: Case) -> None:
    with case.open(ManualClock()) as source:
        first = [frame.index for frame in itertools.islice(source, 3)]
        rest = [frame.index for frame in case.frames(source)]
        assert first == [0, 1, 2]
        assert rest[0] == 3
        if not case.is_endless:
            assert rest[-1] == COUNT - 1
            assert list(source) == []


def _count_video(path: Path) -> int:
    with av.open(str(path)) as container:
        return max(sum(1 for _ in container.decode(stream)) for stream in _each_alone(path, container))


def _each_alone(path: Path, container: InputContainer) -> Iterator[VideoStream]:
    """The streams of a file, which is wound back before each."""
    for stream in container.streams.video:
        if stream.index:
            container.seek(0)
        yield stream


def _count_dicom(path: Path) -> int:
    import pydicom

    return len(pydicom.dcmread(path).pixel_array)


def _count_tiff(path: Path) -> int:
    with tifffile.TiffFile(path) as file:
        return len(file.pages)


def _count_metaimage(path: Path) -> int:
    return len(sitk.GetArrayViewFromImage(sitk.ReadImage(str(path))))


def _count_nrrd(path: Path) -> int:
    data, _ = nrrd.read(str(path))
    return int(data.size // (WIDTH * HEIGHT))


COUNTERS: dict[str, Callable[[Path], int]] = {
    **dict.fromkeys((".mp4", ".avi", ".mkv", ".mov", ".gif", ".png", ".avif"), _count_video),
    ".webp": lambda path: cv2.imcount(str(path)),
    ".tif": _count_tiff,
    **dict.fromkeys((".mha", ".mhd"), _count_metaimage),
    **dict.fromkeys((".nrrd", ".nhdr"), _count_nrrd),
    ".dcm": _count_dicom,
}
"""Decoders of others, by the suffix of what they read."""


@pytest.mark.parametrize("name", RECORDINGS)
def test_as_many_frames_as_another_decoder_finds(written: Callable[[str], str], name: str) -> None:
    uri = written(name)
    counter = COUNTERS.get(Path(uri).suffix)
    with open_source(uri, clock=ManualClock()) as source:
        assert sum(1 for _ in source) == (counter(Path(uri)) if counter else COUNT)


def _mha_of(declared: int, *, compressed: bool = False) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        return write_metaimage(folder / "a.mha", waves(COUNT), sizes=(WIDTH, HEIGHT, declared), compressed=compressed)

    return write


def _nrrd_of(declared: int, *, encoding: str = "raw") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        fields = {"sizes": f"{WIDTH} {HEIGHT} {declared}"}
        return write_nrrd(folder / "a.nrrd", waves(COUNT), fields=fields, encoding=encoding)

    return write


def _dicom_of(declared: int) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        pytest.importorskip("pydicom")
        from tests.samples.dicom_files import native

        return native(folder / "a.dcm", waves(COUNT), NumberOfFrames=declared)

    return write


def _imagej(folder: Path) -> Path:
    tifffile.imwrite(folder / "a.tif", waves(COUNT)[0], description="ImageJ=1.54f\nimages=20\n", metadata=None)
    return folder / "a.tif"


def _cut_mp4(folder: Path) -> Path:
    path = write_waves(folder / "a.mp4", 20, container_options={"movflags": "faststart"}, options={"bf": "0"})
    path.write_bytes(path.read_bytes()[:-1500])
    return path


def _recorded(folder: Path) -> Path:
    lines = seeds.recording_index().splitlines(keepends=True)
    more = [lines[-1].replace(b'"index": 5', f'"index": {index}'.encode()) for index in range(6, 20)]
    (folder / "frames.jsonl").write_bytes(b"".join([*lines, *more]))
    (folder / "0000.nut").write_bytes(seeds.one_nut())
    return folder


MISCOUNTED: dict[str, tuple[Callable[[Path], Path], int]] = {
    "mha, fewer": (_mha_of(5), 5),
    "mha, more": (_mha_of(20), 20),
    "packed mha, fewer": (_mha_of(5, compressed=True), 5),
    "packed mha, more": (_mha_of(20, compressed=True), 20),
    "nrrd, fewer": (_nrrd_of(5), 5),
    "nrrd, more": (_nrrd_of(20), 20),
    "packed nrrd, fewer": (_nrrd_of(5, encoding="gzip"), 5),
    "packed nrrd, more": (_nrrd_of(20, encoding="gzip"), 20),
    "dicom, fewer": (_dicom_of(5), 5),
    "dicom, more": (_dicom_of(20), 20),
    "ImageJ, more": (_imagej, 20),
    "mp4, more": (_cut_mp4, 20),
    "recording, more": (_recorded, 20),
}
"""Recordings that declare another number of frames than they hold."""


@pytest.mark.parametrize("name", MISCOUNTED)
def test_another_count_than_declared_is_said(tmp_path: Path, name: str) -> None:
    write, declared = MISCOUNTED[name]
    words, frames = "", 0
    try:
        with open_source(str(write(tmp_path)), clock=ManualClock()) as source:
            words = source.info.note
            for frame in source:
                frames += frame.refusal is None
    except SourceError as error:
        words += f" {error}"
    assert re.search(rf"\b{declared}\b", words) or "recording" in name
    if declared > frames or "holds more" in words:
        assert "holds" in words or "after" in words or "missing" in words
    else:
        assert frames == COUNT
        assert re.search(rf"\b{COUNT}\b", words)


def test_closing_twice_is_harmless_and_ends_everything(case: Case) -> None:
    source = case.open(ManualClock())
    running = iter(source)
    next(running)
    source.close()
    source.close()
    assert next(running, None) is None
    assert list(source) == []
    assert source.info.width > 0


def test_leaving_the_block_closes(case: Case) -> None:
    with pytest.raises(KeyError), case.open(ManualClock()) as source:
        raise KeyError
    assert list(source) == []


def test_closing_from_another_thread_ends_a_running_iteration(case: Case) -> None:
    source = case.open(ManualClock())
    started = threading.Event()
    frames: list[int] = []

    def read() -> None:
        for frame in source:
            frames.append(frame.index)
            started.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert started.wait(10)
    source.close()
    reader.join(10)
    assert not reader.is_alive()
    assert frames == list(range(len(frames)))


@pytest.mark.slow
def test_opened_again_it_gives_the_same_frames(case: Case) -> None:
    def read() -> list[tuple[bytes, int, int, object, float | None]]:
        with case.open(ManualClock()) as source:
            return [
                (frame.image.tobytes(), frame.pts, frame.segment, frame.spacing, frame.pixel_aspect)
                for frame in case.frames(source)
            ]

    first, second = read(), read()
    assert first == second
    assert len({picture for picture, *_ in first}) == COUNT


@pytest.mark.slow
def test_frames_are_not_hoarded(case: Case) -> None:
    alive: list[weakref.ref[object]] = []
    most = 0
    with case.open(ManualClock()) as source:
        for frame in case.frames(source):
            alive.append(weakref.ref(frame.image))
            gc.collect(0)
            most = max(most, sum(reference() is not None for reference in alive))
    assert len(alive) >= COUNT
    assert most <= 4
