"""The runtimes see the same thing on real frames, with the model that ships."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pytest
import torch

from engines.backends.openvino import OpenVinoEngine
from engines.errors import EngineUnavailable
from engines.onnx.model_file import read_model_file
from engines.postprocess import class_labels
from engines.preprocess import Letterbox
from engines.registry import DEFAULT_MODEL, load_engine
from tests.conftest import REPOSITORY
from tests.fakes.tiny_model import HEIGHT, WIDTH, tiny_model, tiny_network

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from engines.base import Engine

LEAST_AGREEMENT = 0.995
"""Share of a frame's pixels to which two float32 runtimes give the same class."""


@pytest.fixture(scope="module")
def reference() -> Iterator[Engine]:
    with OpenVinoEngine(read_model_file(DEFAULT_MODEL), precision="fp32") as engine:
        yield engine


@pytest.fixture(scope="module", params=["onnxruntime", "torch"])
def other(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with load_engine(DEFAULT_MODEL, request.param) as engine:
        yield engine


@pytest.fixture(scope="module")
def half() -> Iterator[Engine]:
    try:
        engine = OpenVinoEngine(read_model_file(DEFAULT_MODEL), precision="bf16")
    except EngineUnavailable as error:
        pytest.skip(str(error))
    with engine:
        yield engine


def real_frames(shared_data: Path) -> list[NDArray[np.uint8]]:
    paths = sorted((shared_data / "psfhs" / "val" / "images").glob("*.png"))[::13]
    frames = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
    return [frame.astype(np.uint8) for frame in frames if frame is not None]


def demo_frames() -> list[NDArray[np.uint8]]:
    (clip,) = (REPOSITORY / "stream" / "demo").glob("*.mp4")
    with av.open(str(clip)) as container:
        frames = [np.asarray(frame.to_ndarray(format="gray"), np.uint8) for frame in container.decode(video=0)]
    return frames[:: max(1, len(frames) // 8)]


def assert_agreement(
    reference: Engine, other: Engine, frames: list[NDArray[np.uint8]], *, probability: float = 1e-3
) -> None:
    agreement, both_seen = [], 0
    for frame in frames:
        height, width = frame.shape
        letterbox = Letterbox(
            image_height=height,
            image_width=width,
            height=reference.spec.height,
            width=reference.spec.width,
        )
        images = letterbox.apply(frame)[None, None]
        first, second = reference.infer(images), other.infer(images)
        labels = [
            class_labels(prediction.class_logits[0], letterbox.height, letterbox.width)
            for prediction in (first, second)
        ]
        agreement.append(float(np.mean(labels[0] == labels[1])))
        both_seen += {1, 2} <= set(np.unique(labels[0]).tolist())
        np.testing.assert_allclose(first.plane_probability, second.plane_probability, atol=probability)
    assert both_seen > len(frames) // 2  # agreement on empty masks would prove nothing
    assert min(agreement) >= LEAST_AGREEMENT


@pytest.mark.slow
def test_runtimes_agree_on_real_frames(reference: Engine, other: Engine, shared_data: Path) -> None:
    frames = real_frames(shared_data)
    assert len(frames) >= 10
    assert_agreement(reference, other, frames)


@pytest.mark.slow
def test_bfloat16_agrees_with_float32_on_real_frames(reference: Engine, half: Engine, shared_data: Path) -> None:
    assert half.name == "openvino bf16 CPU"
    assert_agreement(reference, half, real_frames(shared_data), probability=0.02)


@pytest.mark.slow
def test_runtimes_agree_on_the_demonstration(reference: Engine, other: Engine) -> None:
    assert_agreement(reference, other, demo_frames())


@pytest.mark.slow
def test_openvino_in_float32_is_the_network_that_was_exported(tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    images = np.random.default_rng(5).integers(0, 256, (2, 1, HEIGHT, WIDTH), dtype=np.uint8)
    with torch.inference_mode():
        class_logits, _, _ = tiny_network()(torch.tensor(images))
    with OpenVinoEngine(read_model_file(path), precision="fp32") as engine:
        assert engine.name == "openvino fp32 CPU"
        np.testing.assert_allclose(engine.infer(images).class_logits, class_logits.numpy(), atol=2e-5)
