"""OpenVINO for throughput: two frames side by side say what one after the other do."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engines.errors import InferenceError
from engines.registry import load_engine
from engines.runtime import available_cores

if TYPE_CHECKING:
    from engines.base import Engine, Prediction


def test_answers_side_by_side_are_those_of_one_after_the_other() -> None:
    images = np.random.default_rng(4).integers(0, 255, (6, 1, 1, 256, 256), np.uint8)
    with (
        load_engine(backend="openvino", threads=2) as single,
        load_engine(backend="openvino", threads=2, throughput=True) as paired,
    ):
        assert (single.description.parallel, paired.description.parallel) == (1, 2)
        wanted = [single.infer(image) for image in images]
        found: list[Prediction | None] = [None] * len(images)

        def ask(first: int) -> None:
            for number in range(first, len(images), 2):
                found[number] = paired.infer(images[number])

        threads = [threading.Thread(target=ask, args=(first,)) for first in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    for one, other in zip(wanted, found, strict=True):
        assert other is not None
        for name, array in one.arrays.items():
            # Sums of a bfloat16 layer are cut otherwise for one core than for two: a step of that format.
            np.testing.assert_allclose(other.arrays[name], array, rtol=0.02, atol=0.02, err_msg=name)


def test_one_core_takes_one_frame_at_a_time() -> None:
    with load_engine(backend="openvino", threads=1, throughput=True) as engine:
        assert engine.description.parallel == 1


def test_closing_waits_for_the_calls_under_way_and_later_ones_are_told() -> None:
    engine: Engine = load_engine(backend="openvino", throughput=True)
    image = np.zeros((1, 1, 256, 256), np.uint8)
    errors: list[InferenceError] = []

    def ask() -> None:
        try:
            while True:
                engine.infer(image)
        except InferenceError as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    engine.infer(image)
    engine.close()
    for thread in threads:
        thread.join(60)
    assert len(errors) == 3
    assert all("closed already" in str(error) for error in errors)
    with pytest.raises(InferenceError, match="closed already"):
        engine.infer(image)
    assert engine.description.parallel <= available_cores()
