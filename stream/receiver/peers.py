"""DICOM peers: their AE title, and where they are."""

from __future__ import annotations

import ipaddress
import re
import socket
from contextlib import suppress
from dataclasses import dataclass

from stream.common.errors import OptionError

_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
_PEER = re.compile(r"(?P<title>.+)@(?P<host>\[[0-9A-Fa-f:.]+\]|[^@:\[\]\s]+)(?::(?P<port>\d{1,5}))?")
_BARE = re.compile(r"(?P<title>.+)@(?P<host>[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)")
"""An IPv6 address without brackets, which nothing can follow."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A DICOM node.

    Attributes:
        title: its application entity title.
        host: its name or address.
        port: where it listens; None where it only calls.
    """

    title: str
    host: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str, *, option: str, has_port: bool) -> Peer:
        """Reads `AET@host`, or `AET@host:port`.

        Raises:
            OptionError: it is no such peer.
        """
        form = "AET@host:port" if has_port else "AET@host"
        match = (None if has_port else _BARE.fullmatch(text)) or _PEER.fullmatch(text)
        found = match.groupdict() if match else {}
        if match is None or (found.get("port") is None) is has_port:
            raise OptionError(f"{option}: give a peer as {form}, for example {form.replace('AET', 'SCANNER1')}")
        port = int(found["port"]) if has_port else None
        if port is not None and not 0 < port < 65536:
            raise OptionError(f"{option}: {port} is no port; give one from 1 to 65535")
        host = found["host"].strip("[]")
        if ":" in host and plain_address(host) is None:
            raise OptionError(f"{option}: {host} is no address; give one like fd00::7, or a name")
        return cls(check_title(found["title"], option=option), host, port)

    @property
    def may_be_anywhere(self) -> bool:
        """Whether it is known by a name, whose addresses may change."""
        return plain_address(self.host) is None

    def addresses(self) -> frozenset[str]:
        """The addresses of its host, as they are now, which may take a while; empty where the name is not known."""
        address = plain_address(self.host)
        if address is not None:
            return frozenset({address})
        with suppress(OSError, UnicodeError):
            found = (plain_address(str(each[4][0])) for each in socket.getaddrinfo(self.host, None))
            return frozenset(each for each in found if each)
        return frozenset()


def plain_address(text: str) -> str | None:
    """An address in its one form; None for what is none.

    Worked values: `::ffff:10.0.0.7`, as which a socket of IPv6 sees an IPv4 peer, is `10.0.0.7`; `fe80::1%eth0` is
    `fe80::1`.
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def check_title(title: str, *, option: str) -> str:
    """An application entity title.

    Raises:
        OptionError: it is none.
    """
    if not _TITLE.fullmatch(title):
        raise OptionError(f"{option}: {title!r} is no AE title; give 1 to 16 letters, without backslash")
    return title
