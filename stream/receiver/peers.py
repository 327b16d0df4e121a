"""DICOM peers: their AE title, and where they are."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from dataclasses import dataclass

from stream.common.errors import OptionError

_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
_PEER = re.compile(r"(?P<title>.+)@(?P<host>\[[0-9A-Fa-f:.]+\]|[^@:\[\]\s]+)(?::(?P<port>\d{1,5}))?")


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
        match = _PEER.fullmatch(text)
        if match is None or (match["port"] is None) is has_port:
            raise OptionError(f"{option}: give a peer as {form}, for example {form.replace('AET', 'SCANNER1')}")
        port = int(match["port"]) if match["port"] else None
        if port is not None and not 0 < port < 65536:
            raise OptionError(f"{option}: {port} is no port; give one from 1 to 65535")
        return cls(check_title(match["title"], option=option), match["host"].strip("[]"), port)

    def addresses(self) -> frozenset[str]:
        """The addresses of its host, as they are now; empty where the name is not known."""
        with suppress(OSError):
            return frozenset(str(found[4][0]) for found in socket.getaddrinfo(self.host, None))
        return frozenset()


def check_title(title: str, *, option: str) -> str:
    """An application entity title.

    Raises:
        OptionError: it is none.
    """
    if not _TITLE.fullmatch(title):
        raise OptionError(f"{option}: {title!r} is no AE title; give 1 to 16 letters, without backslash")
    return title
