"""Examination of a JNU-IFM or IUGC video, by its name."""

from __future__ import annotations

import re

_TIME = re.compile(r"\d{8}T\d{6}|\d{14,}")


def exam_of(video: str) -> str:
    """The examination a video was cut from: the videos of one look alike and must not be torn apart.

    Convention: names begin with the time of the examination, to the second, which is taken; a name without it
    is its own group. Worked values: `20190909T155747I1` and `20190909T155747I5` are of `20190909T155747`;
    `test_10_80` is of `test_10_80`.
    """
    match = _TIME.match(video)
    return match[0] if match else video
