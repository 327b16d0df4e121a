"""What a frame carries is checked where it is made, by one rule for every source."""

from __future__ import annotations

import math

import pytest

from stream.frames.frame import PixelSpacing


@pytest.mark.parametrize("spacing", [(0.05, 0.05), (0.3, 0.25), (1.9, 1.9)])
def test_the_scales_of_real_scanners_are_plausible(spacing: tuple[float, float]) -> None:
    assert PixelSpacing.checked(*spacing) == PixelSpacing(*spacing)


@pytest.mark.parametrize(
    "spacing", [(300.0, 300.0), (0.0003, 0.0003), (0.3, 3.1), (0.3, 0.05), (math.nan, 0.3), (0.0, 0.3), (-0.3, 0.3)]
)
def test_micrometres_metres_and_slivers_are_not(spacing: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"plausible|positive"):
        PixelSpacing.checked(*spacing)
