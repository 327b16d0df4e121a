"""OpenIGTLink messages, packed and parsed: versions 1 to 3.

Source: the protocol's published specification (openigtlink.org). All numbers are big-endian. A message is a header of
58 bytes and a body; from header version 2 on the body begins with an extended header and ends with metadata, which are
stepped over here. A checksum of 0 is sent and none is checked: over one made for files it costs more than the network.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from stream.common.errors import SourceUnreadable
from stream.frames.frame import PLAUSIBLE_ASPECT, PixelSpacing

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

HEADER = struct.Struct(">H12s20sQQQ")
"""Version, type, device, time stamp (seconds in 32.32 fixed point), size of the body, checksum."""
EXTENDED = struct.Struct(">HHII")
"""Size of this header, of the metadata's index, of the metadata, and the message's number."""
IMAGE = struct.Struct(">HBBBB3H12f3H3H")
"""Version, components, scalar type, endian, coordinates, size; matrix by columns; offset and size of what is sent."""
TRANSFORM = struct.Struct(">12f")
STATUS = struct.Struct(">Hq20s")
"""Code, subcode, name of the condition; a text ended by a zero follows."""
STATUS_OK, STATUS_NOT_READY, STATUS_NOT_PRESENT = 1, 13, 18
MOST_BYTES = 1 << 28
"""A body larger than this is no picture but a broken stream."""

_SCALARS = {2: "i1", 3: "u1", 4: "i2", 5: "u2"}
_SCALAR_BYTES = {2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 4, 10: 4, 11: 8}
_ORDERS: dict[int, Literal["<", ">"]] = {1: ">", 2: "<"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageHeader:
    """What stands before a message's body. `timestamp_ns` is the sender's wall clock."""

    version: int
    kind: str
    device: str
    timestamp_ns: int
    body_bytes: int

    @classmethod
    def parse(cls, data: bytes | memoryview) -> MessageHeader:
        """Reads 58 bytes.

        Raises:
            SourceUnreadable: they are no header of OpenIGTLink.
        """
        version, kind, device, stamp, size, _ = HEADER.unpack(data)
        # A name ends at its first zero, whatever stands behind it. Some senders write names in UTF-8.
        words = [text.partition(b"\0")[0].rstrip(b" ").decode("utf-8", "replace") for text in (kind, device)]
        word, name = words
        if version not in (1, 2, 3) or size > MOST_BYTES or not (word.isascii() and word.replace("_", "").isalnum()):
            raise SourceUnreadable(f"not OpenIGTLink: version {version}, type {word!r}, {size} bytes")
        return cls(
            version=version,
            kind=word,
            device=name,
            timestamp_ns=(stamp >> 32) * 1_000_000_000 + ((stamp & 0xFFFFFFFF) * 1_000_000_000 >> 32),
            body_bytes=size,
        )


@dataclass(frozen=True, slots=True, eq=False)
class ImageMessage:
    """A grey picture.

    Attributes:
        image: (H, W) uint8.
        spacing: None where the sender left it at 1 mm, which no scanner has, or where it is not plausible.
        aspect: width of a pixel over its height, as far as the message says it.
        doubt: why the spacing is not taken, for people; empty where it is, or where there is none.
    """

    image: NDArray[np.uint8]
    spacing: PixelSpacing | None
    aspect: float | None = None
    doubt: str = ""


def pack(kind: str, device: str, content: bytes, *, timestamp_ns: int) -> bytes:
    """A whole message of header version 1."""
    seconds, rest = divmod(timestamp_ns, 1_000_000_000)
    stamp = seconds << 32 | (rest << 32) // 1_000_000_000
    return HEADER.pack(1, kind.encode(), device.encode(), stamp, len(content), 0) + content


def pack_image(image: NDArray[np.uint8], device: str, *, spacing: PixelSpacing | None, timestamp_ns: int) -> bytes:
    """An IMAGE message of one grey slice."""
    height, width = image.shape
    x_mm, y_mm = (spacing.x_mm, spacing.y_mm) if spacing else (1.0, 1.0)
    matrix = (x_mm, 0, 0, 0, y_mm, 0, 0, 0, 1, 0, 0, 0)
    size = (width, height, 1)
    head = IMAGE.pack(1, 1, 3, 2, 1, *size, *matrix, 0, 0, 0, *size)
    return pack("IMAGE", device, head + np.ascontiguousarray(image).tobytes(), timestamp_ns=timestamp_ns)


def pack_string(text: str, device: str, *, timestamp_ns: int) -> bytes:
    """A STRING message: encoding (3, US-ASCII), length, text."""
    data = text.encode("ascii")
    return pack("STRING", device, struct.pack(">HH", 3, len(data)) + data, timestamp_ns=timestamp_ns)


def pack_transform(matrix: Sequence[Sequence[float]], device: str, *, timestamp_ns: int) -> bytes:
    """A TRANSFORM message: the upper 3 x 4 of a homogeneous matrix in millimetres, column by column."""
    columns = [float(matrix[row][column]) for column in range(4) for row in range(3)]
    return pack("TRANSFORM", device, TRANSFORM.pack(*columns), timestamp_ns=timestamp_ns)


def pack_status(code: int, name: str, text: str, device: str, *, timestamp_ns: int) -> bytes:
    """A STATUS message.

    Args:
        code: 1 is OK; the others are those of the protocol, 13 `device not ready`, 18 `not present` among them.
        name: of the condition, up to 20 bytes.
        text: for people.
        device: that says so.
        timestamp_ns: the wall clock.
    """
    content = STATUS.pack(code, 0, name.encode("ascii", "replace")[:20]) + text.encode("ascii", "replace") + b"\0"
    return pack("STATUS", device, content, timestamp_ns=timestamp_ns)


def parse_transform(header: MessageHeader, body: memoryview) -> list[list[float]]:
    """The 4 x 4 matrix of a TRANSFORM message.

    Raises:
        SourceUnreadable: it is cut short.
    """
    content = message_content(header, body)
    if len(content) < TRANSFORM.size:
        raise SourceUnreadable(f"TRANSFORM of {header.device}: cut short")
    columns = TRANSFORM.unpack_from(content)
    return [*([columns[3 * column + row] for column in range(4)] for row in range(3)), [0.0, 0.0, 0.0, 1.0]]


def parse_status(header: MessageHeader, body: memoryview) -> tuple[int, str, str]:
    """Code, name and text of a STATUS message.

    Raises:
        SourceUnreadable: it is cut short.
    """
    content = message_content(header, body)
    if len(content) < STATUS.size:
        raise SourceUnreadable(f"STATUS of {header.device}: cut short")
    code, _, name = STATUS.unpack_from(content)
    words = (name, bytes(content[STATUS.size :]))
    return (code, *(word.partition(b"\0")[0].decode("ascii", "replace") for word in words))


def message_content(header: MessageHeader, body: memoryview) -> memoryview:
    """The body without extended header and metadata.

    Raises:
        SourceUnreadable: their sizes do not fit the body.
    """
    if header.version < 2:
        return body
    if len(body) < EXTENDED.size:
        raise SourceUnreadable(f"{header.kind} of {header.device}: its body is cut short")
    start, index_bytes, metadata_bytes, _ = EXTENDED.unpack_from(body)
    end = len(body) - index_bytes - metadata_bytes
    if not EXTENDED.size <= start <= end:
        raise SourceUnreadable(f"{header.kind} of {header.device}: its metadata does not fit its body")
    return body[start:end]


def parse_image(header: MessageHeader, body: memoryview) -> ImageMessage:
    """Reads an IMAGE message; the picture is a view of `body` where it is grey and of 8 bits.

    Convention: rows of the picture are the second axis, columns the first; the spacing is the length of the matrix'
    first two columns. 16-bit values are scaled so that the greatest becomes 255; three components are red, green, blue.

    Raises:
        SourceUnreadable: it is no picture of one slice, of a type that is not known, or cut short.
    """
    content = message_content(header, body)
    where = f"IMAGE of {header.device or 'an unnamed device'}"
    if len(content) < IMAGE.size:
        raise SourceUnreadable(f"{where}: cut short in its header")
    _, components, scalar, endian, _, width, height, depth, *rest = IMAGE.unpack_from(content)
    matrix, sent = rest[:12], rest[15:]
    if depth != 1 or tuple(sent) != (width, height, depth) or components not in (1, 3) or scalar not in _SCALARS:
        raise SourceUnreadable(
            f"{where}: {width}x{height}x{depth}, {components} components of type {scalar}; one whole slice of 8- or"
            " 16-bit grey or colour is needed"
        )
    kind = np.dtype(_SCALARS[scalar])
    if kind.itemsize > 1 and endian not in _ORDERS:
        raise SourceUnreadable(f"{where}: its byte order is {endian}; 1 (big) or 2 (little) is known")
    count = width * height * components
    if len(content) - IMAGE.size < count * kind.itemsize or not count:
        raise SourceUnreadable(f"{where}: cut short, {len(content) - IMAGE.size} bytes of {count * kind.itemsize}")
    ordered = kind.newbyteorder(_ORDERS.get(endian, "="))
    pixels = np.frombuffer(content, ordered, count, IMAGE.size).reshape(height, width, components)
    if kind.kind == "i" and int(pixels.min()) < 0:
        raise SourceUnreadable(f"{where}: negative values, which grey levels do not have; is it a raw signal?")
    spacing, aspect, doubt = _spacing(matrix)
    return ImageMessage(_as_grey(pixels), spacing, aspect, f"{where}: {doubt}" if doubt else "")


def picture_bytes(head: bytes | bytearray | memoryview) -> int:
    """How many bytes of pixels follow an IMAGE message's own header (72 bytes); all that it says is taken at its word.

    Those of a type that is not known count 8 bytes, the most there is.
    """
    _, components, scalar, _, _, *rest = IMAGE.unpack(head)
    width, height, depth = rest[15 + 3 : 15 + 6]
    return int(width * height * depth * components * _SCALAR_BYTES.get(scalar, 8))


def _as_grey(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        grey: NDArray[np.uint8] = pixels.view(np.uint8)
    else:
        values = pixels.astype(np.float32)
        greatest = float(values.max())
        grey = np.clip(values * (255 / greatest if greatest > 0 else 0), 0, 255).astype(np.uint8)
    if grey.shape[2] == 1:
        return grey[:, :, 0]
    return cv2.cvtColor(np.ascontiguousarray(grey), cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


def _spacing(matrix: list[float]) -> tuple[PixelSpacing | None, float | None, str]:
    """The spacing, the shape of the pixels, and why the spacing is not taken."""
    x_mm, y_mm = math.hypot(*matrix[0:3]), math.hypot(*matrix[3:6])
    if x_mm == y_mm and x_mm in (0.0, 1.0):  # left as it was
        return None, None, ""
    try:
        return PixelSpacing.checked(x_mm, y_mm), x_mm / y_mm, ""
    except ValueError as error:
        is_finite = math.isfinite(x_mm) and math.isfinite(y_mm) and y_mm > 0
        aspect = x_mm / y_mm if is_finite else 0.0
        return None, aspect if PLAUSIBLE_ASPECT[0] <= aspect <= PLAUSIBLE_ASPECT[1] else None, str(error)


def receive(connection: socket.socket) -> tuple[MessageHeader, memoryview] | None:
    """The next message of a peer that is trusted, its body in memory of its own; None where it closed between two.

    What comes from outside goes through `stream.sources.live.igtl.messages`, which bounds it in size and time.

    Raises:
        SourceUnreadable: it closed within one, or sends something else.
        OSError: the connection broke, or nothing came in time.
    """
    head = memoryview(bytearray(HEADER.size))
    if not fill(connection, head, may_end=True):
        return None
    header = MessageHeader.parse(head)
    body = memoryview(bytearray(header.body_bytes))
    fill(connection, body)
    return header, body


def fill(
    connection: socket.socket,
    target: memoryview,
    *,
    may_end: bool = False,
    before_each: Callable[[], None] = lambda: None,
) -> bool:
    """Receives as many bytes as `target` holds; False where the peer closed before the first and may.

    Args:
        connection: a connected socket.
        target: is filled.
        may_end: the peer may close here.
        before_each: called before each wait; may raise to give up.

    Raises:
        SourceUnreadable: the peer closed.
        OSError: the connection broke, or nothing came in time.
    """
    done = 0
    while done < len(target):
        before_each()
        got = connection.recv_into(target[done:])
        if not got:
            if may_end and not done:
                return False
            raise SourceUnreadable(f"the connection ended within a message, {len(target) - done} bytes short")
        done += got
    return True
