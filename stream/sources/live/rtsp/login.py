"""RTSP authentication: Basic and Digest (RFC 2617, RFC 7616)."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_PAIRS = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,"]*))')
_STRONGEST_FIRST = (("digest", "SHA-256"), ("digest", "MD5"), ("basic", ""))


class RtspLogin:
    """A user and password, and the server's challenge once it has made one.

    Args:
        user: "" where there is none.
        password: of the user.
    """

    def __init__(self, user: str, password: str) -> None:
        self._user, self._password = user, password
        self._challenge: dict[str, str] = {}
        self._scheme = ""
        self._uses: dict[str, int] = {}

    def take(self, challenges: Sequence[str]) -> bool:
        """Takes the strongest of the server's challenges; whether there is a user and one that can be answered.

        Args:
            challenges: contents of its `WWW-Authenticate` headers.
        """
        if not self._user:
            return False
        for scheme, algorithm in _STRONGEST_FIRST:
            for challenge in challenges:
                kind, _, rest = challenge.partition(" ")
                said = {key.lower(): quoted or plain for key, quoted, plain in _PAIRS.findall(rest)}
                if kind.lower() == scheme and algorithm in ("", said.get("algorithm", "MD5").upper()):
                    self._scheme, self._challenge = scheme, said
                    return True
        return False

    def answer(self, method: str, url: str) -> str:
        """The `Authorization` header of a request; "" where the server has not asked."""
        if not self._scheme:
            return ""
        if self._scheme == "basic":
            return f"Basic {base64.b64encode(f'{self._user}:{self._password}'.encode()).decode()}"
        return self._digest(method, url)

    def _digest(self, method: str, url: str) -> str:
        said = self._challenge
        algorithm, realm, nonce = said.get("algorithm", "MD5"), said.get("realm", ""), said.get("nonce", "")

        def digest(text: str) -> str:
            return hashlib.new("sha256" if algorithm.upper() == "SHA-256" else "md5", text.encode()).hexdigest()

        who, what = digest(f"{self._user}:{realm}:{self._password}"), digest(f"{method}:{url}")
        quoted = {"username": self._user, "realm": realm, "nonce": nonce, "uri": url}
        plain = {"algorithm": algorithm} if "algorithm" in said else {}
        if "auth" in said.get("qop", "").replace(" ", "").split(","):
            self._uses[nonce] = self._uses.get(nonce, 0) + 1
            count, ours = f"{self._uses[nonce]:08x}", secrets.token_hex(8)
            quoted |= {"cnonce": ours, "response": digest(f"{who}:{nonce}:{count}:{ours}:auth:{what}")}
            plain |= {"qop": "auth", "nc": count}
        else:
            quoted["response"] = digest(f"{who}:{nonce}:{what}")
        if "opaque" in said:
            quoted["opaque"] = said["opaque"]
        words = [f'{name}="{value}"' for name, value in quoted.items()]
        return "Digest " + ", ".join(words + [f"{name}={value}" for name, value in plain.items()])
