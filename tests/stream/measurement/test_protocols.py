"""The two challenge protocols, against the published numbers and against their rules by brute force."""

from __future__ import annotations

import csv
import json
import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from stream.frames.reason import Reason
from stream.measurement.protocols import measure
from stream.sources.files.masks import read_mask
from tests.samples.anatomy import Anatomy, at_aop

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def _enlarged(labels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return cv2.resize(labels, (side, side), interpolation=cv2.INTER_NEAREST).astype(np.uint8)


def test_iugc2024_reproduces_the_published_landmarks(shared_data: Path) -> None:
    golden = json.loads((shared_data / "iugc2024_masks" / "golden.json").read_text())
    found = measure(read_mask(shared_data / "iugc2024_masks" / golden["file"]), protocol="iugc2024")
    assert found.landmarks is not None
    assert found.aop_deg == pytest.approx(golden["aop_deg"], abs=1e-10)
    assert found.hsd_min == pytest.approx(golden["hsd_px"], abs=1e-12)
    assert found.hsd_perp is None
    points = [[y, x] for y, x in golden["ps_points"]]
    assert [list(found.landmarks.ps_superior)[::-1], list(found.landmarks.ps_inferior)[::-1]] == points
    assert found.landmarks.hsd_min_foot == tuple(golden["hsd_point"][::-1])
    assert found.landmarks.tangent == tuple(golden["aop_tangency"][::-1])


@pytest.mark.slow
def test_both_protocols_reproduce_every_reference_value(shared_data: Path) -> None:
    with (shared_data / "aop_reference.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 979
    refused = 0
    for row in rows:
        labels = read_mask(shared_data / "psfhs" / row["split"] / "masks" / f"{row['id']}.png")
        contour, ellipses = measure(labels, protocol="iugc2024"), measure(labels, protocol="fhps2023")
        assert ellipses.aop_deg == pytest.approx(float(row["fhps2023_aop_deg"]), abs=1e-3), row["id"]
        if math.isnan(float(row["iugc2024_aop_deg"])):
            refused += 1
            assert contour.reason is Reason.IMPLAUSIBLE, row["id"]
            assert contour.aop_deg is None
        else:
            assert contour.aop_deg == pytest.approx(float(row["iugc2024_aop_deg"]), abs=1e-4), row["id"]
            assert contour.hsd_min == pytest.approx(float(row["iugc2024_hsd_px512"]), abs=1e-4), row["id"]
    assert refused == 12


def test_iugc2024_axis_is_the_farthest_pair_and_hsd_the_nearest_point() -> None:
    labels = at_aop(120).draw()
    found = measure(labels, protocol="iugc2024")
    assert found.landmarks is not None
    ps, head = (np.argwhere(labels == code)[:, ::-1] for code in (1, 2))
    corners = cv2.convexHull(ps.astype(np.int32)).reshape(-1, 2).astype(np.int64)
    squared = ((corners[:, None] - corners[None]) ** 2).sum(axis=2)
    ends = found.landmarks.ps_superior, found.landmarks.ps_inferior
    assert math.dist(*ends) == pytest.approx(math.sqrt(squared.max()))
    assert ends[0][0] < ends[1][0]
    assert found.hsd_min == pytest.approx(np.hypot(*(head - ends[1]).T).min())


def test_iugc2024_is_defined_at_512_and_gives_landmarks_in_the_masks_own_pixels() -> None:
    small = at_aop(120).draw((256, 256), pixel_mm=(0.72, 0.72))
    squeezed = at_aop(120).draw((300, 200), pixel_mm=(0.62, 0.93))
    for labels in (small, squeezed):
        found = measure(labels, protocol="iugc2024", pixel_size=(3.0, 7.0))
        reference = measure(_enlarged(labels, 512), protocol="iugc2024")
        assert found.aop_deg == reference.aop_deg
        assert found.hsd_min == reference.hsd_min
        assert found.landmarks is not None
        assert reference.landmarks is not None
        height, width = labels.shape
        for name in ("ps_superior", "ps_inferior", "tangent", "hsd_min_foot"):
            x, y = getattr(found.landmarks, name)
            at = getattr(reference.landmarks, name)
            assert ((x + 0.5) * 512 / width - 0.5, (y + 0.5) * 512 / height - 0.5) == pytest.approx(at)


def test_fhps2023_measures_the_ellipses_it_is_given() -> None:
    size, center, semi_axes = 256, (150.0, 150.0), (70.0, 50.0)
    labels = np.zeros((size, size), np.uint8)
    cv2.ellipse(labels, (150, 150), (70, 50), 30, 0, 360, 2, -1)
    cv2.ellipse(labels, (70, 60), (30, 12), 10, 0, 360, 1, -1)
    found = measure(labels, protocol="fhps2023")
    t = np.linspace(0, 2 * np.pi, 20_001)
    c, s = math.cos(math.radians(30)), math.sin(math.radians(30))
    x = center[0] + semi_axes[0] * np.cos(t) * c - semi_axes[1] * np.sin(t) * s
    y = center[1] + semi_axes[0] * np.cos(t) * s + semi_axes[1] * np.sin(t) * c
    tip = np.array([70 + 30 * math.cos(math.radians(10)), 60 + 30 * math.sin(math.radians(10))])
    leading = np.arctan2(-(y - tip[1]), x - tip[0]).max()
    # The axis points back at 190 degrees (y down); AoP counts from there over the head to the tangent.
    assert found.aop_deg == pytest.approx(math.degrees(leading) + 190, abs=1.0)
    assert found.hsd_min is None
    assert found.landmarks is not None
    assert found.landmarks.hsd_min_foot is None


@pytest.mark.parametrize("protocol", ["iugc2024", "fhps2023", "robust"])
def test_missing_structures_have_a_reason(protocol: str) -> None:
    whole = at_aop(120).draw()
    empty = np.zeros_like(whole)
    no_ps, no_fh = np.where(whole == 1, 0, whole), np.where(whole == 2, 0, whole)
    assert measure(empty, protocol=protocol).reason is Reason.NO_PS
    assert measure(no_ps.astype(np.uint8), protocol=protocol).reason is Reason.NO_PS
    assert measure(no_fh.astype(np.uint8), protocol=protocol).reason is Reason.NO_FH


@pytest.mark.parametrize("protocol", ["iugc2024", "fhps2023", "robust"])
def test_an_inferior_end_inside_the_head_has_no_tangent(protocol: str) -> None:
    found = measure(Anatomy(head=(5, 30, 90)).draw(), protocol=protocol)
    assert found.reason is Reason.PS_END_IN_HEAD
    assert found.aop_deg is None
    assert found.landmarks is None
