"""A standard plane that the network calls mirrored is measured as its mirror image is."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engines.base import Prediction
from stream.frames.frame import Frame
from stream.inference.frame_analyzer import infer_frame
from tests.fakes.doubles import SPEC, GreyLevelEngine

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH = 256


class LeftEyed(GreyLevelEngine):
    """Answers what it sees, and a little more on the left: a network that no mirror image fools alike.

    A picture is normal where its right half is the brighter; the PS axis points at its brightest pixel.
    """

    spec = replace(SPEC, height=WIDTH, width=WIDTH, output_height=WIDTH // 2, output_width=WIDTH // 2)

    def __init__(self, plane_logit: float = 4.0) -> None:
        super().__init__()
        self.plane_logit, self.asked = plane_logit, 0

    def infer(self, images: NDArray[np.uint8]) -> Prediction:
        self.asked += 1
        picture = images[0, 0].astype(np.float32)
        half = picture[::2, ::2] + np.linspace(9, 0, WIDTH // 2, dtype=np.float32)
        y, x = np.unravel_index(picture.argmax(), picture.shape)
        right = picture[:, WIDTH // 2 :].sum() - picture[:, : WIDTH // 2].sum()
        axis = [0.6 if right > 0 else -0.6, 0.8, x, y, x - 10.0, y - 5.0, -2.0]
        return Prediction(
            class_logits=np.stack([half, half / 2, half / 3])[None],
            plane_logit=np.array([self.plane_logit], np.float32),
            normal_logit=np.array([np.sign(right) * 3], np.float32),
            ps_axis=np.array([[axis]], np.float32),
            images=images,
        )


def frame(image: NDArray[np.uint8]) -> Frame:
    return Frame(image=image, index=0, pts=0, time_base=Fraction(1, 25), captured_ns=0)


def picture(*, mirrored: bool) -> NDArray[np.uint8]:
    image = np.zeros((WIDTH, WIDTH), np.uint8)
    image[40:80, 180:230] = 120
    image[60, 200] = 255
    return np.ascontiguousarray(image[:, ::-1]) if mirrored else image


def test_a_mirrored_standard_plane_is_read_as_its_mirror_image() -> None:
    engine = LeftEyed()
    _, normal = infer_frame(engine, frame(picture(mirrored=False)))
    assert engine.asked == 1
    _, mirrored = infer_frame(engine, frame(picture(mirrored=True)))
    assert engine.asked == 3
    np.testing.assert_array_equal(mirrored.class_logits, normal.class_logits[..., ::-1])
    assert mirrored.normal_logit == pytest.approx([-3])
    assert mirrored.ps_axis is not None
    assert mirrored.ps_axis[0, 0] == pytest.approx([-0.6, 0.8, WIDTH - 1 - 200, 60, WIDTH - 1 - 190, 55, -2.0])


def test_no_time_is_spent_on_mirrored_pictures_that_are_no_standard_plane() -> None:
    engine = LeftEyed(plane_logit=-4.0)
    _, found = infer_frame(engine, frame(picture(mirrored=True)))
    assert engine.asked == 1
    assert found.normal_logit == pytest.approx([-3])


def test_mirroring_twice_changes_nothing_and_what_was_not_looked_at_stays_so() -> None:
    _, found = infer_frame(LeftEyed(), frame(picture(mirrored=False)))
    assert found.images is not None
    twice = found.mirrored(found.images).mirrored(found.images)
    for name, array in found.arrays.items():
        np.testing.assert_array_equal(twice.arrays[name], array, err_msg=name)
    nothing = replace(found, ps_axis=np.zeros((1, 2, 7), np.float32)).mirrored(found.images)
    assert nothing.ps_axis is not None
    assert not nothing.ps_axis.any()
