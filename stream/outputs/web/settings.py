"""Settings of the web server: address, host names, token, certificate; checked before anything loads."""

from __future__ import annotations

import importlib.util
import ipaddress
import re
import secrets
import socket
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from engines.redaction import redact
from stream.common.errors import ExtraMissing, OptionError, OutputError
from stream.outputs.web.certificate import load_certificate

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\])")
REQUEST_TIMEOUT_S = 10.0
"""A connection whose TLS handshake, or whose first request, is not whole by then is closed."""
UNSENT_BYTES = 1 << 15
"""Of what a viewer has not been sent yet, the kernel takes no more than this."""
_PACKAGES = ("starlette", "uvicorn", "websockets", "prometheus_client")


def parse_address(text: str) -> tuple[str, int]:
    """Reads `host:port`, `[IPv6]:port` or `port`.

    Raises:
        OptionError: it does not read so.
    """
    host, _, port = text.rpartition(":")
    is_port = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 65536
    if not is_port or not _HOST.fullmatch(host):
        shown = redact(text if "://" in text else f"tcp://{text}").removeprefix("tcp://")
        raise OptionError(f"--serve {shown}: give HOST:PORT, for example 127.0.0.1:8400")
    return host.strip("[]") or "127.0.0.1", int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """Checked settings of the web page.

    Attributes:
        host, port: to listen on; port 0 takes a free one.
        token: that viewers must bring; None where only this machine can look.
        names: by which viewers may call this server, beside its addresses and those of loopback; lower case.
        tls: certificate and key; None serves plain HTTP.
        place: what an error calls the address.
    """

    host: str
    port: int
    token: str | None
    names: frozenset[str] = field(default_factory=frozenset)
    tls: ssl.SSLContext | None = None
    place: str = "--serve"

    @classmethod
    def checked(
        cls,
        host: str,
        port: int,
        *,
        token: str | None = None,
        allow_hosts: Iterable[str] = (),
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
        place_of: Callable[[str], str] = "--{}".format,
    ) -> Self:
        """Checks what was given, and makes a token where the page can be reached from elsewhere.

        `place_of` says what errors call an option: `--serve`, where it was given on the command line.

        Raises:
            OptionError: a name, the token or a certificate file is not right.
            ExtraMissing: the packages it needs are not installed.
        """
        missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            raise ExtraMissing(
                f"{place_of('serve')} needs more packages ({', '.join(missing)}); pip install 'partum[serve]'"
            )
        if token is not None and not token.isprintable():
            raise OptionError(f"{place_of('token')}: give letters and digits that can stand in an address")
        return cls(
            host=host,
            port=port,
            token=token or (None if is_loopback(host) else secrets.token_urlsafe(16)),
            names=frozenset({host.lower(), *(_checked_name(name, place_of("allow-host")) for name in allow_hosts)}),
            tls=load_certificate(tls_cert, tls_key, names=(place_of("tls-cert"), place_of("tls-key"))),
            place=place_of("serve"),
        )

    @property
    def place_and_names(self) -> tuple[str, int, frozenset[str], bool]:
        """What cannot be changed while it is served: address, names, and whether there is TLS."""
        return self.host, self.port, self.names, self.tls is not None

    @property
    def reachable_at(self) -> str:
        """The host to open in a browser: where it listens on every address, one of this machine."""
        host = _own_address(self.host) if self.host in ("0.0.0.0", "::") else self.host
        return f"[{host.replace('%', '%25')}]" if ":" in host else host

    def listen(self, *, beside: socket.socket | None = None) -> socket.socket:
        """A listening socket at the address.

        Args:
            beside: one of this process that listens already, and whose address may overlap with this one.

        Raises:
            OutputError: it cannot be listened on.
        """
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listening = socket.socket(family, kind, protocol)
            try:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if hasattr(
                    socket, "TCP_NOTSENT_LOWAT"
                ):  # else seconds of pictures wait in the kernel for a slow viewer
                    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
                with _may_overlap(listening, beside):
                    listening.bind(address)
                    listening.listen(64)
            except OSError:
                listening.close()
                raise
        except (OSError, UnicodeError) as error:
            host = f"[{self.host}]" if ":" in self.host else self.host
            reason = getattr(error, "strerror", None) or error
            raise OutputError(
                f"{self.place} {host}:{self.port}: cannot listen there ({reason}); choose another"
            ) from error
        return listening


@contextmanager
def _may_overlap(listening: socket.socket, beside: socket.socket | None) -> Iterator[None]:
    """For the block, one may listen where the other does, where the system can; no third one at any time but that."""
    sockets = [listening, beside] if beside is not None and hasattr(socket, "SO_REUSEPORT") else []
    try:
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield
    finally:
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)


def _own_address(wildcard: str) -> str:
    """The address that this machine reaches others from; nothing is sent to find it."""
    family, elsewhere, own = (
        (socket.AF_INET6, "2001:db8::1", "::1") if ":" in wildcard else (socket.AF_INET, "192.0.2.1", "127.0.0.1")
    )
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect((elsewhere, 9))
        except OSError:
            return own
        return str(asking.getsockname()[0])


def _checked_name(name: str, place: str) -> str:
    name = name.strip().strip("[]").rstrip(".").lower()
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        if not _NAME.fullmatch(name):
            raise OptionError(
                f"{place}: give a name or address without scheme and port, for example ward-pc.local"
            ) from None
        return name
