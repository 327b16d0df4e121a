"""INT8 by calibration: frames that cover, graphs that every runtime takes, and a model that must prove itself."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from calibration.data.base import LabelledFrame
from calibration.deployment import acceptance
from calibration.deployment.acceptance import compare_engines
from calibration.deployment.quantization import quantize
from calibration.deployment.quantization.frames import choose_frames, spread_out
from calibration.deployment.quantization.qdq import Quantizer
from calibration.deployment.quantization.quantize import QuantizeOptions, run_quantize, sensitive_layers
from calibration.deployment.quantization.sensitivity import Sensitivity, scan
from calibration.deployment.trial_frames import as_network_input, demonstration_frames
from calibration.errors import AcceptanceError, DataSetError
from engines.backends.onnxruntime import OnnxRuntimeEngine
from engines.backends.openvino import OpenVinoEngine
from engines.errors import ModelMismatch
from engines.onnx.editing import read_graph
from engines.onnx.model_file import ModelFile, read_model_file
from engines.registry import DEFAULT_INT8_MODEL, DEFAULT_MODEL
from stream.common.errors import OptionError
from stream.inference.engine_trial import LIMITS
from tests.fakes.tiny_model import CASCADE_SPEC, HEIGHT, SIDE, WIDTH, tiny_cascade_model, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from calibration.deployment.acceptance import AcceptanceReport

MODEL = read_model_file(DEFAULT_MODEL)


def frame(group: str, number: int, look: str = "A", plane: bool | None = True) -> LabelledFrame:
    image = np.full((8, 8), number, np.uint8)
    return LabelledFrame(name=f"{group}_{number}", group=group, look=look, plane=plane, image=image)


@pytest.fixture(scope="module")
def frames() -> list[LabelledFrame]:
    """Eighty-four frames of the demonstration clip at half its size."""
    return [replace(each, image=each.image[::2, ::2].copy()) for each in demonstration_frames()[::4]]


@pytest.fixture(scope="module")
def quantizer(frames: list[LabelledFrame]) -> Any:
    with Quantizer(MODEL.content, as_network_input(frames[::8], MODEL.spec), "minmax") as ready:
        yield ready


def test_every_kind_gives_frames_in_turn_and_every_group_before_any_twice() -> None:
    many = [frame(f"a{group}", number) for group in range(3) for number in range(30)]
    few = [frame("b", number, look="B") for number in range(2)] + [frame("n", 0, plane=False)]
    chosen = choose_frames([*many, *few], 9)
    assert Counter((each.look, each.plane) for each in chosen) == {("A", True): 6, ("B", True): 2, ("A", False): 1}
    assert Counter(each.group for each in chosen if each.group.startswith("a")) == {"a0": 2, "a1": 2, "a2": 2}
    assert chosen == choose_frames([*many, *few], 9)
    assert len(choose_frames(few, 100)) == 3
    with pytest.raises(DataSetError, match="no frame to calibrate on"):
        choose_frames([], 5)


def test_a_group_is_covered_from_its_first_frames_on() -> None:
    order = [each.image[0, 0] for each in spread_out([frame("g", number) for number in range(8)])]
    assert sorted(order) == list(range(8))
    assert max(np.diff(sorted(order[:4]))) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("activations", ["signed", "unsigned"])
def test_the_quantised_graph_runs_alike_in_openvino_and_onnx_runtime(
    quantizer: Quantizer, frames: list[LabelledFrame], activations: Any
) -> None:
    content = quantizer.quantized(activations=activations)
    model, spec = read_graph(content)
    assert spec.precision == "int8"
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds["QuantizeLinear"] > 20
    assert len(content) < len(MODEL.content)  # whose largest weights are stored in 8 bits already
    quantised = ModelFile(spec, content)
    with (
        OpenVinoEngine(quantised) as openvino,
        OnnxRuntimeEngine(quantised) as onnxruntime,
        OpenVinoEngine(MODEL, precision="fp32") as reference,
    ):
        assert openvino.name == "openvino int8 CPU"
        # Judged by the angle and the masks: how a CPU without 8-bit instructions rounds is its own affair.
        for one, other in ((onnxruntime, openvino), (openvino, reference)):
            assert compare_engines(one, other, frames[::2], precision="int8").refusals == ()
        image = as_network_input(frames[:1], MODEL.spec)
        assert not np.array_equal(openvino.infer(image).class_logits, reference.infer(image).class_logits)  # rounded


def test_signed_graphs_hold_what_tensorrt_takes(quantizer: Quantizer) -> None:
    model, _ = read_graph(quantizer.quantized(activations="signed"))
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    points = [kinds[node.input[2]] for node in model.graph.node if node.op_type.endswith("QuantizeLinear")]
    assert set(points) == {3}  # int8, and no 32-bit bias
    zeros = {tensor.name for tensor in model.graph.initializer if not any(tensor.raw_data or tensor.int32_data)}
    assert all(node.input[2] in zeros for node in model.graph.node if node.op_type.endswith("QuantizeLinear"))


def test_layers_can_be_kept_in_float(quantizer: Quantizer) -> None:
    first = quantizer.convolutions[0]

    def quantised_weights(content: bytes) -> int:
        model, _ = read_graph(content)
        made = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
        return sum(node.op_type == "Conv" and node.input[1] in made for node in model.graph.node)

    every = quantised_weights(quantizer.quantized())
    assert every == len(quantizer.convolutions)
    assert quantised_weights(quantizer.quantized(kept=[first])) == every - 1
    assert quantised_weights(quantizer.quantized(only=[first])) == 1


def test_the_scan_finds_the_layer_that_8_bits_hurt() -> None:
    seen: list[tuple[int, int]] = []
    images = np.random.default_rng(2).integers(0, 256, (8, 1, HEIGHT, WIDTH), np.uint8)
    with Quantizer(tiny_model(), images, "minmax") as tiny:
        found = scan(tiny, tiny_model(), images, activations="unsigned", report=lambda *step: seen.append(step))
        assert {entry.node for entry in found} == set(tiny.convolutions)
    assert [entry.changed for entry in found] == sorted((entry.changed for entry in found), reverse=True)
    assert seen[-1] == (len(found), len(found))


def test_layers_far_above_the_usual_stay_in_float() -> None:
    scanned = [Sensitivity(str(number), changed) for number, changed in enumerate((0.9, 0.6, 0.1, 0.1, 0.1))]
    assert sensitive_layers(scanned) == 2
    assert sensitive_layers(scanned[2:]) == 0


@pytest.fixture
def data(frames: list[LabelledFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty-six small frames of the demonstration clip as a data set; the scan, tested above, is spared."""
    (tmp_path / "data" / "images").mkdir(parents=True)
    for place in np.linspace(0, len(frames) - 1, 46).astype(int):
        each = frames[place]
        cv2.imwrite(str(tmp_path / "data" / "images" / f"{each.name}.png"), each.image)

    def scanned(quantizer: Quantizer, *_: object, **__: object) -> list[Sensitivity]:
        return [Sensitivity(node, 0.01 / (1 + place)) for place, node in enumerate(quantizer.convolutions)]

    monkeypatch.setattr(quantize, "scan", scanned)
    return tmp_path / "data"


@pytest.mark.slow
def test_a_model_is_quantised_tried_and_written(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.int8.onnx"
    report = run_quantize(QuantizeOptions(model=DEFAULT_MODEL, out=out, data=[data], frames=16, activations="unsigned"))
    assert report.accepted
    assert report.frames == 30  # none of those that gave the ranges
    written = read_model_file(out)
    assert (written.spec.precision, written.spec.made_from, written.spec.warning) == ("int8", MODEL.spec.sha256, "")
    facts = json.loads(out.with_suffix(".json").read_text())
    assert facts["acceptance"]["accepted"]
    assert facts["notice"]
    with Quantizer(MODEL.content, np.zeros((1, 1, 256, 256), np.uint8), "minmax") as quantizer:
        assert set(facts["share_of_pixels_changed_by_each_layer_alone"]) == set(quantizer.convolutions)


@pytest.mark.slow
def test_a_refused_model_is_not_written_unless_forced_and_then_marked(
    data: Path, quantizer: Quantizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize, "Quantizer", lambda *_: nullcontext(quantizer))  # whose ranges are there already
    monkeypatch.setattr(quantize, "MOST_KEPT", 0)  # one attempt
    tried = quantize._tried
    reports: list[AcceptanceReport] = []

    def tried_once(*arguments: Any) -> AcceptanceReport:
        if not reports:  # with --force it is the same model
            reports.append(tried(*arguments))
        return reports[0]

    monkeypatch.setattr(quantize, "_tried", tried_once)
    strict = {**LIMITS, "int8": replace(LIMITS["int8"], aop_p95_deg=1e-6)}
    monkeypatch.setattr(acceptance, "LIMITS", strict)
    out = tmp_path / "model.int8.onnx"
    options = QuantizeOptions(model=DEFAULT_MODEL, out=out, data=[data], frames=8)
    with pytest.raises(AcceptanceError, match="--force writes it all the same, marked"):
        run_quantize(options)
    assert not out.exists()
    run_quantize(replace(options, force=True))
    assert read_model_file(out).spec.warning.startswith("engine not accepted: AoP moves by")


def test_without_real_frames_nothing_is_quantised(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "out.onnx"
    with pytest.raises(OptionError, match="would invent the ranges"):
        run_quantize(QuantizeOptions(model=DEFAULT_MODEL, out=out, data=[]))
    with pytest.raises(DataSetError, match="lower --frames"):
        run_quantize(QuantizeOptions(model=DEFAULT_MODEL, out=out, data=[data], frames=50))
    with pytest.raises(ModelMismatch, match="int8 already"):
        run_quantize(QuantizeOptions(model=DEFAULT_INT8_MODEL, out=out, data=[data]))
    assert not out.exists()


@pytest.mark.parametrize("activations", ["signed", "unsigned"])
def test_of_a_cascade_the_masks_are_quantised_and_the_second_look_is_not(activations: Any) -> None:
    images = np.random.default_rng(1).integers(0, 256, (8, 1, SIDE, SIDE), np.uint8)
    with Quantizer(tiny_cascade_model(), images, "minmax") as quantizer:
        content = quantizer.quantized(activations=activations)
    model, spec = read_graph(content)
    makers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type == "Conv":
            is_quantised = makers[node.input[0]].op_type == "DequantizeLinear"
            weight = ancestor_initializer(node.input[1], makers)
            assert is_quantised is not weight.startswith("second_look."), weight
        if node.op_type in ("Relu", "Clip"):  # quantised behind it, where its range is known, and not before
            assert makers[node.input[0]].op_type != "DequantizeLinear"
    file = ModelFile(spec, content)
    with OnnxRuntimeEngine(file) as engine, OnnxRuntimeEngine(ModelFile(CASCADE_SPEC, tiny_cascade_model())) as float32:
        found, expected = engine.infer(images[:2]), float32.infer(images[:2])
    assert found.ps_axis is not None
    assert expected.ps_axis is not None
    np.testing.assert_allclose(found.ps_axis[..., 2:6], expected.ps_axis[..., 2:6], atol=4.0)
    np.testing.assert_allclose(found.class_logits, expected.class_logits, atol=1.0)


def ancestor_initializer(name: str, makers: dict[str, Any]) -> str:
    """The constant that a chain of one-input nodes begins with."""
    while name in makers:
        name = makers[name].input[0]
    return name
