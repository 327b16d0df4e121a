"""Options of a run of `partum replay` or `partum attach`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from engines.redaction import looks_like_address, redact
from stream.app.options.declare import declared_fields
from stream.app.options.shared import AnalysisOptions, OutputOptions, SourceOptions, WebOptions
from stream.app.options.values import ScannerProfile
from stream.common.errors import OptionError
from stream.frames.frame import PixelSpacing
from stream.preprocessing import PreprocessingOptions
from stream.preprocessing.sector.detection import Panes
from stream.sources.demo import DEMO_CLIP
from stream.tracking.kalman import FilterNoise
from stream.tracking.noise_file import noise_facts

if TYPE_CHECKING:
    from stream.outputs.web.settings import WebSettings


@dataclass(frozen=True, kw_only=True)
class SessionOptions(SourceOptions, AnalysisOptions, OutputOptions, WebOptions):
    """What one source is to be run through, and where to.

    Attributes:
        from_files: which of the options a configuration file said, and where: `{"protocol": "partum.toml:3"}`.
    """

    from_files: Mapping[str, str] = field(default_factory=dict)

    @property
    def preprocessing(self) -> PreprocessingOptions:
        """Where the ultrasound is on the screen, and how large its pixels are; what is not said is the profile's."""
        options = self.profile.options if self.profile else PreprocessingOptions()
        if self.sector is not None:
            options = replace(options, sector=self.sector)
        if self.pane is not None:
            options = replace(options, pane=Panes(self.pane))
        return options if self.tick_mm is None else replace(options, tick_mm=self.tick_mm)

    @property
    def shown_source(self) -> str:
        """The source as files, screens and logs may name it."""
        if self.source is None:
            return "demonstration clip"
        return redact(self.source) if self.live or looks_like_address(self.source) else self.source

    @property
    def uri(self) -> str:
        return self.source if self.source is not None else str(DEMO_CLIP)

    @property
    def name(self) -> str:
        """The source in few words, for titles."""
        return self.shown_source if self.live or self.shown_source != self.source else Path(self.uri).name

    def web_settings(self) -> WebSettings | None:
        """Settings of the web page, checked; None where it is not asked for.

        Raises:
            OptionError: one of them is not right, or is given without --serve.
            ExtraMissing: the packages it needs are not installed.
        """
        if self.serve is None:
            if self.token or self.allow_hosts or self.tls_cert or self.tls_key:
                raise OptionError(
                    "--token, --allow-host, --tls-cert and --tls-key are the web page's: give --serve too"
                )
            return None
        from stream.outputs.web.settings import WebSettings, parse_address

        host, port = parse_address(self.serve)
        return WebSettings.checked(
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
        """Every option, as written to `run.json`: whatever field this class or `PreprocessingOptions` has is in it."""
        shown: dict[str, object] = {"source": self.shown_source, "pace": self.pace or "asap"}
        shown["model"] = redact(self.model) if self.model and self.model in self.addresses else self.model or "default"
        secrets = {each.name for each, what in declared_fields(type(self)) if what.is_secret}
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        shown |= {name: None if own[name] is None else "given" for name in secrets}
        of_screen = {each.name: getattr(self.preprocessing, each.name) for each in fields(self.preprocessing)}
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
    if isinstance(value, ScannerProfile):
        return str(value.path)
    if isinstance(value, FilterNoise):
        return noise_facts(value)
    if isinstance(value, (Path, Enum)):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value
