"""What the user asked `partum replay` or `partum attach` for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from engines.redaction import looks_like_address, redacted
from stream.biometry import Orientation
from stream.watch import WatchOptions

if TYPE_CHECKING:
    from stream.frame import PixelSpacing

DEMO_CLIP = Path(__file__).parent / "demo" / "demo.mp4"
"""A real frame brought to motion by warps of a known AoP course; see `calibration/demo_clip.py`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """What one source is to be run through, and where to.

    Attributes:
        source: path or URI; None plays the demonstration clip.
        out: folder for the results; None makes a new one.
        pace: how many times as fast as recorded; None as fast as possible.
        loop: replay without end.
        early_exit: decode only frames that may be standard planes.
        live: the source is a live feed: the newest frame wins, and it runs until it is stopped.
        record: keep the pictures too, so that the run can be replayed.
        serve: address of the screen, `host:port`; None serves none.
        token: that viewers must bring; None makes one where the screen can be reached from elsewhere.
        igtl_out: port to offer the results at by OpenIGTLink, on this machine alone; None offers none.
        duration_s: ends a live run by itself; None goes on.
        watch: where the ultrasound is on the screen, and how large its pixels are.
    """

    source: str | None = None
    out: Path | None = None
    pace: float | None = None
    backend: str = "auto"
    model: str | None = None
    protocol: str = "robust"
    orientation: Orientation = Orientation.AUTO
    spacing: PixelSpacing | None = None
    overlay: bool = True
    loop: bool = False
    early_exit: bool = False
    live: bool = False
    record: bool = False
    serve: str | None = None
    token: str | None = None
    igtl_out: int | None = None
    duration_s: float | None = None
    watch: WatchOptions = field(default_factory=WatchOptions)

    @property
    def shown_source(self) -> str:
        """The source as files, screens and logs may name it."""
        if self.source is None:
            return "demonstration clip"
        return redacted(self.source) if self.live or looks_like_address(self.source) else self.source

    @property
    def uri(self) -> str:
        return self.source if self.source is not None else str(DEMO_CLIP)

    @property
    def name(self) -> str:
        """The source in few words, for titles."""
        return self.shown_source if self.live or self.shown_source != self.source else Path(self.uri).name

    @property
    def addresses(self) -> tuple[str, ...]:
        """What the user gave that may hold a password; no file, screen or log may show it as it is."""
        return tuple(given for given in (self.source, self.model) if given and looks_like_address(given))

    @property
    def _shown_model(self) -> str:
        return "default" if not self.model else redacted(self.model) if self.model in self.addresses else self.model

    def as_json(self) -> dict[str, object]:
        """The options as written to `run.json`."""
        return {
            "source": self.shown_source,
            "pace": self.pace or "asap",
            "backend": self.backend,
            "model": self._shown_model,
            "protocol": self.protocol,
            "orientation": str(self.orientation),
            "spacing_mm": [self.spacing.x_mm, self.spacing.y_mm] if self.spacing else None,
            "overlay": self.overlay,
            "loop": self.loop,
            "early_exit": self.early_exit,
            "live": self.live,
            "record": self.record,
            "serve": self.serve,
            "igtl_out": self.igtl_out,
            "duration_s": self.duration_s,
            "sector": self.watch.sector,
        }
