"""What the user asked `partum replay` or `partum attach` for."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from engines.redaction import looks_like_address, redacted
from stream.common.errors import OptionError
from stream.frames.frame import PixelSpacing
from stream.measurement.biometry import Orientation
from stream.measurement.protocols import DEFAULT_PROTOCOL
from stream.preprocessing import WatchOptions

if TYPE_CHECKING:
    from stream.outputs.web.settings import ScreenSettings

DEMO_CLIP = Path(__file__).parents[1] / "demo" / "demo.mp4"
"""A real frame brought to motion by warps of a known AoP course; see `calibration/studies/demo_clip.py`."""


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
        allow_hosts: names by which viewers may call the screen, beside its address.
        tls_cert, tls_key: PEM files, to serve the screen by HTTPS.
        igtl_out: port to offer the results at by OpenIGTLink, on this machine alone; None offers none.
        duration_s: ends a live run by itself; None goes on.
        profile: file that `watch` was read from, where there is one.
        watch: where the ultrasound is on the screen, and how large its pixels are.
    """

    source: str | None = None
    out: Path | None = None
    pace: float | None = None
    backend: str = "auto"
    model: str | None = None
    protocol: str = DEFAULT_PROTOCOL
    orientation: Orientation = Orientation.AUTO
    spacing: PixelSpacing | None = None
    overlay: bool = True
    loop: bool = False
    early_exit: bool = False
    live: bool = False
    record: bool = False
    serve: str | None = None
    token: str | None = None
    allow_hosts: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    igtl_out: int | None = None
    duration_s: float | None = None
    profile: Path | None = None
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

    def screen_settings(self) -> ScreenSettings | None:
        """Those of the screen, checked; None where none is asked for.

        Raises:
            OptionError: one of them is not right, or is given without --serve.
            SourceUnavailable: the packages it needs are not installed.
        """
        if self.serve is None:
            if self.token or self.allow_hosts or self.tls_cert or self.tls_key:
                raise OptionError("--token, --allow-host, --tls-cert and --tls-key are the screen's: give --serve too")
            return None
        from stream.outputs.web.settings import ScreenSettings, parse_address

        host, port = parse_address(self.serve)
        return ScreenSettings.checked(
            host,
            port,
            token=self.token,
            allow_hosts=self.allow_hosts,
            tls_cert=self.tls_cert,
            tls_key=self.tls_key,
        )

    @property
    def addresses(self) -> tuple[str, ...]:
        """What the user gave that may hold a password; no file, screen or log may show it as it is."""
        return tuple(given for given in (self.source, self.model) if given and looks_like_address(given))

    def as_json(self) -> dict[str, object]:
        """Every option, as written to `run.json`: whatever field this class or `WatchOptions` has is in it."""
        shown: dict[str, object] = {"source": self.shown_source, "pace": self.pace or "asap"}
        shown["model"] = (
            redacted(self.model) if self.model in self.addresses and self.model else self.model or "default"
        )
        shown["token"] = None if self.token is None else "given"
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "watch"}
        of_screen = {field.name: getattr(self.watch, field.name) for field in fields(self.watch)}
        del of_screen["typed"]  # that is `spacing`
        of_screen["profile_spacing"], of_screen["profile_screen"] = of_screen.pop("spacing"), of_screen.pop("size")
        return {_key(name): _plain(value) for name, value in (own | of_screen | shown).items()}


def _key(name: str) -> str:
    """Units are in names."""
    return f"{name}_mm" if name in ("spacing", "profile_spacing") else name


def _plain(value: object) -> object:
    """A JSON value: what an option can be, from the command line or from Python."""
    if isinstance(value, PixelSpacing):
        return [value.x_mm, value.y_mm]
    if isinstance(value, (Path, Enum)):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
