"""Chooses the frames that quantisation ranges are calibrated on."""

from __future__ import annotations

from collections import defaultdict
from itertools import zip_longest
from typing import TYPE_CHECKING

from calibration.errors import DataSetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from calibration.data.base import LabelledFrame


def choose_frames(frames: Iterable[LabelledFrame], count: int) -> list[LabelledFrame]:
    """Chooses `count` frames that cover scanners, planes and groups.

    Convention: frames are sorted into kinds by scanner and plane label. Kinds give frames in turn, each from its groups
    in turn, evenly over the time of each. The same frames give the same choice. Fewer frames than asked for give all.

    Raises:
        DataSetError: there is no frame.
    """
    kinds: dict[tuple[str, bool | None], dict[str, list[LabelledFrame]]] = defaultdict(lambda: defaultdict(list))
    for frame in frames:
        kinds[frame.look, frame.plane][frame.group].append(frame)
    if not kinds:
        raise DataSetError("no frame to calibrate on; name a data set with --data")
    in_turn = [_interleaved([spread_out(group) for group in groups.values()]) for groups in kinds.values()]
    return _interleaved(in_turn)[:count]


def spread_out(frames: Sequence[LabelledFrame]) -> list[LabelledFrame]:
    """The frames of one group in an order whose every beginning covers its whole length: ends, middle, quarters ..."""
    places = sorted(range(len(frames)), key=lambda place: int(f"{place:020b}"[::-1], 2))
    return [frames[place] for place in places]


def _interleaved(lists: Sequence[Sequence[LabelledFrame]]) -> list[LabelledFrame]:
    return [frame for row in zip_longest(*lists) for frame in row if frame is not None]
