"""One model file from two checkpoints and what was fitted; weights in 8 bits that say nearly the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner

from engines.errors import ModelMismatch, ModelNotFound
from engines.onnx import weights
from engines.onnx.export import export_checkpoint, export_onnx
from engines.onnx.model_file import read_model_file
from engines.registry import load_runtime
from stream.app.commands.export_command import export_command
from tests.fakes.tiny_model import ARCHITECTURE, CASCADE, CASCADE_SPEC, SIDE, SPEC, tiny_cascade, tiny_network

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("one_thread")

GATE = {
    "weights": {"plane_head": 0.5, "ps_peak": 0.25, "constant": -1.0},
    "plane_threshold": 0.4,
    "exit_logit": -3.0,
}
FITTED: dict[str, Any] = {
    "schema": "partum.fitted/1",
    "gate": GATE,
    "fusion": {"direction": 0.6, "inferior": 0.3, "turn_deg": -1.2},
    "quality": {"weights": {}, "constant": 1.0, "surest_deg": 2.0, "mask_only_deg": 9.0},
    "absolute": {"robust": {"half_deg": 15.0, "usual_expected_deg": 5.0, "power": 0.5, "growth": 0.25}},
    "views": [[1.0, 0.0, 0.0], [1.2, 0.0, 0.0], [0.9, 0.0, 0.0]],
}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the checkpoints of a tiny cascade and what was fitted to it."""
    network = tiny_cascade()
    assert network.second_look is not None
    spec = CASCADE_SPEC.to_metadata()
    facts = json.loads(spec["partum.spec"]) | {"architecture": dict(ARCHITECTURE)}
    masks = {
        "schema": "partum.checkpoint/1",
        "spec": spec | {"partum.spec": json.dumps(facts)},
        "weights": network.masks.state_dict(),
    }
    refinement = {
        "schema": "partum.refinement/1",
        "config": json.dumps({"network": CASCADE["refinement"]}),
        "weights": network.second_look.network.state_dict(),
    }
    torch.save(masks, tmp_path / "masks.pt")
    torch.save(refinement, tmp_path / "refinement.pt")
    (tmp_path / "fitted.json").write_text(json.dumps(FITTED))
    return tmp_path


def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, 1, SIDE, SIDE), np.uint8)


@pytest.mark.slow
def test_the_exporters_two_ways_to_capture_a_network_give_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_onnx(tiny_network(), SPEC, tmp_path / "first.onnx")
    capture, refused = torch.export.export, []

    def fails_at_first(*arguments: Any, strict: bool = False, **options: Any) -> Any:
        if not strict:
            refused.append(strict)
            raise RuntimeError("the exporter goes the other way")
        return capture(*arguments, strict=strict, **options)

    monkeypatch.setattr(torch.export, "export", fails_at_first)
    export_onnx(tiny_network(), SPEC, tmp_path / "second.onnx")
    assert refused
    assert (tmp_path / "second.onnx").read_bytes() == (tmp_path / "first.onnx").read_bytes()


@pytest.mark.slow
def test_two_checkpoints_and_what_was_fitted_make_one_model(files: Path) -> None:
    out = files / "whole.onnx"
    arguments = [str(files / "masks.pt"), "--refinement", str(files / "refinement.pt")]
    arguments += ["--fitted", str(files / "fitted.json"), "--out", str(out)]
    done = CliRunner().invoke(export_command, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    file = read_model_file(out)
    spec = file.spec
    assert spec.output_names == ("class_logits", "plane_logit", "normal_logit", "plane_head", "ps_axis")
    assert spec.views == 3
    assert (spec.plane_threshold, spec.exit_logit) == (0.4, -3.0)
    assert spec.fusion == FITTED["fusion"]
    assert spec.quality == FITTED["quality"]
    assert spec.absolute == FITTED["absolute"]
    answers = {}
    for backend in ("torch", "onnxruntime"):
        with load_runtime(file, backend) as engine:
            answers[backend] = engine.infer(images())
    for name, value in answers["torch"].arrays.items():
        np.testing.assert_allclose(answers["onnxruntime"].arrays[name], value, atol=0.05, err_msg=name)
    with torch.inference_mode():
        logits, _, _, head, axis = tiny_cascade()(torch.from_numpy(images()))
    peak = weights_of(logits)[:, 0]
    found = answers["onnxruntime"]
    np.testing.assert_allclose(found.plane_logit, 0.5 * head.numpy() + 0.25 * peak - 1, atol=0.02)
    assert found.ps_axis is not None
    np.testing.assert_allclose(found.ps_axis[:, 0], axis.numpy()[:, 0], atol=0.1)  # the view that both have


def weights_of(class_logits: torch.Tensor) -> np.ndarray:
    from engines.network.gate import mask_evidence

    return mask_evidence(class_logits).numpy()


@pytest.mark.slow
def test_a_model_without_a_second_look_is_what_it_was(files: Path) -> None:
    spec = export_checkpoint(files / "masks.pt", files / "masks.onnx")
    assert spec.output_names == ("class_logits", "plane_logit", "normal_logit")
    gated = export_checkpoint(files / "masks.pt", files / "gated.onnx", fitted=files / "fitted.json")
    assert gated.output_names == ("class_logits", "plane_logit", "normal_logit", "plane_head")
    assert read_model_file(files / "gated.onnx").spec.views == 0


def changed(**sections: Any) -> Callable[[Path], object]:
    return lambda folder: (folder / "fitted.json").write_text(json.dumps(FITTED | sections))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "fitted.json").unlink(), "fitted.json: cannot be read"),
        (lambda folder: (folder / "fitted.json").write_text("{"), "fitted.json: not JSON"),
        (lambda folder: (folder / "fitted.json").write_text("[]"), "its schema is not partum.fitted/1"),
        (changed(schema="partum.fitted/9"), "its schema is not partum.fitted/1"),
        (changed(colour={}), "colour is not known"),
        (changed(gate={"weights": {"colour": 1.0}, "plane_threshold": 0.5}), "gate cannot be used"),
        (changed(gate={"weights": {"plane_head": "a"}, "plane_threshold": 0.5}), "gate cannot be used"),
        (changed(gate=GATE | {"plane_threshold": 1.5}), "gate cannot be used .1.5 is not between"),
        (changed(gate={"weights": {}}), "gate cannot be used .'plane_threshold'"),
        (changed(fusion={"direction": -1}), "fusion cannot be used"),
        (changed(fusion={"turn_deg": float("nan")}), "fusion cannot be used"),
        (changed(fusion=[1, 2]), "fusion cannot be used"),
        (changed(absolute={"robust": {"half_deg": "wide"}}), "absolute cannot be used"),
        (changed(absolute={"robust": {"half_deg": float("inf")}}), "absolute cannot be used"),
        (changed(absolute=[15.0]), "absolute cannot be used"),
        (changed(views=[[1.0, 0.0]]), "a view is a magnification above 0"),
        (changed(views="none"), "views cannot be used"),
        (lambda folder: (folder / "refinement.pt").unlink(), "refinement.pt: cannot be read"),
        (lambda folder: (folder / "refinement.pt").write_bytes(b"no"), "refinement.pt: not a checkpoint"),
        (lambda folder: (folder / "masks.pt").rename(folder / "refinement.pt"), "masks.pt: cannot be read"),
        (
            lambda folder: torch.save(torch.load(folder / "masks.pt"), folder / "refinement.pt"),
            "'partum.checkpoint/1' where 'partum.refinement/1' belongs",
        ),
        (
            lambda folder: torch.save(
                torch.load(folder / "refinement.pt") | {"config": "{}"}, folder / "refinement.pt"
            ),
            "does not say its network",
        ),
        (
            lambda folder: torch.save(torch.load(folder / "refinement.pt") | {"weights": {}}, folder / "refinement.pt"),
            "refinement.pt: its weights do not fit",
        ),
    ],
)
def test_what_cannot_be_joined_is_told_and_nothing_is_written(
    files: Path, damage: Callable[[Path], object], told: str
) -> None:
    damage(files)
    with pytest.raises((ModelMismatch, ModelNotFound), match=told):
        export_checkpoint(
            files / "masks.pt", files / "a.onnx", refinement=files / "refinement.pt", fitted=files / "fitted.json"
        )
    assert not list(files.glob("a*"))


def test_a_model_file_takes_no_refinement(files: Path) -> None:
    arguments = ["model.onnx", "--refinement", str(files / "refinement.pt")]
    done = CliRunner().invoke(export_command, arguments)
    assert done.exit_code == 2
    assert "go with a checkpoint" in done.output


def test_weights_in_8_bits_by_hand() -> None:
    whole, scale = weights.in_int8(np.array([[0.5, -1.27, 0.0], [0.0, 0.0, 0.0]], np.float32))
    assert whole.tolist() == [[50, -127, 0], [0, 0, 0]]
    assert scale[:, 0] == pytest.approx([0.01, 1.0])
    assert weights.float_weights({"a": whole, "a:scale": scale})["a"][0] == pytest.approx([0.5, -1.27, 0.0])


@pytest.fixture(scope="module")
def in_8_bits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cascade with large weights in 8 bits, others in half precision or whole."""
    path = tmp_path_factory.mktemp("small") / "small.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "INT8_FROM", 256)
        patch.setattr(weights, "HALVED_FROM", 256)
        export_onnx(tiny_cascade(), CASCADE_SPEC, path, stored="int8")
    kinds = {onnx.TensorProto.INT8, onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT}
    assert {tensor.data_type for tensor in onnx.load(path).graph.initializer} >= kinds
    return path


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "onnxruntime", "openvino"])
def test_a_model_with_weights_in_8_bits_says_nearly_the_same(backend: str, in_8_bits: Path) -> None:
    with torch.inference_mode():
        expected = [output.numpy() for output in tiny_cascade()(torch.from_numpy(images()))]
    with load_runtime(read_model_file(in_8_bits), backend) as engine:
        found = engine.infer(images()).arrays
    for name, value in zip(CASCADE_SPEC.output_names, expected, strict=True):
        np.testing.assert_allclose(found[name], value, atol=0.5, err_msg=name)
        assert np.ptp(value) > 0
