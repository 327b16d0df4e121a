"""What would help a machine that does not keep up with its feeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engines.registry import AUTO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.app.options.session_options import SessionOptions


def suggest_remedies(options: SessionOptions, *, feeds: int = 1, is_ward: bool = False) -> Sequence[str]:
    """What would help a machine that does not keep up, as far as these options leave room for it.

    Args:
        options: of the session.
        feeds: on this machine.
        is_ward: its options stand in `ward.toml`, rather than on a command line.
    """
    scheme, _, rest = options.uri.partition(":")
    found = []
    if options.overlay:
        found.append("--no-overlay")
    if options.record:
        found.append("no --record")
    if feeds > 1 or is_ward:
        found.append("fewer feeds on one machine")
    if not options.early_exit:
        found.append("early-exit = true in [analysis]" if is_ward else "--early-exit")
    if options.backend != AUTO:
        found.append('backend = "auto" in [analysis]' if is_ward else "--backend auto")
    if scheme == "screen":
        found.append("a smaller region of the screen" if "x" in rest else "a region of the screen, screen:WxH+X+Y")
    elif scheme == "v4l2":
        found.append("a smaller ?size= or ?rate= of the device")
    elif options.live:
        found.append("a lower frame rate at the sender")
    return (*found, "a faster machine (see: partum bench stream)")
