"""The phantom as a source: its course over time, exact and repeatable frames, and its URI."""

from __future__ import annotations

import threading
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest

from stream.common.clock import ManualClock
from stream.common.errors import OptionError
from stream.frames.frame import PixelSpacing
from stream.phantom.options import parse_phantom_uri
from stream.phantom.source import PhantomSource
from stream.phantom.truth import sector_mask


def phantom(options: str = "") -> PhantomSource:
    return PhantomSource(f"phantom:?{options}" if options else "phantom:", clock=ManualClock())


# --- the course ---


def test_default_course_has_pushes_and_a_lost_plane() -> None:
    source = phantom()
    truths = [source.truth(index) for index in range(0, 600, 2)]
    aop_deg = np.array([truth.aop_deg for truth in truths])
    standard = np.array([truth.is_standard_plane for truth in truths])
    assert source.info.frame_count == 600
    assert aop_deg.max() - aop_deg.min() > 10
    pushed = aop_deg > aop_deg.min() + 0.55 * (aop_deg.max() - aop_deg.min())
    assert 2 <= int((np.diff(pushed.astype(int)) == 1).sum()) <= 3
    assert 15 <= int((~standard).sum()) <= 75
    assert standard[0]
    assert standard[-1]


@pytest.mark.parametrize("aop", ["80", "112.5", "160"])
def test_course_stays_in_range_and_moves_smoothly(aop: str) -> None:
    inside = sector_mask(128)
    for seed in range(3):
        source = phantom(f"seed={seed}&aop={aop}&duration=60&size=128")
        truths = [source.truth(index) for index in range(0, 1800, 3)]
        aop_deg = np.array([truth.aop_deg for truth in truths])
        assert aop_deg.min() >= 80 - 1e-6
        assert aop_deg.max() <= 170 + 1e-6
        # Pushes rise by at most some 15 degrees a second at their steepest; 0.1 s lies between two of these.
        assert np.abs(np.diff(aop_deg)).max() < 6
        for truth in truths:
            x, y = truth.tangent
            assert inside[round(y), round(x)]


def test_time_does_not_depend_on_the_rate() -> None:
    slow, fast = phantom("rate=10&size=128"), phantom("rate=40&size=128")
    assert [slow.truth(index) for index in (0, 33, 150)] == [fast.truth(index) for index in (0, 132, 600)]


def test_pushes_and_lost_planes_can_be_switched_off() -> None:
    still = phantom("pushes=off&offplane=off&size=128")
    truths = [still.truth(index) for index in range(0, 600, 5)]
    aop_deg = [truth.aop_deg for truth in truths]
    assert max(aop_deg) - min(aop_deg) < 2
    assert all(truth.is_standard_plane for truth in truths)


def test_lost_plane_loses_the_symphysis() -> None:
    source = phantom("size=128")
    lost = [index for index in range(600) if not source.truth(index).is_standard_plane]
    middle = lost[len(lost) // 2]
    assert 1 not in source.mask(middle)
    assert 1 in source.mask(lost[0] - 1)


# --- the source ---


def test_frames_carry_exact_time_and_spacing() -> None:
    clock = ManualClock(start_ns=7)
    source = PhantomSource("phantom:?rate=30000/1001&duration=0.2&size=128", clock=clock)
    frames = list(source)
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4, 5]
    assert [frame.pts * frame.time_base for frame in frames] == [Fraction(1001 * i, 30000) for i in range(6)]
    assert {frame.captured_ns for frame in frames} == {7}
    assert {frame.spacing for frame in frames} == {PixelSpacing(195 / 128, 195 / 128)}
    assert source.info.frame_rate_hz == Fraction(30000, 1001)
    assert source.info.note == "SIMULATED PHANTOM"
    assert not frames[0].image.flags.writeable
    assert not np.shares_memory(frames[0].image, frames[1].image)


def test_frames_are_the_same_in_order_and_alone() -> None:
    frames = list(islice(phantom("size=128&seed=4"), 5))
    again = phantom("size=128&seed=4")
    for index in (4, 0, 2):
        assert np.array_equal(again.image(index), frames[index].image)
    assert not np.array_equal(frames[0].image, frames[1].image)
    assert not np.array_equal(phantom("size=128&seed=5").image(0), frames[0].image)


def test_mirrored_recording_is_the_mirror_image() -> None:
    plain, mirrored = phantom("size=128&seed=2"), phantom("size=128&seed=2&mirrored=on")
    assert np.array_equal(mirrored.image(3), plain.image(3)[:, ::-1])
    assert np.array_equal(mirrored.mask(3), plain.mask(3)[:, ::-1])
    assert mirrored.truth(3).mirrored
    assert mirrored.truth(3).aop_deg == plain.truth(3).aop_deg


def test_without_speckle_a_scene_is_smooth() -> None:
    clean, grainy = phantom("size=256&speckle=off").image(0), phantom("size=256").image(0)
    roughness = [np.abs(np.diff(image[150:180, 10:40].astype(float))).mean() for image in (clean, grainy)]
    assert roughness[0] < 0.2 * roughness[1]


def test_close_from_another_thread_ends_the_iteration() -> None:
    source = phantom("size=128&duration=3600")
    read = 0
    closer = threading.Thread(target=source.close)
    for _ in source:
        read += 1
        if read == 3:
            closer.start()
            closer.join()
    assert read == 3
    assert list(source) == []


def test_context_manager_closes() -> None:
    with phantom("size=128") as source:
        assert next(iter(source)).index == 0
    assert list(source) == []


def test_no_such_frame() -> None:
    with pytest.raises(IndexError, match="frames 0 to 2"):
        phantom("duration=0.1&size=128").truth(3)


# --- the URI ---


def test_plain_uri_has_the_documented_defaults() -> None:
    options = parse_phantom_uri("phantom:")
    assert options == parse_phantom_uri("phantom:?")
    assert (options.seed, options.size_px) == (0, 512)
    assert (options.duration_s, options.rate_hz) == (Fraction(20), Fraction(30))
    assert options.frame_count == 600


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("phantom:?spede=3", "'spede' is unknown; allowed are seed, duration"),
        ("phantom:?seed=-1", "seed='-1': give a whole number from 0"),
        ("phantom:?seed=1.5", "give a whole number"),
        ("phantom:?size=64", "from 128 to 1024"),
        ("phantom:?rate=fast", "rate='fast': give a number from 1 to 240"),
        ("phantom:?rate=1/0", "give a number from 1 to 240"),
        ("phantom:?duration=nan", "from 0.1 to 3600"),
        ("phantom:?duration=", "from 0.1 to 3600"),
        ("phantom:?aop=60", "from 80 to 160"),
        ("phantom:?pushes=maybe", "pushes='maybe': give on or off"),
        ("phantom:?seed=1&seed=2", "given twice"),
        ("phantom:seed=1", "write phantom:"),
        ("clip.mp4", "is no phantom"),
    ],
)
def test_bad_uris_say_what_to_do(uri: str, words: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_phantom_uri(uri)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
