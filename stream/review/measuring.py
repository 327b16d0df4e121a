"""What is measured on a frame that a person has edited: by the run's own protocol, from its points and outlines."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from stream.common.errors import OptionError
from stream.frames.reason import Reason
from stream.inference.label_grid import biometry_in_frame
from stream.labour.edits import EditedReading
from stream.measurement.biometry import LANDMARK_NAMES, Biometry, Orientation
from stream.measurement.protocols import find_protocol, measure
from stream.measurement.protocols.points import aop_of_points
from stream.measurement.protocols.robust import PLAUSIBLE_AOP_DEG

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from stream.frames.frame import Frame
    from stream.frames.regions import Point
    from stream.inference.label_grid import LabelGrid
    from stream.labour.run_network import SegmentedFrame
    from stream.measurement.biometry import MoveEnds

POINTS = ("ps_superior", "ps_inferior", "tangent")
"""Landmarks that a person may move; the others follow from them."""
CODES = {"ps": 1, "fh": 2}
LEAST_OUTLINE, MOST_OUTLINE = 3, 500


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameEdit:
    """What a person did to a frame; all in pixels of the frame.

    Attributes:
        points: the three landmarks as they stand now, those that were not moved too; empty where there are none.
        moved: names of those that were moved.
        outlines: drawn anew, by `ps` and `fh`, (N, 2).
    """

    points: Mapping[str, Point] = field(default_factory=dict)
    moved: frozenset[str] = frozenset()
    outlines: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @classmethod
    def parse(cls, content: object, *, shape: tuple[int, int]) -> FrameEdit:
        """Reads what a page sent about a frame of (H, W).

        Raises:
            OptionError: it is no such edit, or lies outside of the frame.
        """
        try:
            if not isinstance(content, dict):
                raise ValueError("it is no object")
            points = {name: _point(content["points"][name], shape) for name in POINTS if content.get("points")}
            moved = frozenset(content.get("moved") or ())
            if not moved <= set(POINTS) or (moved and not points):
                raise ValueError(f"moved is {sorted(moved)}")
            drawn = content.get("outlines") or {}
            outlines = {name: _outline(drawn[name], shape) for name in CODES if drawn.get(name)}
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise OptionError(f"this is no edit of a frame ({' '.join(str(error).split())[:100]})") from error
        return cls(points=points, moved=moved, outlines=outlines)

    @property
    def is_empty(self) -> bool:
        return not self.moved and not self.outlines


def _point(pair: Any, shape: tuple[int, int]) -> Point:
    x, y = (float(value) for value in pair)
    if not (-1 <= x <= shape[1] and -1 <= y <= shape[0]):
        raise ValueError(f"the point {x:g}, {y:g} lies outside of the frame")
    return x, y


def _outline(points: Any, shape: tuple[int, int]) -> NDArray[np.float64]:
    if not LEAST_OUTLINE <= len(points) <= MOST_OUTLINE:
        raise ValueError(f"an outline has {LEAST_OUTLINE} to {MOST_OUTLINE} points, got {len(points)}")
    outline = np.array([_point(point, shape) for point in points])
    if cv2.contourArea(outline.astype(np.float32)) < 1:
        raise ValueError("an outline encloses nothing")
    return outline


def measure_edit(
    edit: FrameEdit,
    frame: Frame,
    *,
    protocol: str,
    is_mirrored: bool,
    seen: SegmentedFrame | None,
    mm_per_px: float | None,
) -> EditedReading:
    """AoP and HSD of an edited frame.

    A structure that was drawn takes the place of the network's. On the masks the protocol measures as always, by the
    ends of the PS that a person moved, else by those of the reading (of a PS drawn anew, by the drawing's own). A
    tangent that was moved is the tangent: AoP is then the protocol's angle through it.

    Args:
        edit: of the frame.
        frame: with its pixels.
        protocol: of the run.
        is_mirrored: as the frame was read, or the run's frames near it.
        seen: what the network sees; None where that is not known: AoP is then taken from the points, and there is no
            HSD.
        mm_per_px: scale of lengths; None without one.
    """
    found = _on_mask(edit, frame, protocol=protocol, is_mirrored=is_mirrored, seen=seen)
    points: dict[str, Any] = {name: list(point) for name, point in edit.points.items()} if edit.points else {}
    if found is not None and found.landmarks is not None:
        points = {name: _rounded(getattr(found.landmarks, name)) for name in LANDMARK_NAMES}
    aop = found.aop_deg if found is not None else None
    if "tangent" in edit.moved or found is None:
        for name in edit.moved | ({"tangent"} & edit.points.keys()):
            points[name] = _rounded(edit.points[name])
        aop = _angle(points, frame, protocol=protocol, is_mirrored=is_mirrored)
    reason = _reason(found, aop)
    lengths = (None, None) if found is None or found.reason else (found.hsd_min, found.hsd_perp)
    values = {"aop_deg": None if reason else aop}
    for name, length in zip(("hsd_min", "hsd_perp"), lengths, strict=True):
        values[f"{name}_px"] = None if reason else length
        values[f"{name}_mm"] = None if reason or length is None or mm_per_px is None else length * mm_per_px
    return EditedReading(
        moved=[name for name in POINTS if name in edit.moved],
        landmarks_px={name: points.get(name) for name in LANDMARK_NAMES} if points else None,
        outlines_px={name: np.round(outline, 2).tolist() for name, outline in edit.outlines.items()},
        values={name: None if value is None else round(value, 3) for name, value in values.items()},
        reason=reason,
    )


def _reason(found: Biometry | None, aop: float | None) -> str | None:
    """Why there are no values."""
    if aop is None:
        return str(found.reason if found is not None and found.reason else Reason.IMPLAUSIBLE)
    return None if PLAUSIBLE_AOP_DEG[0] <= aop <= PLAUSIBLE_AOP_DEG[1] else str(Reason.IMPLAUSIBLE)


def _angle(points: Mapping[str, Any], frame: Frame, *, protocol: str, is_mirrored: bool) -> float | None:
    if any(points.get(name) is None for name in POINTS):
        return None
    superior, inferior, tangent = ((float(points[name][0]), float(points[name][1])) for name in POINTS)
    height, width = frame.image.shape
    return aop_of_points(
        superior,
        inferior,
        tangent,
        protocol=protocol,
        shape=(height, width),
        aspect=frame.aspect,
        is_mirrored=is_mirrored,
    )


def _on_mask(
    edit: FrameEdit, frame: Frame, *, protocol: str, is_mirrored: bool, seen: SegmentedFrame | None
) -> Biometry | None:
    """The protocol's reading of the masks, in pixels of the frame; None where a structure's mask is not known."""
    if seen is None and len(edit.outlines) < len(CODES):
        return None
    squeezed = find_protocol(protocol).is_squeezed
    if edit.outlines or squeezed or seen is None:
        labels = _drawn_labels(edit, frame, seen)
        grid, pixel_size, field_of_view = None, (frame.aspect, 1.0), _field(frame)
    else:
        labels, grid, pixel_size, field_of_view = seen.mask.labels, seen.mask.grid, seen.pixel_size, seen.field_of_view
    found = measure(
        labels,
        protocol=protocol,
        pixel_size=pixel_size,
        field_of_view=field_of_view,
        orientation=Orientation.NORMAL if squeezed or not is_mirrored else Orientation.MIRRORED,
        move_ends=_move_ends(edit, grid),
    )
    return found if grid is None else biometry_in_frame(found, grid)


def _field(frame: Frame) -> NDArray[np.bool_] | None:
    return None if frame.field_of_view is None else frame.field_of_view > 127


def _drawn_labels(edit: FrameEdit, frame: Frame, seen: SegmentedFrame | None) -> NDArray[np.uint8]:
    """Labels on the pixels of the frame, with what was drawn in the place of the network's; PS lies on top."""
    labels = np.zeros(frame.image.shape, np.uint8) if seen is None else seen.in_frame.copy()
    for name in ("fh", "ps"):
        if name in edit.outlines:
            labels[labels == CODES[name]] = 0
            fixed = np.round(edit.outlines[name] * 16).astype(np.int32)
            cv2.fillPoly(labels, [fixed.reshape(-1, 1, 2)], CODES[name], shift=4)
    return labels


def _move_ends(edit: FrameEdit, grid: LabelGrid | None) -> MoveEnds | None:
    """Puts the ends of the PS where the person has them; None leaves those of a PS that was drawn anew."""
    kept = {"ps_superior", "ps_inferior"}
    if not edit.points or ("ps" in edit.outlines and not edit.moved & kept):
        return None

    def move_ends(superior: Point, inferior: Point) -> tuple[Point, Point]:
        ends = {"ps_superior": superior, "ps_inferior": inferior}
        for name in kept if "ps" not in edit.outlines else kept & edit.moved:
            point = edit.points[name]
            ends[name] = grid.from_frame(point) if grid else point
        if math.dist(ends["ps_superior"], ends["ps_inferior"]) < 1e-3:
            return superior, inferior
        return ends["ps_superior"], ends["ps_inferior"]

    return move_ends


def _rounded(point: Sequence[float] | None) -> list[float] | None:
    return None if point is None else [round(float(point[0]), 3), round(float(point[1]), 3)]
