"""One place in an engine's queue: memory for a frame and its answer, shared by two processes.

    client                                     server
      |  <---- facts, memory (a descriptor) ----  |     once, when they meet
      |   frame into memory
      |  ---- "go" ---------------------------->  |
      |                      answer into memory   |
      |  <--- where each array lies, or an error  |

A lane holds one frame at a time, so an answer can be of no other. The memory has no name and goes with its two owners,
however they end. It is sealed against shrinking: a client that cuts it off cannot crash the server.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import socket
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.base import AnsweringEngine, EngineDescription, ModelSpec, Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONGEST_MESSAGE = 1 << 17
"""Bytes; a model's facts are some ten thousand."""
GO = b"go"
_ALIGNED = 64
_ROOM = 4096
"""For the arrays of a few numbers, with their alignment."""


def connect(path: str) -> socket.socket:
    """A connection to the server at a path. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def listen(path: str) -> socket.socket:
    """A socket that clients connect to at a path, whether or not a server has it yet. Raises OSError."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listening.bind(path)
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening


def lane_bytes(spec: ModelSpec) -> int:
    """Memory of a lane for a model: a frame, and the larger of both forms of an answer."""
    logits = 3 * spec.output_height * spec.output_width * 4
    return 2 * spec.height * spec.width + logits + _ROOM


class LaneMemory:
    """The memory of a lane.

    Args:
        spec: of the model.
        descriptor: of memory that the other side made; taken over. None makes it.
    """

    def __init__(self, spec: ModelSpec, descriptor: int | None = None) -> None:
        size = lane_bytes(spec)
        made = _sealed_memory(size) if descriptor is None else descriptor
        try:
            self._map = mmap.mmap(made, size)
        except BaseException:
            os.close(made)
            raise
        self.descriptor = made
        pixels = spec.height * spec.width
        self.image: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8, pixels).reshape(
            1, 1, spec.height, spec.width
        )
        self._answer = np.frombuffer(self._map, np.uint8, offset=pixels)

    def close_descriptor(self) -> None:
        """The memory stays until nobody looks at it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def put(self, arrays: dict[str, NDArray[Any]]) -> dict[str, list[Any]]:
        """Writes an answer; returns for each array its type, shape and place.

        Raises:
            ValueError: it does not fit.
        """
        at, places = 0, {}
        for name, array in arrays.items():
            flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            at = -(-at // _ALIGNED) * _ALIGNED
            self._answer[at : at + len(flat)] = flat
            places[name] = [array.dtype.str, array.shape, at]
            at += len(flat)
        return places

    def take(self, places: dict[str, list[Any]]) -> dict[str, NDArray[Any]]:
        """Copies an answer out."""
        found = {}
        for name, (kind, shape, at) in places.items():
            count = int(np.prod(shape)) * np.dtype(kind).itemsize
            found[name] = self._answer[at : at + count].copy().view(kind).reshape(shape)
        return found


def _sealed_memory(size: int) -> int:
    descriptor = os.memfd_create("partum-lane", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def pack_engine(engine: AnsweringEngine) -> dict[str, Any]:
    """Who answers, as plain JSON values."""
    spec = engine.spec
    return {
        "description": asdict(engine.description),
        "spec": spec.to_metadata(),
        "sha256": spec.sha256,
        "replaced": engine.replaced,
    }


def unpack_engine(facts: dict[str, Any]) -> AnsweringEngine:
    """What `pack_engine` made."""
    return AnsweringEngine(
        EngineDescription(**facts["description"]),
        ModelSpec.from_metadata(facts["spec"], origin="the engine's process", sha256=facts["sha256"]),
        facts["replaced"],
    )


def pack(message: dict[str, Any]) -> bytes:
    """A message as bytes."""
    return json.dumps(message).encode()


def prediction_of(
    arrays: dict[str, NDArray[Any]], images: NDArray[np.uint8], engine: AnsweringEngine | None
) -> Prediction:
    """An answer made of its arrays."""
    return Prediction(**arrays, images=images, engine=engine)
