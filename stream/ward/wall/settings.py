"""Settings of a ward's page, of its configuration: address, certificate and tokens; checked before a feed starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from stream.common.errors import OptionError
from stream.outputs.web.certificate import expiry_of
from stream.outputs.web.settings import WebSettings, is_loopback
from stream.ward.wall.roles import Role, Tokens, now_s
from stream.ward.wall.sign_in import METRICS, WITHOUT_TOKEN

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from stream.ward.config import WardConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class WallSettings:
    """Checked settings of the page.

    Attributes:
        web: address, names and certificate.
        tokens: of all roles; empty where only this machine can look, and everybody on it may.
        serves_metrics: whether `/metrics` is answered at all.
        without_token: paths that are answered to everybody; one that ends in / with all below it.
        certificate: the files of certificate and key; None without.
        certificate_until: when it ends.
    """

    web: WebSettings
    tokens: Tokens
    serves_metrics: bool = True
    without_token: tuple[str, ...] = WITHOUT_TOKEN
    certificate: tuple[Path, Path | None] | None = None
    certificate_until: datetime | None = None

    @classmethod
    def checked(cls, config: WardConfig) -> Self:
        """Of a configuration.

        Raises:
            OptionError: a name or the certificate is not right, or others could look without a token.
            ExtraMissing: the packages it needs are not installed.
        """
        wall, path = config.wall, config.path
        tokens = [(token, role) for role in Role for token in getattr(config.tokens, role.value)]
        if not any(role is not Role.METRICS for _, role in tokens) and (tokens or not is_loopback(wall.host)):
            raise OptionError(
                f'{path}: [tokens] names nobody who may look at {wall.host}; write watch = ["..."] there,'
                " with a token made by: openssl rand -hex 16"
            )
        web = WebSettings.checked(
            wall.host,
            wall.port,
            allow_hosts=wall.allow_hosts,
            tls_cert=wall.tls_cert,
            tls_key=wall.tls_key,
            place_of=lambda key: f"{path}: [web] {_KEYS.get(key, key)}",
        )
        return cls(
            web=replace(web, token=None),
            tokens=Tokens(tokens, now_s),
            serves_metrics=config.metrics.serve,
            without_token=WITHOUT_TOKEN if config.metrics.needs_token else (*WITHOUT_TOKEN, METRICS),
            certificate=(wall.tls_cert, wall.tls_key) if wall.tls_cert else None,
            certificate_until=expiry_of(web.tls, wall.tls_cert) if web.tls and wall.tls_cert else None,
        )


_KEYS = {"serve": "host, port", "allow-host": "allow_host", "tls-cert": "tls_cert", "tls-key": "tls_key"}
"""What keys of the file are called otherwise than on the command line."""
