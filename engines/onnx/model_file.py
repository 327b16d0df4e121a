"""Reads a model file's facts and signature before any runtime sees it.

One reader for every back-end, so that a wrong file is refused at once and in the same words, and the base
installation needs no `onnx` package. An ONNX file is a protobuf message (`ModelProto` in onnx.proto); only
the few fields named below are looked at.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engines.base import ModelSpec, answer_type
from engines.errors import ModelMismatch, ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_BYTES = 2**31
"""Protobuf's own limit for one message: a larger file is no ONNX model."""

# Field numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_GRAPH_NODE, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 11, 12
_NODE_OPERATOR = 4
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TYPE_TENSOR = 1
_TENSOR_ELEMENT, _TENSOR_SHAPE = 1, 2
_SHAPE_DIM, _DIM_VALUE = 1, 1
_ELEMENT_NAMES = {1: "float32", 2: "uint8"}

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """Name, element type and shape of a graph's input or output; None for a free dimension."""

    name: str
    element: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        sides = ", ".join("B" if side is None else str(side) for side in self.shape)
        return f"{self.name} {self.element} ({sides})"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model of ours, read whole. `content` is the ONNX message that the runtimes are given."""

    spec: ModelSpec
    content: bytes = field(repr=False)


def read_model_file(path: Path) -> ModelFile:
    """Reads `path` and checks that it holds a Partum model.

    Raises:
        ModelNotFound: there is no file, or it may not be read.
        ModelMismatch: the file is no ONNX model, is cut short, carries no facts of ours, or takes and gives
            other tensors than `engines.base` agrees on.
    """
    content = _read(path)
    try:
        metadata, inputs, outputs = read_header(content)
    except ValueError as error:
        raise ModelMismatch(
            f"{path}: not an ONNX model, or cut short ({error}); export one with: partum export"
        ) from error
    spec = ModelSpec.from_metadata(metadata, origin=str(path), sha256=hashlib.sha256(content).hexdigest())
    given = "; ".join(map(str, inputs)) + " -> " + "; ".join(map(str, outputs))
    expected = _signature(spec)
    if given != expected:
        raise ModelMismatch(f"{path}: its graph is {given}, expected {expected}; export the model again")
    return ModelFile(spec, content)


def read_header(content: bytes) -> tuple[dict[str, str], list[TensorFacts], list[TensorFacts]]:
    """Returns an ONNX message's metadata, inputs and outputs.

    Raises:
        ValueError: the bytes are no whole protobuf message, or it has no graph.
    """
    metadata: dict[str, str] = {}
    graph: memoryview | None = None
    for number, value in _fields(memoryview(content)):
        if number == _MODEL_METADATA:
            metadata[_text(value, _ENTRY_KEY)] = _text(value, _ENTRY_VALUE)
        elif number == _MODEL_GRAPH:
            graph = _message(value)
    if graph is None:
        raise ValueError("no graph in it")
    inputs: list[TensorFacts] = []
    outputs: list[TensorFacts] = []
    for number, value in _fields(graph):
        if number in {_GRAPH_INPUT, _GRAPH_OUTPUT}:
            (inputs if number == _GRAPH_INPUT else outputs).append(_tensor_facts(value))
    return metadata, inputs, outputs


def operators(content: bytes) -> list[str]:
    """Returns the operator of every node of an ONNX message's graph, in their order.

    Raises:
        ValueError: the bytes are no whole protobuf message.
    """
    return [_text(node, _NODE_OPERATOR) for node in _walk(memoryview(content), _MODEL_GRAPH, _GRAPH_NODE)]


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if path.is_dir() or not 0 < size < MAX_BYTES:
            what = "a folder" if path.is_dir() else "empty" if size == 0 else f"too large ({size} bytes)"
            raise ModelMismatch(f"{path}: not an ONNX model, it is {what}; name a .onnx file")
        return path.read_bytes()
    except OSError as error:
        raise ModelNotFound(f"{path}: no model can be read ({error.strerror}); name a .onnx file") from error


def _signature(spec: ModelSpec) -> str:
    """What the graph of a model with these facts takes and gives; classes are background, PS and FH."""
    outputs = [
        f"{name} {answer_type(name)} ({', '.join(map(str, ('B', *shape)))})"
        for name, shape in spec.output_shapes.items()
    ]
    return f"image uint8 (B, 1, {spec.height}, {spec.width}) -> " + "; ".join(outputs)


def _tensor_facts(value: int | memoryview) -> TensorFacts:
    name, element, shape = _text(value, _VALUE_NAME), 0, []
    for tensor in _walk(value, _VALUE_TYPE, _TYPE_TENSOR):
        for number, entry in _fields(tensor):
            if number == _TENSOR_ELEMENT and isinstance(entry, int):
                element = entry
            elif number == _TENSOR_SHAPE:
                shape = [_dim(dim) for dim in _walk(entry, _SHAPE_DIM)]
    return TensorFacts(name, _ELEMENT_NAMES.get(element, f"onnx type {element}"), tuple(shape))


def _dim(dim: memoryview) -> int | None:
    sizes = [value for number, value in _fields(dim) if number == _DIM_VALUE and isinstance(value, int)]
    return sizes[-1] if sizes else None


def _walk(message: int | memoryview, *numbers: int) -> Iterator[memoryview]:
    """Yields the messages found by following the field `numbers` down from `message`."""
    if not numbers:
        yield _message(message)
        return
    for number, value in _fields(_message(message)):
        if number == numbers[0]:
            yield from _walk(value, *numbers[1:])


def _text(message: int | memoryview, number: int) -> str:
    texts = [bytes(value) for value in _walk(message, number)]
    return texts[-1].decode("utf-8") if texts else ""


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message belongs")
    return value


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yields (field number, value) of one protobuf message; fixed-width numbers are stepped over.

    Source: protobuf.dev/programming-guides/encoding. A key is `number << 3 | wire type`.
    """
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire == _BYTES:
            length, position = _varint(message, position)
        elif wire in {_FIXED32, _FIXED64}:
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"byte {position} starts no field")
        end = position + length
        if end > len(message):
            raise ValueError(f"{end - len(message)} bytes are missing at its end")
        if wire == _BYTES:
            yield number, message[position:end]
        position = end


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Reads a base-128 number, least significant group first; returns it and the position after it."""
    number = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise ValueError("it ends inside a number")
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise ValueError(f"byte {position} ends no number")
