"""Asks whoever comes for a token: once in the address, in a form, or in the header of each request.

A token in an address or a form is answered by a cookie, and the address is shown again without it.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from stream.outputs.web.access import security_headers
from stream.ward.wall.roles import COOKIE, COOKIE_S, Identity, Role

if TYPE_CHECKING:
    from stream.outputs.web.access import App, Receive, Scope, Send
    from stream.ward.wall.roles import Tokens, WrongTokens

SIGN_IN = "/sign-in"
METRICS = "/metrics"
WITHOUT_TOKEN = ("/healthz", "/readyz", "/static/")
"""Paths that say nothing of a feed: probes, and the page's own files."""
IDENTITY = "partum.identity"
"""Where a request's scope holds who asks."""
_LARGEST_FORM = 4096
_PAGE = (Path(__file__).parent / "page" / "sign-in.html").read_text(encoding="utf-8")

NO_TOKEN = (
    "This ward needs a token: type it here, open the page once with ?token=... in its address,"
    " or send the header Authorization: Bearer ..."
)
SIGNED_OUT = "You are signed out: the token was changed, or was not used for a month. Sign in again."
WRONG_TOKEN = "That token is not one of this ward."
METRICS_ONLY = "This token may read /metrics, and nothing else."
TOO_MANY = "Too many wrong tokens came from your address. Try again in {} s."


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered."""

    status: int
    words: str
    wait_s: float = 0.0


class SignIn:
    """An ASGI application around another, which learns who asks: `identity_of(scope)`.

    Args:
        app: what is served.
        tokens: of the ward; set anew where the configuration was read again.
        wrong: counts wrong ones.
        is_secure: whether the page is served over TLS.
        without_token: paths that are answered to everybody, one that ends in / with all below it; set anew likewise.
    """

    def __init__(
        self,
        app: App,
        *,
        tokens: Tokens,
        wrong: WrongTokens,
        is_secure: bool,
        without_token: tuple[str, ...] = WITHOUT_TOKEN,
    ) -> None:
        self.tokens, self.without_token = tokens, without_token
        self._app, self._wrong, self._is_secure = app, wrong, is_secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if any(_is_below(scope["path"], path) for path in self.without_token):
            await self._app(scope, receive, send)
            return
        if self.tokens.is_open:
            await self._pass(scope, receive, send, Identity(Role.MARK))
            return
        if scope["type"] == "http" and scope["path"] == SIGN_IN:
            answer = await self._signed_in(scope, receive)
            await answer(scope, receive, send)
            return
        found, is_in_address = self._identified(scope)
        if isinstance(found, Refusal):
            await _refuse(found, scope, receive, send)
        elif is_in_address and scope["type"] == "http" and scope["method"] == "GET" and found.may_watch:
            await self._greeted(found, _address_without_token(scope))(scope, receive, send)
        else:
            await self._pass(scope, receive, send, found)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, identity: Identity) -> None:
        if not identity.may_watch and scope["path"] != METRICS:
            await _refuse(Refusal(403, METRICS_ONLY), scope, receive, send)
            return
        scope[IDENTITY] = identity
        await self._app(scope, receive, send)

    def _identified(self, scope: Scope) -> tuple[Identity | Refusal, bool]:
        """Who asks, or why nobody may; and whether the token stood in the address."""
        header, address = _bearer(scope), _token_in_address(scope)
        given = address if header is None else header
        if given is not None:
            return self._of_token(given, scope), header is None
        cookie = _cookie(scope)
        found = self.tokens.of_cookie(cookie) if cookie else None
        return found or Refusal(401, SIGNED_OUT if cookie else NO_TOKEN), False

    def _of_token(self, given: str, scope: Scope) -> Identity | Refusal:
        client = (scope.get("client") or ("",))[0]
        if wait_s := self._wrong.wait_s(client):
            return Refusal(429, TOO_MANY.format(math.ceil(wait_s)), wait_s)
        found = self.tokens.of_token(given)
        if found is None:
            self._wrong.add(client)
        return found or Refusal(401, WRONG_TOKEN)

    async def _signed_in(self, scope: Scope, receive: Receive) -> Any:
        """The answer to the form."""
        if scope["method"] != "POST":
            return _page_saying(Refusal(200, NO_TOKEN), scope)
        found = self._of_token(await _token_in_form(receive), scope)
        if isinstance(found, Refusal):
            return _page_saying(found, scope)
        return self._greeted(found, "/") if found.may_watch else _page_saying(Refusal(403, METRICS_ONLY), scope)

    def _greeted(self, identity: Identity, address: str) -> Any:
        """Sends a browser to an address, with a cookie."""
        from starlette.responses import RedirectResponse

        answer = RedirectResponse(address, 303)
        self.renew(identity, answer)
        return answer

    def renew(self, identity: Identity, answer: Any) -> None:
        """Gives an answer a cookie that ends later than the one before."""
        if identity.digest:
            answer.set_cookie(
                *(COOKIE, self.tokens.cookie(identity), COOKIE_S), secure=self._is_secure, httponly=True, samesite="lax"
            )


def _is_below(path: str, place: str) -> bool:
    return path == place or (place.endswith("/") and path.startswith(place))


def identity_of(scope: Scope) -> Identity:
    """Who asks; a request that came past `SignIn` has one."""
    identity: Identity = scope[IDENTITY]
    return identity


async def _refuse(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    from starlette.responses import PlainTextResponse

    wants_page = any(b"text/html" in value for name, value in scope["headers"] if name.lower() == b"accept")
    if scope["type"] == "http" and scope["method"] == "GET" and wants_page:
        await _page_saying(refusal, scope)(scope, receive, send)
        return
    await PlainTextResponse(refusal.words + "\n", refusal.status, _headers(refusal))(scope, receive, send)


def _page_saying(refusal: Refusal, scope: Scope) -> Any:
    """The page with the form, and why it is shown. It alone may send a form, and say where it was sent from."""
    from starlette.responses import HTMLResponse

    host = next((value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"), "")
    policy = dict(security_headers(host))[b"content-security-policy"].decode()
    own = {
        "content-security-policy": policy.replace("form-action 'none'", "form-action 'self'"),
        "referrer-policy": "same-origin",
    }
    page = _PAGE.replace("{sentence}", html.escape(refusal.words))
    return HTMLResponse(page, refusal.status, _headers(refusal) | own)


def _headers(refusal: Refusal) -> dict[str, str]:
    headers = {"www-authenticate": 'Bearer realm="partum ward"'} if refusal.status == 401 else {}
    return headers | ({"retry-after": str(math.ceil(refusal.wait_s))} if refusal.wait_s else {})


def _bearer(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        scheme, _, token = value.decode("latin-1").partition(" ")
        if name.lower() == b"authorization" and scheme.lower() == "bearer":
            return str(token.strip())
    return None


def _query(scope: Scope) -> list[tuple[str, str]]:
    try:
        return parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True, max_num_fields=32)
    except ValueError:
        return []


def _token_in_address(scope: Scope) -> str | None:
    return next((value for name, value in _query(scope) if name == "token"), None)


def _address_without_token(scope: Scope) -> str:
    """Of the same page; it begins with one stroke, so that it cannot name another server."""
    rest = urlencode([pair for pair in _query(scope) if pair[0] != "token"])
    path = str(scope["path"]).lstrip("/\\")
    return f"/{path}?{rest}" if rest else f"/{path}"


def _cookie(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name.lower() == b"cookie":
            try:
                found = SimpleCookie(value.decode("latin-1")).get(COOKIE)
            except CookieError:
                continue
            if found is not None:
                return str(found.value)
    return ""


async def _token_in_form(receive: Receive) -> str:
    """The field `token`; of a form that is too long, nothing."""
    body, is_whole = b"", False
    while not is_whole:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request" or len(body) > _LARGEST_FORM:
            return ""
        is_whole = not message.get("more_body")
    try:
        return dict(parse_qsl(body.decode("latin-1"), max_num_fields=8)).get("token", "").strip()
    except ValueError:
        return ""
