"""The loops beside which the pipeline is measured do their work, and a result says what its machine was kept to."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.experiments.peers import naive_loop, supervision_loop
from benchmarks.reporting.environment import ISA_LIMITS, describe_machine
from engines.registry import DEFAULT_INT8_MODEL
from tests.fakes.doubles import FH_GREY, OTHER_GREY, PS_GREY, SIDE_PX, picture

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of a PS and a head in flat grey."""
    import av

    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width = stream.height = SIDE_PX
        for _ in range(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(), format="gray")))
        container.mux(stream.encode())
    return path


def by_grey_level(image: NDArray[np.float32]) -> NDArray[np.float32]:
    centres = np.array([OTHER_GREY, PS_GREY, FH_GREY], np.float32)[None, :, None, None] / 255
    return np.asarray(-np.abs(image - centres), np.float32)


def test_the_naive_loop_reads_on_from_the_start_and_measures_every_frame(clip: Path) -> None:
    took_s, angles = naive_loop(clip, by_grey_level, SIDE_PX, 9)
    assert took_s > 0
    assert len(angles) == 9
    assert all(angle is not None and angle == pytest.approx(angles[0], abs=1.0) for angle in angles)


def test_supervisions_loop_reads_on_from_the_start(clip: Path) -> None:
    pytest.importorskip("supervision")
    calls = []

    def segment(image: NDArray[np.float32]) -> NDArray[np.float32]:
        calls.append(image.shape)
        return by_grey_level(image)

    assert supervision_loop(clip, segment, SIDE_PX, 9) > 0
    assert calls == [(1, 1, SIDE_PX, SIDE_PX)] * 9


def test_a_result_says_what_its_machine_was_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ISA_LIMITS:
        monkeypatch.delenv(name, raising=False)
    assert describe_machine()["instructions"]["limited_to"] == {}  # type: ignore[index]
    monkeypatch.setenv("OV_CPU_MAX_ISA", "AVX2")
    assert describe_machine()["instructions"]["limited_to"] == {"OV_CPU_MAX_ISA": "AVX2"}  # type: ignore[index]


KERNELS = """
import sys
from engines.backends.openvino import import_openvino
core = import_openvino().Core()
graph = core.read_model(sys.argv[1])
graph.reshape((1, 1, 256, 256))
layers = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).get_runtime_model().get_ops()
print(*{layer.get_rt_info()["primitiveType"].astype(str) for layer in layers})
"""


@pytest.mark.slow
def test_openvino_and_its_onednn_heed_the_limit() -> None:
    """What the rows marked AVX2 rest on: no kernel of a newer processor is left."""
    limits = {"OV_CPU_MAX_ISA": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    ran = subprocess.run(
        [sys.executable, "-c", KERNELS, str(DEFAULT_INT8_MODEL)],
        env=os.environ | limits,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "avx2" in ran.stdout
    assert "avx512" not in ran.stdout
    assert "vnni" not in ran.stdout
