from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.errors import ModelMismatch
from engines.network.letterbox import LetterboxedNetwork
from engines.preprocess import Letterbox

if TYPE_CHECKING:
    from numpy.typing import NDArray

sides = st.integers(1, 3000)
letterboxes = st.builds(
    Letterbox,
    image_height=sides,
    image_width=sides,
    height=st.integers(1, 512),
    width=st.integers(1, 512),
    pixel_aspect=st.floats(0.2, 5.0),
)
SIZES = [  # image height, image width, pixel aspect
    (256, 256, 1.0),
    (512, 512, 1.0),
    (512, 512, 1.2),
    (1080, 1920, 1.0),
    (1081, 1919, 1.0),
    (1081, 1919, 0.8),
    (481, 641, 1.25),
    (97, 81, 1.0),
    (60, 301, 1.1),
]


def to_square(height: int, width: int, aspect: float = 1.0) -> Letterbox:
    return Letterbox(image_height=height, image_width=width, height=256, width=256, pixel_aspect=aspect)


@settings(deadline=None, max_examples=200)
@given(letterboxes, st.floats(-100, 4000), st.floats(-100, 4000))
def test_mapping_there_and_back_gives_the_same_point(letterbox: Letterbox, x: float, y: float) -> None:
    point = np.array([[x, y]])
    np.testing.assert_allclose(letterbox.to_image(letterbox.to_network(point)), point, atol=1e-6)
    np.testing.assert_allclose(letterbox.to_network(letterbox.to_image(point)), point, atol=1e-6)


@settings(deadline=None, max_examples=200)
@given(letterboxes)
def test_content_fills_the_input_is_centred_and_keeps_the_aspect(letterbox: Letterbox) -> None:
    left, top, width, height = letterbox.content
    right, bottom = letterbox.width - left - width, letterbox.height - top - height
    assert 0 <= right - left <= 1
    assert 0 <= bottom - top <= 1
    assert width == letterbox.width or height == letterbox.height
    # All that may bend the aspect is rounding the side that does not fill the input to a whole pixel.
    aspect = letterbox.image_width * letterbox.pixel_aspect / letterbox.image_height
    off_px = min(abs(width / aspect - height), abs(height * aspect - width))
    assert off_px <= 0.5 + 1e-9 or 1 in {width, height}


@settings(deadline=None, max_examples=40)
@given(letterboxes)
def test_any_frame_fits_and_only_the_field_of_view_is_lit(letterbox: Letterbox) -> None:
    white = np.full((letterbox.image_height, letterbox.image_width), 255, np.uint8)
    fitted = letterbox.apply(white)
    assert fitted.shape == (letterbox.height, letterbox.width)
    np.testing.assert_array_equal(fitted, np.where(letterbox.field_of_view, 255, 0))


@pytest.mark.parametrize(("height", "width", "aspect"), SIZES)
@pytest.mark.parametrize("place", [(0.25, 0.3), (0.5, 0.5), (0.8, 0.7)])
def test_a_dot_lands_where_the_mapping_says(height: int, width: int, aspect: float, place: tuple[float, float]) -> None:
    letterbox = to_square(height, width, aspect)
    dot = np.array([place[0] * width, place[1] * height])
    sigma = 2.0 / np.array(letterbox.scale)  # two pixels wide for the network
    rows, columns = np.mgrid[:height, :width]
    distance = ((columns - dot[0]) / sigma[0]) ** 2 + ((rows - dot[1]) / sigma[1]) ** 2
    fitted = letterbox.apply((255 * np.exp(-distance / 2)).astype(np.uint8)).astype(np.float64)
    rows, columns = np.mgrid[:256, :256]
    centre = np.array([(fitted * columns).sum(), (fitted * rows).sum()]) / fitted.sum()
    # The mapping is exact; a twentieth of a pixel is what rounding to grey levels moves the centroid.
    np.testing.assert_allclose(centre, letterbox.to_network(dot), atol=0.05)


@pytest.mark.parametrize("aspect", [0.8, 1.0, 1.25])
def test_a_circle_in_millimetres_is_a_circle_for_the_network(aspect: float) -> None:
    letterbox = to_square(600, 800, aspect)
    rows, columns = np.mgrid[:600, :800]
    disc = ((columns - 400) * aspect) ** 2 + (rows - 300) ** 2 <= 150**2
    rows_in, columns_in = np.nonzero(letterbox.apply(disc.astype(np.uint8) * 255) > 127)
    assert math.isclose(np.ptp(columns_in), np.ptp(rows_in), abs_tol=1.0)


def test_the_worked_value_of_the_convention() -> None:
    letterbox = to_square(512, 512)
    assert letterbox.scale == (0.5, 0.5)
    np.testing.assert_allclose(letterbox.to_network(np.array([0.5, 0.5])), [0.0, 0.0])


def test_a_frame_of_the_networks_size_is_copied_unchanged() -> None:
    image = np.random.default_rng(1).integers(0, 256, (256, 256), dtype=np.uint8)
    image.flags.writeable = False
    fitted = to_square(256, 256).apply(image)
    np.testing.assert_array_equal(fitted, image)
    assert fitted.flags.writeable
    assert not np.shares_memory(fitted, image)


def test_shrinking_averages_instead_of_picking_pixels() -> None:
    checkerboard = np.indices((1024, 1024)).sum(axis=0) % 2 * 255
    fitted = to_square(1024, 1024).apply(checkerboard.astype(np.uint8))
    assert np.ptp(fitted) == 0
    assert 127 <= fitted[0, 0] <= 128


@pytest.mark.parametrize(
    "image", [np.zeros((20, 10), np.uint8), np.zeros((10, 20), np.float32), np.zeros((10, 20, 3), np.uint8)]
)
def test_a_frame_of_another_size_or_type_is_refused_with_both_named(image: NDArray[np.uint8]) -> None:
    with pytest.raises(ModelMismatch) as caught:
        to_square(10, 20).apply(image)
    assert "(10, 20)" in str(caught.value)
    assert f"{image.dtype} of shape {image.shape}" in str(caught.value)


@pytest.mark.parametrize(
    ("height", "width", "aspect"), [(0, 5, 1.0), (5, 0, 1.0), (5, 5, 0.0), (5, 5, math.nan), (5, 5, math.inf)]
)
def test_an_impossible_letterbox_is_refused(height: int, width: int, aspect: float) -> None:
    with pytest.raises(ValueError, match="got"):
        to_square(height, width, aspect)


@pytest.mark.parametrize(("height", "width", "aspect"), [*SIZES, (300, 417, 1.0), (601, 803, 0.9)])
def test_the_letterbox_of_the_device_gives_the_bits_of_the_host(height: int, width: int, aspect: float) -> None:
    letterbox = to_square(height, width, aspect)
    frames = np.random.default_rng(height).integers(0, 256, (2, 1, height, width), np.uint8)
    fitted = LetterboxedNetwork(torch.nn.Identity(), letterbox).fitted(torch.from_numpy(frames))
    for found, (frame,) in zip(fitted[:, 0], frames, strict=True):
        np.testing.assert_array_equal(found.numpy(), letterbox.apply(frame))
