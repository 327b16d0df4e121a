from __future__ import annotations

import contextlib
import hashlib
import json
from typing import TYPE_CHECKING

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.base import ModelSpec
from engines.errors import ModelMismatch, ModelNotFound
from engines.onnx.model_file import read_header, read_model_file
from tests.fakes.tiny_model import HEIGHT, SPEC, WIDTH, tiny_model

if TYPE_CHECKING:
    from pathlib import Path


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def written(folder: Path, content: bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(content)
    return path


def test_the_header_is_what_the_onnx_package_reads() -> None:
    model = onnx.load_from_string(tiny_model())
    metadata, inputs, outputs = read_header(tiny_model())
    assert metadata == {entry.key: entry.value for entry in model.metadata_props}
    assert [tensor.name for tensor in inputs] == [value.name for value in model.graph.input]
    assert [tensor.name for tensor in outputs] == [value.name for value in model.graph.output]
    for tensor, value in zip(inputs + outputs, [*model.graph.input, *model.graph.output], strict=True):
        shape = value.type.tensor_type.shape
        expected = [dim.dim_value if dim.HasField("dim_value") else None for dim in shape.dim]
        assert list(tensor.shape) == expected
        element = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        assert tensor.element == element.name


def test_a_model_of_ours_is_read_whole_with_its_hash(tmp_path: Path) -> None:
    model = read_model_file(written(tmp_path, tiny_model()))
    assert model.content == tiny_model()
    assert model.spec.sha256 == hashlib.sha256(tiny_model()).hexdigest()
    assert model.spec.to_metadata() == SPEC.to_metadata()
    assert model.spec.classes == SPEC.classes
    assert repr(model).count("\\x") == 0  # the bytes stay out of logs


def test_a_missing_file_is_a_model_not_found(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"absent\.onnx: no model can be read") as error:
        read_model_file(tmp_path / "absent.onnx")
    one_line(error)
    assert isinstance(error.value, FileNotFoundError)


def test_a_folder_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelMismatch, match="a folder") as error:
        read_model_file(tmp_path)
    one_line(error)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"this is a text file, not a model\n" * 20, "not an ONNX model"),
        (b"PK\x03\x04" + bytes(200), "not an ONNX model"),  # how a torch checkpoint begins
        (b"\x08\x0a", "no graph"),
    ],
)
def test_another_kind_of_file_is_refused_in_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ModelMismatch, match=says) as error:
        read_model_file(path)
    assert one_line(error).startswith(str(path))


@settings(deadline=None, max_examples=60)
@given(st.floats(0, 1, exclude_max=True))
def test_a_model_cut_short_anywhere_is_refused(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    content = tiny_model()
    path = written(tmp_path_factory.mktemp("cut"), content[: int(share * len(content))])
    with pytest.raises(ModelMismatch) as error:
        read_model_file(path)
    one_line(error)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(ValueError):  # the only way to refuse
        read_header(content)


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 1500), st.integers(1, 255))
def test_a_flipped_byte_is_read_over_or_refused(from_end: int, flip: int) -> None:
    damaged = bytearray(tiny_model())
    damaged[-from_end] ^= flip  # within the signature and the facts, which lie at the end
    with contextlib.suppress(ValueError, ModelMismatch):
        metadata, _, _ = read_header(bytes(damaged))
        ModelSpec.from_metadata(metadata, origin="damaged")


def edited(**changes: object) -> bytes:
    """Returns the tiny model with facts of its spec replaced."""
    model = onnx.load_from_string(tiny_model())
    facts = json.loads(SPEC.to_metadata()["partum.spec"]) | changes
    onnx.helper.set_model_props(model, SPEC.to_metadata() | {"partum.spec": json.dumps(facts)})
    serialised: bytes = model.SerializeToString()
    return serialised


def test_an_onnx_model_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(tiny_model())
    del model.metadata_props[:]
    with pytest.raises(ModelMismatch, match="not a Partum model") as error:
        read_model_file(written(tmp_path, model.SerializeToString()))
    one_line(error)


def test_another_version_of_the_facts_is_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(tiny_model())
    onnx.helper.set_model_props(model, SPEC.to_metadata() | {"partum.schema": "partum.model/99"})
    with pytest.raises(ModelMismatch, match=r"partum\.model/99"):
        read_model_file(written(tmp_path, model.SerializeToString()))


def test_facts_that_do_not_fit_the_graph_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelMismatch) as error:
        read_model_file(written(tmp_path, edited(height=HEIGHT * 2)))
    message = one_line(error)
    assert f"image uint8 (B, 1, {HEIGHT}, {WIDTH})" in message
    assert f"image uint8 (B, 1, {HEIGHT * 2}, {WIDTH})" in message


@pytest.mark.parametrize("change", ["second input", "second output dropped", "float input", "renamed input"])
def test_another_signature_is_refused(tmp_path: Path, change: str) -> None:
    model = onnx.load_from_string(tiny_model())
    graph = model.graph
    if change == "second input":
        graph.input.append(onnx.helper.make_tensor_value_info("gain", onnx.TensorProto.FLOAT, [1]))
    elif change == "second output dropped":
        graph.output.pop()
    elif change == "float input":
        graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    else:
        graph.input[0].name = "picture"
    with pytest.raises(ModelMismatch, match="its graph is") as error:
        read_model_file(written(tmp_path, model.SerializeToString()))
    one_line(error)
