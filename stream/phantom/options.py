"""The options of a `phantom:` URI, as in `phantom:?seed=3&duration=30&aop=110&mirrored=on`.

- `seed`: whole number from 0, default 0: everything random
- `duration`: seconds, 0.1 to 3600, default 20
- `rate`: frames per second, 1 to 240, default 30; a fraction such as 30000/1001 is exact
- `size`: pixels of the square picture, 128 to 1024, default 512
- `aop`: angle of progression at rest in degrees, 80 to 160; drawn from the seed if not given
- `pushes`: on or off, default on
- `offplane`: on or off, default on: periods that show no standard plane
- `mirrored`: on or off, default off: PS on the right
- `speckle`: on or off, default on: off shows every echo at its mean strength, without noise
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from engines.redaction import redact
from stream.common.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

OPTION_NAMES = ("seed", "duration", "rate", "size", "aop", "pushes", "offplane", "mirrored", "speckle")
_ON, _OFF = ("on", "1", "true", "yes"), ("off", "0", "false", "no")


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomOptions:
    """The options of a `phantom:` URI, checked; see the module's text for units and ranges."""

    seed: int = 0
    duration_s: Fraction = Fraction(20)
    rate_hz: Fraction = Fraction(30)
    size_px: int = 512
    aop_deg: float | None = None
    pushes: bool = True
    offplane: bool = True
    mirrored: bool = False
    speckle: bool = True

    @property
    def frame_count(self) -> int:
        """Frames that start before the duration is over; at least one."""
        return max(1, math.ceil(self.duration_s * self.rate_hz))


def parse_phantom_uri(uri: str) -> PhantomOptions:
    """Reads the options of a `phantom:` URI.

    Raises:
        OptionError: the URI is no phantom, or an option is unknown, given twice, or has a bad value.
    """
    scheme, colon, rest = uri.partition(":")
    if scheme != "phantom" or not colon or (rest and not rest.startswith("?")):
        raise OptionError(f"{redact(uri)} is no phantom; write phantom: or phantom:?seed=3&duration=20")
    given: dict[str, str] = {}
    for key, text in parse_qsl(rest[1:], keep_blank_values=True):
        if key not in OPTION_NAMES:
            raise OptionError(f"phantom option {key!r} is unknown; allowed are {', '.join(OPTION_NAMES)}")
        if key in given:
            raise OptionError(f"phantom option {key!r} is given twice in {redact(uri)}; give it once")
        given[key] = text
    plain = PhantomOptions()
    return PhantomOptions(
        seed=int(_number(given, "seed", Fraction(plain.seed), 0, 2**32 - 1, whole=True)),
        duration_s=_number(given, "duration", plain.duration_s, Fraction(1, 10), 3600),
        rate_hz=_number(given, "rate", plain.rate_hz, 1, 240),
        size_px=int(_number(given, "size", Fraction(plain.size_px), 128, 1024, whole=True)),
        aop_deg=float(_number(given, "aop", Fraction(120), 80, 160)) if "aop" in given else None,
        pushes=_switch(given, "pushes", default=plain.pushes),
        offplane=_switch(given, "offplane", default=plain.offplane),
        mirrored=_switch(given, "mirrored", default=plain.mirrored),
        speckle=_switch(given, "speckle", default=plain.speckle),
    )


def _number(
    given: Mapping[str, str],
    key: str,
    default: Fraction,
    low: Fraction | int,
    high: Fraction | int,
    *,
    whole: bool = False,
) -> Fraction:
    """The value of a numeric option; `whole` admits no fraction. Decimals and ratios are kept exact."""
    if key not in given:
        return default
    try:
        value = Fraction(given[key])
    except (ValueError, ZeroDivisionError):
        value = Fraction(low) - 1
    if not low <= value <= high or (whole and value.denominator != 1):
        kind = "a whole number" if whole else "a number"
        raise OptionError(f"phantom option {key}={given[key]!r}: give {kind} from {_plain(low)} to {_plain(high)}")
    return value


def _plain(value: Fraction | int) -> str:
    return f"{float(value):g}" if isinstance(value, Fraction) else str(value)


def _switch(given: Mapping[str, str], key: str, *, default: bool) -> bool:
    text = given.get(key)
    if text is None:
        return default
    if text.lower() not in _ON + _OFF:
        raise OptionError(f"phantom option {key}={text!r}: give on or off")
    return text.lower() in _ON
