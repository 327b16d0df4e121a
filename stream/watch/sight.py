"""What is seen of a frame before the network is asked."""

from __future__ import annotations

from enum import StrEnum

from stream.biometry import Reason


class Sight(StrEnum):
    """What a frame is. Only new ones go to the network."""

    NEW = "new"
    REPEATED = "repeated"
    FROZEN = "frozen"
    BLACK = "black"
    NO_SECTOR = "no_sector"
    """No ultrasound sector was found in it, or none yet."""
    TWO_PANES = "two_panes"
    """Two pictures side by side, of which none was chosen."""
    UPSIDE_DOWN = "upside_down"
    """The display was turned over: the probe is at the bottom."""
    NO_CONTACT = "no_contact"
    """The probe is in the air."""
    DAMAGED = "damaged"
    """The source could not read the picture whole."""
    INVALID = "invalid"
    """The source says of the picture that it is not valid."""
    OVERLOAD = "overload"
    """It was dropped before it was decoded, or, of a recorded stream, when that was live."""


REFUSED_BY_SOURCE = {
    Reason.DAMAGED: Sight.DAMAGED,
    Reason.INVALID: Sight.INVALID,
    Reason.OVERLOAD: Sight.OVERLOAD,
}
"""What a frame is whose source says that it must not be measured (`Frame.refusal`)."""
