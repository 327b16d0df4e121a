"""Hides user names, passwords and tokens in addresses that are shown, logged or written.

Only what is known to be harmless is kept: a known scheme, host and port, words such as `live` or `h264` in a path, the
number of a device, the size of a screen. Everything else becomes `***`, because there is no place in an address where
no camera takes a password: before the host, in the path (`/user=admin_password=...`), in the query, behind `#`.

    >>> redact("rtsp://nurse:secret@10.0.0.7:554/live/ch1?key=secret")
    'rtsp://***@10.0.0.7:554/live/ch1?***'
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import unquote

HIDDEN = "***"
_SCHEME = re.compile(
    "abfss?|ftps?|gs|hdfs|hls|https?|igtl|mms|ndi|phantom|ray|rist|rtmp(?:e|s|t)?|rtp|rtsp(?:s|t|u)?|s3|screen|sdp|srt|tcp|triton|udp|udplite"
    "|v4l2|webrtc|whep|wss?",
    re.IGNORECASE,
)
"""Schemes that are known; another may be a mistyped one, or a password."""
_PATH_WORD = re.compile(
    "(?:amp|api|aspx?|av|avc|axis|cam|cameras?|cgi|ch|channels?|codec|default|dev|encoder|feeds?|flv|h|hevc|high|hls|images?"
    "|imager|img|in|index|input|jpe?g|lite|live|low|main|media|mjpe?g|mkv|mov|mp4|mpeg|mpegts|m3u8|nph|octet|out|output"
    "|picture|play|preview|primary|probe|profile|psfh|pub|realmonitor|reconstruction|screen|sdp|secondary|signal"
    "|snapshot|source|stream|streaming|streams|sub|test|track|trackid|ts|tv|ultrasound|unet|unicast|us|v|videos?|view"
    r"|webcam)?\d{0,3}",
    re.IGNORECASE,
)
"""Words of paths that say what a feed is and nothing else, such as `live`, `h264`, `ch1` or `101`."""

_ADDRESS = re.compile(r"(?P<scheme>[a-zA-Z0-9+.\-]+):(?P<slashes>/*)(?P<rest>.*)", re.DOTALL)
_BEGINNING = re.compile(
    rf"\s*(?:[a-zA-Z][a-zA-Z0-9+.\-]+:|//[^/]*@|[^/]*:.*@|(?:{_SCHEME.pattern})[^a-zA-Z/]?/+[^/]*:[^/]*@)",
    re.DOTALL | re.IGNORECASE,
)
"""What is meant for an address and not for a path: a scheme (of more letters than a drive has), or credentials, also
behind a scheme without its colon."""
_TAIL = re.compile(
    r"(?P<host>\[[^\]]*\]|[^:/?#]*)(?::(?P<port>[^/?#]*))?(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?(?P<fragment>#.*)?",
    re.DOTALL,
)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.\-_]*[A-Za-z0-9])?")
_DEVICE = re.compile(r"(/dev/(?:video\d{1,3}|v4l/by-(?:id|path)/))?(.*)", re.DOTALL)
_DEVICE_OPTIONS = re.compile(
    r"(?:[?&](?:size=\d{1,5}x\d{1,5}|rate=\d{1,3}(?:\.\d{1,3})?|format=(?:mjpeg|yuyv422|uyvy422|nv12|gray)))*"
)
_STORE = re.compile("abfss?|gs|s3")
_OBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-_]{0,62}(?:/[^?#@:]*)?")
"""Bucket and object: credentials stand before an `@`, or in a query."""
_GPU = re.compile(r"cuda:\d{1,3}")
_SCREEN = re.compile(r"(:\d{1,3}(\.\d{1,2})?)?/?((?<!\d)\d{1,5}x\d{1,5}\+\d{1,5}\+\d{1,5})?")
_PHANTOM = re.compile(
    r"(?:[?&](?:(?:seed|duration|rate|size|aop)=[\d./]{1,20}|(?:pushes|offplane|mirrored|speckle)="
    r"(?:on|off|true|false|yes|no|[01])))*"
)


def redact(address: str) -> str:
    """The address as it may be shown; a text that is no address is hidden whole.

    Convention: what stands before the last `@` is a credential, wherever that is, so that passwords with `/ # ? @` are
    hidden too. Where such a character makes it doubtful what is the host, only an IP address is shown for it.
    """
    if _GPU.fullmatch(address):
        return address
    match = _ADDRESS.fullmatch(address)
    if match is None or not _SCHEME.fullmatch(match["scheme"]):
        return f"{HIDDEN}://{_network(match['rest'])}" if match and match["slashes"] == "//" else HIDDEN
    scheme, slashes, rest = match["scheme"].lower(), match["slashes"], match["rest"]
    if scheme == "v4l2":
        device = _DEVICE.fullmatch(slashes + rest)
        assert device is not None  # it takes any text
        path, options = device.groups("")
        return f"v4l2:{path}{options if _DEVICE_OPTIONS.fullmatch(options) else HIDDEN}"
    if scheme == "screen":
        return f"screen:{slashes + rest if _SCREEN.fullmatch(slashes + rest) else HIDDEN}"
    if scheme == "phantom":
        return f"phantom:{rest if not slashes and _PHANTOM.fullmatch(rest) else HIDDEN}"
    is_object = _STORE.fullmatch(scheme) and _OBJECT.fullmatch(rest)
    return f"{scheme}:{f'//{rest if is_object else _network(rest)}' if slashes == '//' else HIDDEN}"


def looks_like_address(text: str) -> bool:
    """Whether it is meant for an address and not for a path of this machine."""
    return "://" in text or _BEGINNING.match(text) is not None


def redact_text(text: str, *addresses: str) -> str:
    """A text of others, such as a library's error, with these addresses, and pieces of them, as they may be shown."""
    for address in sorted(filter(looks_like_address, addresses), key=len, reverse=True):
        shown = redact(address)
        text = text.replace(address, shown)
        for piece in sorted(_pieces(address), key=len, reverse=True):
            if piece not in shown:
                text = text.replace(piece, HIDDEN)
    return text


def _pieces(address: str) -> set[str]:
    """What a parser may hand on of an address; pieces of one or two letters tell nothing."""
    rest = address.partition(":")[2].lstrip("/")
    parts = {rest, *re.split(r"[/?#@&;,\[\]]", rest), *re.split(r"[:/?#@&;,\[\]]", rest)}
    parts |= {part.partition("=")[2] for part in parts}
    parts |= {unquote(part) for part in parts}
    return {part for part in parts if len(part) > 2 and not _PATH_WORD.fullmatch(part)}


def _network(rest: str) -> str:
    before, at, tail = rest.rpartition("@")
    match = _TAIL.fullmatch(tail)
    assert match is not None  # it takes any text
    host = _host(match["host"], only_ip=bool(re.search("[/?#]", before)))
    port = "" if match["port"] is None else f":{match['port'] if _is_port(match['port']) else HIDDEN}"
    path = "".join(f"/{_path_part(part)}" for part in (match["path"] or "").split("/")[1:])
    hidden = "".join(f"{sign}{HIDDEN}" for sign, part in (("?", match["query"]), ("#", match["fragment"])) if part)
    return f"{HIDDEN if before else ''}{at}{host}{port}{path}{hidden}"


def _host(host: str, *, only_ip: bool) -> str:
    try:
        ip = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return host if not host or (not only_ip and _HOST.fullmatch(host)) else HIDDEN
    return f"[{ip}]" if ip.version == 6 else str(ip)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) < 65536


def _path_part(part: str) -> str:
    return part if all(map(_PATH_WORD.fullmatch, re.split(r"[-_.]", part))) else HIDDEN
