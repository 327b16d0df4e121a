"""Mutations of input bytes: flips, losses, duplicates, splices, cuts."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

MAX_BYTES = 1 << 20
"""Mutation never makes an input longer than this."""

_HEADER_BYTES = 256
"""Half of all changes fall here: headers break more than pixels do."""

_INTEGERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 63, -1)
_NUMBERS = ("0", "-1", "1", "nan", "inf", "-inf", "1e309", "1e-320", "0.5", "65536", "2147483648", "9" * 25, "", "x")
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")


def mutate(seeds: Sequence[bytes], random: Random) -> bytes:
    """One of the seeds with one to eight changes; the same for the same state of `random`."""
    data = random.choice(seeds)
    for _ in range(random.choice((1, 1, 1, 2, 2, 4, 8))):
        data = random.choice(_CHANGES)(data, seeds, random)[:MAX_BYTES]
    return data


def _place(data: bytes, random: Random) -> int:
    end = min(len(data), _HEADER_BYTES) if random.random() < 0.5 else len(data)
    return random.randrange(end) if end else 0


def _piece(data: bytes, random: Random) -> tuple[int, int]:
    at = _place(data, random)
    return at, min(len(data), at + random.choice((1, 2, 4, 16, 64, 512, 4096)))


def _flip_bit(data: bytes, _: Sequence[bytes], random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + bytes(byte ^ (1 << random.randrange(8)) for byte in data[at : at + 1]) + data[at + 1 :]


def _set_integer(data: bytes, _: Sequence[bytes], random: Random) -> bytes:
    code = random.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(code)
    value = random.choice(_INTEGERS) & ((1 << 8 * size) - 1)
    at = _place(data, random)
    return data[:at] + struct.pack(code, value) + data[at + size :]


def _set_number(data: bytes, _: Sequence[bytes], random: Random) -> bytes:
    """Another number in a header of text."""
    found = list(_NUMBER.finditer(data[:4096]))
    if not found:
        return data
    number = random.choice(found)
    return data[: number.start()] + random.choice(_NUMBERS).encode() + data[number.end() :]


def _noise(data: bytes, _: Sequence[bytes], random: Random) -> bytes:
    start, end = _piece(data, random)
    return data[:start] + random.randbytes(end - start) + data[end:]


def _zeros(data: bytes, _: Sequence[bytes], random: Random) -> bytes:
    start, end = _piece(data, random)
    return data[:start] + bytes(end - start) + data[end:]


def _lose(data: bytes, _: Sequence[bytes], random: Random) -> bytes:
    start, end = _piece(data, random)
    return data[:start] + data[end:]


def _double(data: bytes, _: Sequence[bytes], random: Random) -> bytes:
    start, end = _piece(data, random)
    return data[:end] + data[start:end] * random.choice((1, 1, 2, 50)) + data[end:]


def _splice(data: bytes, seeds: Sequence[bytes], random: Random) -> bytes:
    """A piece of another seed."""
    other = random.choice(seeds)
    start, end = _piece(other, random)
    at = _place(data, random)
    return data[:at] + other[start:end] + data[at:]


def _cut(data: bytes, _: Sequence[bytes], random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _append(data: bytes, seeds: Sequence[bytes], random: Random) -> bytes:
    return data + random.choice((random.choice(seeds), random.randbytes(random.randrange(1, 4096))))


_CHANGES: tuple[Callable[[bytes, Sequence[bytes], Random], bytes], ...] = (
    _flip_bit,
    _flip_bit,
    _set_integer,
    _set_integer,
    _set_number,
    _set_number,
    _noise,
    _zeros,
    _lose,
    _double,
    _splice,
    _cut,
    _append,
)
