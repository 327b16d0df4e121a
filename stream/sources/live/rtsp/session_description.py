"""The address of an RTSP server and its session description (SDP)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin

from stream.common.errors import SourceUnreadable

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PORT = 554


@dataclass(frozen=True, slots=True)
class RtspAddress:
    """Where a server is, and who asks."""

    host: str
    port: int
    path: str
    user: str = ""
    password: str = ""

    @classmethod
    def parse(cls, uri: str) -> RtspAddress:
        """Reads `rtsp://user:password@host:port/path`; what stands before the last `@` is the user's.

        Raises:
            SourceUnreadable: there is no host, or no port.
        """
        rest = uri.partition("://")[2]
        said, _, rest = rest.rpartition("@")
        match = re.fullmatch(r"(\[[^\]]*\]|[^:/?#]*)(?::(\d{1,5}))?([/?].*)?", rest)
        if match is None or not match[1] or not 0 < int(match[2] or DEFAULT_PORT) < 65536:
            raise SourceUnreadable("the address has no host or no port that can be read; write rtsp://host:554/path")
        user, _, password = said.partition(":")
        host, port = match[1].strip("[]"), int(match[2] or DEFAULT_PORT)
        return cls(host, port, match[3] or "/", unquote(user), unquote(password))

    @property
    def url(self) -> str:
        """Without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"rtsp://{host}:{self.port}{self.path}"


@dataclass(frozen=True, slots=True)
class VideoDescription:
    """The video of a session, from its SDP.

    Attributes:
        codec: as SDP names it, in upper case: `H264`, `H265`, `JPEG` ...
        clock_hz: of its time stamps.
        control: URL to set it up by.
        parameters: of `a=fmtp`.
    """

    codec: str
    clock_hz: int
    control: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, sdp: str, base: str) -> VideoDescription:
        """The first video of a description.

        Raises:
            SourceUnreadable: there is none.
        """
        session, _, rest = ("\n" + sdp.replace("\r\n", "\n")).partition("\nm=video ")
        if not rest:
            raise SourceUnreadable("there is no video in it")
        lines = [line.strip() for line in rest.split("\nm=")[0].splitlines()]
        kind = (lines[0].split() or [""])[-1]
        codec, clock_hz, parameters = "JPEG" if kind == "26" else "", 90_000, dict[str, str]()
        control = ""
        for line in lines[1:]:
            name, _, value = line.partition(":")
            if name == "a=rtpmap" and value.startswith(f"{kind} "):
                codec, _, rate = value.partition(" ")[2].partition("/")
                clock_hz = int(rate.partition("/")[0]) if rate.partition("/")[0].isdigit() else clock_hz
            elif name == "a=fmtp" and value.startswith(f"{kind} "):
                pairs = (part.strip().partition("=") for part in value.partition(" ")[2].split(";"))
                parameters = {key.lower(): content for key, _, content in pairs if key}
            elif name == "a=control":
                control = value
        whole = re.search(r"^a=control:(\S+)", session, re.MULTILINE)
        above = base if whole is None or whole[1] == "*" else _joined(base, whole[1])
        return cls(codec.strip().upper(), max(clock_hz, 1), _joined(above, control), parameters)


def _joined(base: str, control: str) -> str:
    """A control URL: as it is where it is whole, else behind the base, as servers mean it."""
    if not control or control == "*":
        return base
    if "://" in control:
        return control
    if control.startswith("/"):
        return urljoin(base.replace("rtsp://", "http://", 1), control).replace("http://", "rtsp://", 1)
    return f"{base.rstrip('/')}/{control}"
