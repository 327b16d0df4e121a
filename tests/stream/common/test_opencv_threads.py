"""OpenCV keeps to the calling thread while a session runs, and has its threads back afterwards."""

from __future__ import annotations

import cv2
import pytest

from stream.common.opencv_threads import one_opencv_thread


def test_opencv_has_its_threads_back_whatever_happened() -> None:
    before = cv2.getNumThreads()

    def fail() -> None:
        with one_opencv_thread():
            assert cv2.getNumThreads() == 1
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert cv2.getNumThreads() == before
