"""The certificate of a page that is served over TLS, checked before anything loads."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import TYPE_CHECKING

from stream.common.errors import OptionError

if TYPE_CHECKING:
    from pathlib import Path

_NOT_YET_VALID, _EXPIRED = 9, 10
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""
_MOST_FLIGHTS = 8
"""Of messages in one direction, before a handshake is over."""
MADE_BY = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365"
    " -keyout key.pem -out cert.pem -subj /CN=NAME -addext subjectAltName=DNS:NAME"
)
"""Makes a certificate of one's own, which a browser asks about once."""


def load_certificate(
    certificate: Path | None, key: Path | None, *, names: tuple[str, str] = ("--tls-cert", "--tls-key")
) -> ssl.SSLContext | None:
    """A TLS context of a certificate and its key; None where none is given.

    Args:
        certificate: a PEM file, which may hold the key too.
        key: a PEM file.
        names: what errors call the two.

    Raises:
        OptionError: a file cannot be read, is not what it should be, or the certificate is not valid today.
    """
    if certificate is None:
        if key is not None:
            raise OptionError(f"{names[1]}: give the certificate too, by {names[0]}; a new pair: {MADE_BY}")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for name, path in zip(names, (certificate, key), strict=True):
        try:
            if path is not None:
                path.open("rb").close()
        except OSError as error:
            raise OptionError(f"{name} {path}: cannot be read ({error.strerror}); a new pair: {MADE_BY}") from error
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except _Encrypted as error:
        raise OptionError(f"{names[1]} {key or certificate}: is encrypted; give a key without a password") from error
    except (ssl.SSLError, ValueError) as error:
        raise OptionError(
            f"{_wrong_file(certificate, key, error, names)}; give PEM files as a certificate authority makes them"
        ) from error
    if code := _handshake(context, certificate)[0]:
        why = "has expired" if code == _EXPIRED else "is not valid yet; is this machine's clock right?"
        raise OptionError(f"{names[0]} {certificate}: {why}; renew it, or make a new pair: {MADE_BY}")
    return context


def expiry_of(context: ssl.SSLContext, certificate: Path) -> dt.datetime | None:
    """When the certificate that a context was loaded with ends; None where its file is another by now."""
    return _handshake(context, certificate)[1]


class _Encrypted(Exception):
    """The key wants a password, which nobody is there to type."""


def _no_password() -> str:
    raise _Encrypted


def _wrong_file(certificate: Path, key: Path | None, error: Exception, names: tuple[str, str]) -> str:
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return f"{names[1]} {key or certificate}: is not the key of {certificate}"
    if b"-----BEGIN CERTIFICATE-----" not in certificate.read_bytes():
        return f"{names[0]} {certificate}: holds no certificate"
    if b"PRIVATE KEY-----" not in (key or certificate).read_bytes():
        if key is not None:
            return f"{names[1]} {key}: holds no key"
        return f"{names[0]} {certificate}: holds no key; give it by {names[1]}"
    return f"{names[0]} {certificate}: cannot be read ({getattr(error, 'reason', None) or error})"


def _handshake(context: ssl.SSLContext, certificate: Path) -> tuple[int, dt.datetime | None]:
    """A handshake in memory with a client that trusts this certificate alone: 9 or 10 where it is not valid today.

    The standard library reads a certificate only as the peer of a handshake that verified it.
    """
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        trusting.load_verify_locations(cafile=certificate)
        server = context.wrap_bio(to_server, to_client, server_side=True)
        client = trusting.wrap_bio(to_client, to_server)
        for _ in range(_MOST_FLIGHTS):
            if _has_shaken(client):
                break
            _has_shaken(server)
        until = (client.getpeercert() or {}).get("notAfter")
    except ssl.SSLCertVerificationError as error:
        return error.verify_code if error.verify_code in (_NOT_YET_VALID, _EXPIRED) else 0, None
    except (ssl.SSLError, ValueError):
        return 0, None  # what else a client may dislike, this machine cannot judge
    return 0, dt.datetime.fromtimestamp(ssl.cert_time_to_seconds(str(until)), dt.UTC) if until else None


def _has_shaken(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
