"""Which time stamps of a recording are believed."""

from __future__ import annotations

import math

import pytest

from stream.sources.timestamps import plausible_timestamps

NAN = math.nan
REGULAR = [index * 0.04 for index in range(6)]


@pytest.mark.parametrize(
    ("times_s", "period_s", "kept", "usual_s", "words"),
    [
        (REGULAR, None, REGULAR, 0.04, ""),
        ([time + 1.7e9 for time in REGULAR], None, [time + 1.7e9 for time in REGULAR], 0.04, ""),
        ([0, 0.04, NAN, 0.12, math.inf], None, [0, 0.04, None, 0.12, None], 0.06, "2 of 5 time stamps are no numbers"),
        ([0, 0.04, 0.08, 3000.08, 3000.12], None, [0, 0.04, 0.08, 3000.08, 3000.12], 0.04, ""),  # a pause
        ([0, 0, 0.08, 0.08, 0.16, 0.16], None, [0, 0, 0.08, 0.08, 0.16, 0.16], 0.032, ""),  # each twice
        ([0.0] * 30 + [1.0] * 30, None, [0.0] * 30 + [1.0] * 30, 1 / 59, ""),  # a clock of whole seconds
        ([0, 0.04, 0.08, 0.02, 0.06, 0.1], None, [], 0.04, "go back: 25 frames/s assumed"),  # begins anew once
        ([0, 5, 10, 2, 7, 12], None, [0, 5, 10, 2, 7, 12], 5, ""),  # so far back that a segment begins
        ([0, 0.9, 0.08, 0.12], None, REGULAR[:4], 0.04, "1 of 4 time stamps out of order, replaced"),
        ([0.9, *REGULAR[1:]], None, REGULAR, 0.04, "1 of 6 time stamps out of order, replaced"),
        ([0, 0.94, *REGULAR[2:]], None, REGULAR, 0.04, "1 of 6 time stamps out of order, replaced"),
        ([*REGULAR[:3], -3, *REGULAR[4:]], None, REGULAR, 0.04, "1 of 6 time stamps out of order, replaced"),
        ([*REGULAR[:5], 0.02], None, REGULAR, 0.04, "1 of 6 time stamps out of order, replaced"),
        ([0.9, 0.94, *REGULAR[2:]], None, [], 0.04, "go back: 25 frames/s assumed"),
        ([5.0] * 5, None, [], None, "do not move forward: 25 frames/s assumed"),
        ([5 - time for time in REGULAR], None, [], None, "do not move forward"),
        ([NAN] * 5, None, [], None, "25 frames/s assumed"),
        ([time * 1000 for time in REGULAR], None, [], None, "40 s apart are not plausible: 25 frames/s assumed"),
        ([time * 1e-6 for time in REGULAR], None, [], None, "4e-08 s apart are not plausible"),
        ([5.0] * 5, 0.05, [], 0.05, "do not move forward"),
        ([], 0.05, [], 0.05, ""),
        ([], 3000.0, [], None, "3000 s from frame to frame is not plausible: 25 frames/s assumed"),
        ([], None, [], None, "25 frames/s assumed"),
        (REGULAR, 3000.0, REGULAR, 0.04, ""),
    ],
)
def test_stamps(
    times_s: list[float], period_s: float | None, kept: list[float | None], usual_s: float | None, words: str
) -> None:
    stamps = plausible_timestamps(times_s, period_s=period_s)
    assert list(stamps.times_s) == pytest.approx(kept)
    assert stamps.period_s == (pytest.approx(usual_s) if usual_s else None)
    assert words in stamps.note
    assert bool(stamps.note) == bool(words)
