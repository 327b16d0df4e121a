"""Augmentation of appearance: each effect against its formula, or against the library that does the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from calibration.learning.augmentation import Effect, augment
from calibration.learning.augmentation.appearance import (
    coarsen,
    compress,
    dilate,
    gaussian_blur,
    set_levels,
    speckle,
    tone_curve,
)
from calibration.learning.augmentation.marks import burn_in
from calibration.learning.frames import phantoms
from tests.samples.augmentation_frames import SIDE, always, chance, frames, only, scene, textured

if TYPE_CHECKING:
    pass


PHANTOMS = list(phantoms(4, 64, seed=1))


pytestmark = pytest.mark.usefixtures("one_thread")


@given(strength=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_a_tone_curve_rises_from_black_to_white(strength: float, seed: int) -> None:
    greys = torch.linspace(0, 1, 257).view(1, 1, 1, -1)
    mapped = tone_curve(greys, always(strength), chance(seed)).flatten()
    assert (mapped.diff() >= 0).all()
    assert mapped[0].item() == 0.0
    assert mapped[-1].item() == pytest.approx(1.0, abs=1e-3)
    if strength == 0:
        assert torch.allclose(mapped, greys.flatten(), atol=1e-5)


def test_levels_by_hand() -> None:
    x = torch.tensor([0.2, 0.4, 0.6]).view(1, 1, 1, 3)

    def levels(**effects: Effect) -> list[float]:
        found: list[float] = set_levels(x, only(**effects), chance()).flatten().tolist()
        return found

    assert levels(gain=always(1.5)) == pytest.approx([0.3, 0.6, 0.9])
    assert levels(brightness=always(2.0)) == pytest.approx([0.4, 0.8, 1.0])
    assert levels(contrast=always(2.0)) == pytest.approx([0.0, 0.4, 0.8])
    assert levels(gamma=always(2.0)) == pytest.approx([0.04, 0.16, 0.36])


def test_attenuation_follows_depth() -> None:
    flat = torch.full((1, 1, SIDE, SIDE), 0.5)
    darker = augment(replace(frames(1), images=flat), only(attenuation=always(-1.0)), chance()).images[0, 0]
    expected = 0.5 * torch.exp(-torch.linspace(0, 1, SIDE))
    assert torch.allclose(darker, expected[:, None].expand(-1, SIDE), atol=1e-5)


def test_haze_lightens_the_near_field_and_leaves_black_black() -> None:
    flat = torch.full((1, 1, SIDE, SIDE), 0.3)
    flat[..., :20] = 0
    hazy = augment(replace(frames(1), images=flat), only(haze=always(0.2)), chance()).images[0, 0]
    assert hazy[0, -1].item() == pytest.approx(0.5, abs=1e-4)
    assert (hazy[:, -1].diff() < 0).all()
    assert not hazy[:, :20].any()


def test_a_shadow_darkens_one_beam() -> None:
    flat = torch.full((8, 1, SIDE, SIDE), 0.5)
    shaded = augment(replace(frames(8), images=flat), only(shadow=always(0.8)), chance(2)).images
    assert (shaded <= 0.5 + 1e-6).all()
    assert (shaded.amin(dim=(1, 2, 3)) < 0.2).sum() >= 4
    assert (shaded > 0.49).float().mean() > 0.4


def test_speckle_multiplies_and_keeps_the_mean() -> None:
    flat = torch.full((16, 1, SIDE, SIDE), 0.5)
    flat[:, :, :, :16] = 0
    grained = speckle(flat, always(0.3), chance())
    assert not grained[:, :, :, :16].any()
    assert grained[:, :, :, 16:].mean().item() == pytest.approx(0.5, rel=0.02)
    assert grained[:, :, :, 16:].std().item() == pytest.approx(0.15, rel=0.1)
    across = (grained.diff(dim=3)[..., 20:] ** 2).mean()
    assert across < (grained[..., 20:].diff(dim=2) ** 2).mean()  # wider than it is deep


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0, 3.0])
def test_blur_is_opencvs(sigma: float) -> None:
    picture = np.random.default_rng(0).random((2, 1, 40, 40)).astype(np.float32)
    sigmas = torch.tensor([sigma, 0.0])
    blurred = gaussian_blur(torch.from_numpy(picture), sigmas, 0.5 * sigmas)
    expected = cv2.GaussianBlur(picture[0, 0], (13, 13), sigma, sigmaY=0.5 * sigma, borderType=cv2.BORDER_REPLICATE)
    np.testing.assert_allclose(blurred[0, 0], expected, atol=1e-6)
    np.testing.assert_allclose(blurred[1], picture[1], atol=1e-6)


@pytest.mark.parametrize("quality", [10, 25, 50, 75, 90])
@pytest.mark.parametrize("source", ["phantom", "texture"])
def test_compression_loses_what_jpeg_loses(quality: int, source: str) -> None:
    grey = (textured(scene()) * 255).round().byte()[0].numpy() if source == "texture" else PHANTOMS[0].image
    found = compress(torch.from_numpy(grey)[None, None].float() / 255, always(quality), chance())[0, 0].numpy() * 255
    _, written = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])
    read = cv2.imdecode(written, cv2.IMREAD_GRAYSCALE)
    assert read is not None
    lost = np.abs(grey.astype(float) - read).mean()
    assert np.abs(found - read).mean() < min(1.5, 0.5 * lost)


def test_compression_leaves_an_edge_that_fills_no_block() -> None:
    x = torch.rand(2, 1, 20, 27, generator=chance())
    after = compress(x, always(10.0), chance())
    assert torch.equal(after[:, :, 16:], x[:, :, 16:])
    assert torch.equal(after[..., 24:], x[..., 24:])
    assert not torch.allclose(after[:, :, :16, :24], x[:, :, :16, :24], atol=0.05)


def test_a_coarser_picture_keeps_its_greys_and_loses_its_grain() -> None:
    before = textured(scene())[None]
    after = coarsen(before, always(0.25), chance())
    assert after.shape == before.shape
    assert after.mean().item() == pytest.approx(before.mean().item(), abs=0.005)
    small = torch.nn.functional.interpolate(before, (32, 32), mode="area")
    assert torch.allclose(torch.nn.functional.interpolate(after, (32, 32), mode="area"), small, atol=0.12)
    inside = dilate((scene() > 0).float()[None, None], 12) == 0
    assert after[inside].std() < 0.4 * before[inside].std()


def test_marks_are_pasted_over_few_pixels() -> None:
    before = frames(32).images
    after = burn_in(before, always(1.0), chance())
    changed = (after - before).abs() > 1e-3
    assert changed.flatten(1).any(dim=1).all()
    assert changed.float().mean() < 0.1
    assert after[changed].median() > 0.45  # letters are bright
    faint = burn_in(before, always(0.5), chance())
    assert torch.allclose(faint - before, 0.5 * (after - before), atol=1e-6)
