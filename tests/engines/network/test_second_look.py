"""The second look inside the network: its crops, its place, mirrored pictures, and one answer from every runtime."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch

from calibration.learning.refinement.crops import crop_frames
from engines.backends.openvino import OpenVinoEngine
from engines.network.build import make_network
from engines.network.gate import mask_evidence
from engines.network.refinement import RefinementNetwork
from engines.network.second_look import SecondLook
from engines.onnx.editing import read_graph
from engines.onnx.heads_only import heads_only
from engines.onnx.model_file import read_model_file
from engines.registry import load_runtime
from tests.fakes.tiny_model import CASCADE, CASCADE_SPEC, SIDE, tiny_cascade, tiny_cascade_model

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE, CROP = 256, 32
VIEWS = ((1.0, 0.0, 0.0), (1.15, 0.04, -0.02))


@cache
def look() -> SecondLook:
    torch.manual_seed(2)
    network = RefinementNetwork(levels=2, side=CROP, channels=4, hidden=8)
    return SecondLook(network, size=SIZE, views=VIEWS).eval()


def logits_of(*blobs: tuple[tuple[int, int], tuple[int, int], float]) -> Tensor:
    """Class logits (1, 3, 128, 128) with the PS where ellipses are: centre and half axes in px of the picture, peak."""
    ps = np.full((SIZE, SIZE), -6.0, np.float32)
    for centre, axes, peak in blobs:
        cv2.ellipse(ps, centre, axes, 20, 0, 360, peak, -1)
    small = cv2.resize(ps, (SIZE // 2, SIZE // 2), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(np.stack((np.zeros_like(small), small, np.full_like(small, -9))))[None]


def noise(seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (1, 1, SIZE, SIZE), np.uint8))


def answers(image: Tensor, logits: Tensor, normal: float | None = None) -> Tensor:
    with torch.inference_mode():
        found: Tensor = look()(image, logits, None if normal is None else torch.tensor([normal]))
    return found


@pytest.mark.parametrize("at", [(120.0, 90.0), (120.3, 90.7), (12.45, 250.5)])  # the last leaves the picture
def test_a_crop_is_the_one_that_trainings_cut(at: tuple[float, float]) -> None:
    image = noise()
    x, y = (torch.full((1, 1, 1), value) for value in at)
    found = look().crops(image, x, y, torch.ones(1, 1, 1))[0]
    for place, (magnification, right, down) in enumerate(VIEWS):
        shift = torch.tensor([right, down]) * 112
        affine = torch.eye(2)[None] / magnification
        expected = crop_frames(image.float(), torch.tensor([at]) + shift, affine, side=CROP)[0, 0]
        torch.testing.assert_close(found[place], expected, atol=1e-4 * 255, rtol=0)


def test_the_place_is_the_symphysis_and_no_false_blob_far_from_it() -> None:
    ps = ((90, 70), (28, 11), 6.0)
    x, y = look().centre(logits_of(ps).softmax(dim=1)[:, 1])
    assert (x.item(), y.item()) == pytest.approx((90, 70), abs=0.3)
    x, y = look().centre(logits_of(ps, ((200, 220), (9, 9), 6.0)).softmax(dim=1)[:, 1])
    assert (x.item(), y.item()) == pytest.approx((90, 70), abs=1)


def test_answers_come_back_in_pixels_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    said = torch.tensor([0.6, 0.8, 0.5, -0.25, -1.0, 1.0, -2.0])
    monkeypatch.setattr(look().network, "forward", lambda crops: said.repeat(len(crops), 1))
    logits = logits_of(((90, 70), (28, 11), 6.0))
    x, y = (value.item() for value in look().centre(logits.softmax(dim=1)[:, 1]))
    first, second = answers(noise(), logits)[0]
    torch.testing.assert_close(first, torch.tensor([0.6, 0.8, x + 28, y - 14, x - 56, y + 56, -2.0]))
    right, down, reach = x + 112 * 0.04, y - 112 * 0.02, 56 / 1.15
    ends = [right + reach / 2, down - reach / 4, right - reach, down + reach]
    torch.testing.assert_close(second, torch.tensor([0.6, 0.8, *ends, -2.0]))


def test_a_mirrored_picture_has_the_mirrored_axis() -> None:
    image, logits = noise(), logits_of(((90, 70), (28, 11), 6.0))
    found = answers(image, logits, 3.0)
    mirrored = answers(image.flip(-1), logits.flip(-1), -3.0)
    expected = found.clone()
    expected[..., 0] *= -1
    expected[..., [2, 4]] = SIZE - 1 - expected[..., [2, 4]]
    torch.testing.assert_close(mirrored, expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(answers(image, logits), found)  # normal where nobody says
    assert (answers(image, logits, -3.0) - found).abs().max() > 0.1


def test_without_a_symphysis_there_is_no_second_look() -> None:
    assert torch.equal(answers(noise(), logits_of()), torch.zeros(1, 2, 7))
    assert torch.equal(answers(noise(), torch.zeros(1, 3, 128, 128) - 80), torch.zeros(1, 2, 7))


@pytest.mark.parametrize("views", [[], [[1.0, 0.0]], [[0.0, 0.0, 0.0]]])
def test_views_that_are_none_are_refused(views: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="a view is a magnification above 0 and two shifts"):
        make_network({**CASCADE, "views": views})


def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (3, 1, SIDE, SIDE), np.uint8)


def test_the_gate_weighs_head_masks_and_second_look() -> None:
    network = tiny_cascade()
    with torch.inference_mode():
        class_logits, plane, _, head, axis = network(torch.from_numpy(images()))
        evidence = torch.cat((head[:, None], mask_evidence(class_logits), axis[:, :, 6].mean(dim=1)[:, None]), dim=1)
    expected = evidence.numpy() @ np.array([0.8, 0.3, -0.2, 0.1, 0.4, -0.6]) - 1.5
    np.testing.assert_allclose(plane.numpy(), expected, atol=1e-5)
    plain = make_network(CASCADE).eval()
    with torch.inference_mode():
        outputs = plain(torch.from_numpy(images()))
    torch.testing.assert_close(outputs[1], outputs[3])  # a gate that nobody fitted is the plane head


@pytest.mark.parametrize("backend", ["torch", "onnxruntime", "openvino"])
def test_a_cascade_runs_alike_in_every_runtime(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "cascade.onnx"
    path.write_bytes(tiny_cascade_model())
    file = read_model_file(path)
    assert file.spec.output_shapes["ps_axis"] == (2, 7)
    with torch.inference_mode():
        expected = [output.numpy() for output in tiny_cascade()(torch.from_numpy(images()))]
    assert np.abs(expected[-1]).max() > 1
    make = (
        partial(OpenVinoEngine, precision="fp32") if backend == "openvino" else partial(load_runtime, backend=backend)
    )
    with make(file) as engine:
        found = engine.infer(images()).arrays
    for name, value in zip(CASCADE_SPEC.output_names, expected, strict=True):
        np.testing.assert_allclose(found[name], value, atol=0.05, err_msg=name)
    with make(file, heads_only=True) as engine:
        heads = engine.infer(images())
    np.testing.assert_allclose(heads.plane_logit, expected[3], atol=0.02)
    assert heads.ps_axis is None


def test_without_its_decoder_the_plane_head_is_left() -> None:
    content = heads_only(tiny_cascade_model())
    assert read_graph(content)[1].output_names == ("plane_head", "normal_logit")
    assert len(content) < len(tiny_cascade_model()) / 2
