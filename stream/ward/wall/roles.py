"""Who may see a ward and who may mark: tokens by role, and the cookie that stands for one.

A cookie holds no token: it holds when it ends, and an HMAC of that under the token. So the server keeps no list of
sessions, a restart signs nobody out, and a token that is taken out of the configuration ends its sessions at once.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

COOKIE = "partum-ward"
COOKIE_S = 30 * 24 * 3600
"""A browser is signed in for so long after it last opened the page."""
MOST_WRONG = 10
WRONG_WINDOW_S = 60.0
"""So many wrong tokens from one address in so many seconds, and none is looked at until they have passed."""
_MOST_ADDRESSES = 4096


def now_s() -> float:
    """Seconds since 1970: a cookie outlives the process that made it."""
    return datetime.now(UTC).timestamp()


class Role(StrEnum):
    """What a token allows."""

    WATCH = "watch"
    """To see all feeds."""
    MARK = "mark"
    """To set marks too."""
    METRICS = "metrics"
    """To read `/metrics`, and nothing else."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks: a role, and the digest of the token that gave it; none where the page asks for none."""

    role: Role
    digest: bytes = b""

    @property
    def may_watch(self) -> bool:
        return self.role is not Role.METRICS

    @property
    def may_mark(self) -> bool:
        return self.role is Role.MARK


class Tokens:
    """The tokens of a ward.

    Args:
        roles: token and role of each; empty asks for none, and lets everybody mark.
        now_s: seconds since 1970, in which cookies end.
    """

    def __init__(self, roles: Iterable[tuple[str, Role]], now_s: Callable[[], float]) -> None:
        self._keys = {_digest(token): (role, token.encode()) for token, role in roles}
        self._now_s = now_s

    @property
    def is_open(self) -> bool:
        """Whether everybody may look and mark."""
        return not self._keys

    def of_token(self, given: str) -> Identity | None:
        """Whose token it is; in time that does not depend on how much of it is right."""
        digest = _digest(given)
        found = [key for key in self._keys if hmac.compare_digest(key, digest)]
        return Identity(self._keys[found[0]][0], found[0]) if found else None

    def of_cookie(self, cookie: str) -> Identity | None:
        """Whose cookie it is; None where it has ended, or is none of ours."""
        until, _, signature = cookie.partition(".")
        if not (until.isascii() and until.isdigit() and len(until) < 12 and signature.isascii()):
            return None
        found = [
            digest for digest, (_, key) in self._keys.items() if hmac.compare_digest(_signed(key, until), signature)
        ]
        return Identity(self._keys[found[0]][0], found[0]) if found and int(until) > self._now_s() else None

    def cookie(self, identity: Identity) -> str:
        """A cookie for somebody who brought a token."""
        until = str(int(self._now_s()) + COOKIE_S)
        return f"{until}.{_signed(self._keys[identity.digest][1], until)}"

    def holds(self, identity: Identity) -> bool:
        """Whether the token that somebody came with still gives that role."""
        if self.is_open:
            return not identity.digest
        return identity.digest in self._keys and self._keys[identity.digest][0] is identity.role


class WrongTokens:
    """Counts wrong tokens by the address they come from.

    Args:
        now_s: seconds, of a clock that never goes back.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._times: OrderedDict[str, list[float]] = OrderedDict()
        self.count = 0
        """How many there were ever."""

    def wait_s(self, address: str) -> float:
        """Seconds until a token from there is looked at again; 0 where one is now."""
        times = self._recent(_network(address))
        return max(0.0, times[-MOST_WRONG] + WRONG_WINDOW_S - self._now_s()) if len(times) >= MOST_WRONG else 0.0

    def add(self, address: str) -> None:
        """A wrong token came from there."""
        self.count += 1
        network = _network(address)
        self._times[network] = [*self._recent(network), self._now_s()]
        self._times.move_to_end(network)
        if len(self._times) > _MOST_ADDRESSES:
            self._times.popitem(last=False)

    def _recent(self, network: str) -> list[float]:
        since = self._now_s() - WRONG_WINDOW_S
        return [time_s for time_s in self._times.get(network, ()) if time_s > since][-MOST_WRONG:]


def _network(address: str) -> str:
    """The address, or, of IPv6, the network of its first 64 bits: within that a client may choose."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _signed(key: bytes, until: str) -> str:
    return hmac.new(key, f"{COOKIE}.{until}".encode(), hashlib.sha256).hexdigest()
