"""Decoding on a GPU: what is asked for, what is done where there is none, and that it is said."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import av
import av.error
import numpy as np
import pytest

from stream.common.clock import MonotonicClock
from stream.common.errors import OptionError
from stream.sources import open_live, open_source
from stream.sources.decoding import acceleration as module
from stream.sources.decoding.acceleration import acceleration, check_decoder, decoder_of
from stream.sources.decoding.luma import grey_image
from stream.sources.files.video import VideoSource
from tests.samples.source_files import write_waves

if TYPE_CHECKING:
    from pathlib import Path


class NoDevice:
    """PyAV's settings on a machine without a driver."""

    def __init__(self, kind: str, **settings: Any) -> None:
        self.kind, self.settings = kind, settings

    def create(self, codec: Any) -> Any:
        raise av.error.PermissionError(1, "Operation not permitted")


class Device(NoDevice):
    def create(self, codec: Any) -> Any:
        return self


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HWAccel", NoDevice)


def picture(pixel_format: str) -> av.VideoFrame:
    grey = np.arange(64 * 48, dtype=np.uint8).reshape(48, 64)
    return av.VideoFrame.from_ndarray(grey, format="gray").reformat(format="yuv420p").reformat(format=pixel_format)


@pytest.mark.usefixtures("without_gpu")
def test_without_a_gpu_the_cpu_decodes_the_same_and_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_waves(tmp_path / "a.mp4", 5)
    with VideoSource(path, clock=MonotonicClock()) as plain:
        expected = [frame.image.copy() for frame in plain]
    for _ in range(2):  # a recording that is looped
        with open_source(str(path), decoder="cuda") as source:
            found = [frame.image.copy() for frame in source]
        assert source.info.decoder == "cpu"
        np.testing.assert_array_equal(found, expected)
    (said,) = caplog.messages
    assert said == (
        f"{path}: decoded on the CPU, not by cuda: no NVIDIA GPU and driver can be used (operation not permitted)"
    )


@pytest.mark.parametrize(("name", "device"), [("cuda", None), ("cuda:1", "1")])
def test_another_gpu_is_chosen_by_its_number(name: str, device: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HWAccel", Device)
    chosen: Any = acceleration(name, "a.mp4")
    assert chosen.kind == "cuda"
    assert chosen.settings["device"] == device
    assert acceleration("cpu", "a.mp4") is None


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:x", "CUDA", "cuda:123", "cpu:1"])
def test_what_is_no_decoder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="give cpu, cuda, or cuda:1"):
        check_decoder(name)
    with pytest.raises(OptionError, match="is no decoder"):
        VideoSource(write_waves(tmp_path / "a.mp4", 2), clock=MonotonicClock(), decoder=name)


def test_a_stream_that_the_gpu_does_not_take_is_told_by_its_first_picture(caplog: pytest.LogCaptureFixture) -> None:
    assert decoder_of(picture("nv12"), "cuda", "b.mp4") == "cuda"
    assert not caplog.messages
    assert decoder_of(picture("yuv422p"), "cuda", "b.mp4") == "cpu"
    assert "it does not take this stream (yuv422p, 64x48)" in caplog.text


def test_pictures_of_a_gpu_have_the_grey_levels_of_the_cpu() -> None:
    np.testing.assert_array_equal(grey_image(picture("nv12")), grey_image(picture("yuv420p")))


def test_what_is_no_video_says_that_nothing_is_decoded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with open_source("phantom:?seed=77", decoder="cuda"):
        pass
    assert "phantom:?seed=77: decoded on the CPU, not by cuda: it is no coded video" in caplog.text
    with pytest.raises(OptionError, match="is no decoder"):
        open_source("phantom:?seed=78", decoder="quick")
    with pytest.raises(OptionError, match="is no decoder"):
        open_live("rtsp://127.0.0.1/live", decoder="quick")
