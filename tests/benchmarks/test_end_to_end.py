"""The benchmark of the whole pipeline is tried itself: stalls show, schedules hold, verdicts are earned."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.commands.bench_command import bench_command
from benchmarks.errors import BenchError
from benchmarks.experiments.end_to_end import StreamOptions, bench_stream, log_histogram, percentiles
from benchmarks.experiments.peers import naive_angle
from benchmarks.experiments.roofline import Peaks, roofline
from benchmarks.reporting.compare import LEAST_REPEATS, Verdict, compare, read_result, verdict_of
from benchmarks.rig.schedule import ScheduledSource
from engines.backends.openvino import compiled_graph
from engines.errors import PartumError
from engines.onnx.cost import cost_of, matrix_product
from engines.registry import DEFAULT_INT8_MODEL, DEFAULT_MODEL
from stream.common.clock import ManualClock
from tests.fakes.doubles import DrawnSource, picture

if TYPE_CHECKING:
    from pathlib import Path

    from stream.frames.frame import Frame

PHANTOM = "phantom:?duration=3&size=128"


def test_frames_are_due_by_the_schedule_however_late_they_are_taken() -> None:
    clock = ManualClock(5_000)
    source = ScheduledSource(DrawnSource(20, clock=clock), rate_hz=50.0, count=12, clock=clock)
    frames: list[Frame] = []
    for frame in source:
        frames.append(frame)
        clock.advance(70_000_000 if frame.index == 3 else 1_000_000)  # a stall of three and a half periods
    due_ms = [(frame.captured_ns - frames[0].captured_ns) / 1e6 for frame in frames]
    assert due_ms == pytest.approx([20.0 * index for index in range(12)])
    assert [frame.pts_s for frame in frames] == pytest.approx([0.02 * index for index in range(12)])


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A short recording that every engine can run."""
    import av

    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    from stream.sources import open_source

    with open_source(PHANTOM) as source, av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 128
        for frame in source:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, format="gray")))
        container.mux(stream.encode())
    return str(path)


def test_a_stall_shows_in_the_frames_that_waited_for_it_and_nowhere_else() -> None:
    """A program that takes 10 ms a frame and stalls once, on a clock of its own."""
    clock = ManualClock(5_000)
    latency_ms = []
    for frame in ScheduledSource(DrawnSource(60, clock=clock), rate_hz=20.0, count=60, clock=clock):
        clock.advance(210_000_000 if frame.index == 30 else 10_000_000)
        latency_ms.append((clock.now_ns() - frame.captured_ns) / 1e6)
    behind = [210.0, 170.0, 130.0, 90.0, 50.0]  # what is 160 ms behind makes up 40 ms with each frame
    assert latency_ms == pytest.approx([10.0] * 30 + behind + [10.0] * 25)


@pytest.mark.slow
def test_a_run_counts_every_frame_and_shows_an_injected_stall(clip: str) -> None:
    # At every call: which of the frames are measured, and so which of several calls, depends on the machine's speed.
    options = StreamOptions(source=clip, rate_hz=50.0, frames=60, repeats=1, stall_ms=100.0, stall_every=1)
    found = bench_stream(options)
    (repeat,) = found["repeats"]
    assert sum(repeat["states"].values()) == 30  # the first half warms up
    assert found["frames_measured"] == 30 - repeat["states"]["dropped"]
    assert found["frames_measured"] > 0  # the newest frame is never dropped
    assert found["latency_ms"]["p50"] > 99.0  # a busy machine can only add to it
    assert found["stage_ms"]["infer"]["p50"] > 99.0
    assert repeat["in_time_share"] == 0.0
    assert all(times["p50"] <= found["latency_ms"]["max"] for times in found["stage_ms"].values())
    assert found["cpu_ms_per_frame_without_network"] > 0
    json.dumps(found, allow_nan=False)


def test_percentiles_and_histogram_count_every_frame() -> None:
    values = np.random.default_rng(1).lognormal(2, 0.6, 5000)
    found = percentiles(values)
    assert found["p50"] == pytest.approx(np.median(values), abs=1e-3)
    assert found["max"] == pytest.approx(values.max(), abs=1e-3)
    histogram = log_histogram(values)
    assert sum(histogram["counts"]) == 5000
    assert log_histogram(np.full(3, 2.0))["counts"][0] == 3


def repeats_of(values: list[float], start: float, step: float = 20.0) -> list[dict[str, Any]]:
    return [
        {"frames_per_second": value, "cpu_ms_per_frame": 1000 / value, "started_unix_s": start + number * step}
        for number, value in enumerate(values)
    ]


def result_of(repeats: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    return {
        "machine": {"processor": "x", "cores": 2},
        "busy": False,
        "results": {
            "options": {"source": "a", "rate_hz": None, "streams": 1, "frames": 600, **options},
            "repeats": repeats,
        },
    }


def test_a_verdict_needs_more_than_noise_and_repeats_in_turn() -> None:
    rng = np.random.default_rng(3)
    base = [100 + float(rng.normal(0, 1)) for _ in range(7)]
    same = [100 + float(rng.normal(0, 1)) for _ in range(7)]
    faster = [value * 1.1 for value in base]
    in_turn, others = repeats_of(base, 0), repeats_of(faster, 10)
    found, notes = compare(result_of(in_turn), result_of(others))
    assert {one.name: one.verdict for one in found} == {
        "frames per second": Verdict.FASTER,
        "CPU ms a frame": Verdict.FASTER,
    }
    assert notes == []
    assert found[0].ratio == pytest.approx(1.1, abs=1e-3)
    assert found[0].low <= found[0].ratio <= found[0].high
    back, _ = compare(result_of(others), result_of(in_turn))
    assert {one.verdict for one in back} == {Verdict.SLOWER}
    level, _ = compare(result_of(in_turn), result_of(repeats_of(same, 10)))
    assert {one.verdict for one in level} == {Verdict.UNDECIDED}
    slightly = [value * 1.045 for value in base]
    apart, notes = compare(result_of(in_turn), result_of(repeats_of(slightly, 5000)))
    assert {one.verdict for one in apart} == {Verdict.UNDECIDED}  # a machine that drifted could have made it
    assert "not made in turn" in notes[0]
    together, _ = compare(result_of(in_turn), result_of(repeats_of(slightly, 10)))
    assert {one.verdict for one in together} == {Verdict.FASTER}


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    good = result_of(repeats_of([100.0] * 5, 0))
    with pytest.raises(BenchError, match=f"{LEAST_REPEATS} repeats"):
        compare(good, result_of(repeats_of([100.0] * 2, 0)))
    _, notes = compare(good, result_of(repeats_of([100.0] * 5, 10), rate_hz=30.0))
    assert any("not the same run" in note for note in notes)
    path = tmp_path / "a.json"
    path.write_text("{}")
    with pytest.raises(BenchError, match="is no result of partum bench stream"):
        read_result(path)
    one = verdict_of("x", [1.0, 1.0, 1.0], [2.0, 2.0, 2.0], more_is_better=False, margin=0.01)
    assert (one.ratio, one.low, one.high, one.verdict) == (2.0, 2.0, 2.0, Verdict.SLOWER)


@pytest.mark.slow
def test_the_command_writes_json_table_and_picture_and_adds_to_them(clip: str, tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    words = ["stream", clip, "--rate", "100", "--frames", "100", "--repeats", "3", "--out", str(out)]
    for more in ([], ["--append", "--streams", "2"]):
        found = CliRunner().invoke(bench_command, [*words, *more], catch_exceptions=False)
        assert found.exit_code == 0, found.output
    content = json.loads(out.read_text())
    assert len(content["results"]["repeats"]) == 6
    assert content["results"]["capacity"]["tried"][0]["streams"] == 1
    assert content["machine"]["cores"] >= 1
    table = out.with_suffix(".md").read_text()
    assert "latency from scheduled arrival" in table
    assert "Research use only" in table
    assert out.with_suffix(".png").stat().st_size > 10_000
    compared = CliRunner().invoke(bench_command, ["compare", str(out), str(out)], catch_exceptions=False)
    assert compared.exit_code == 0
    assert compared.output.count("undecided") == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"), [(["--asap", "--streams", "2"], "give --rate"), (["--append"], "name it"), ([], "no such file")]
)
def test_what_cannot_be_benched_is_said(words: list[str], said: str) -> None:
    found = CliRunner().invoke(bench_command, ["stream", "no-such-clip.mp4", *words])
    assert isinstance(found.exception, PartumError)
    assert said in str(found.exception)


def test_operations_are_counted_from_the_graph() -> None:
    side = 64
    assert cost_of(matrix_product(side)).operations == 2 * side**3
    assert cost_of(matrix_product(side)).weight_bytes == 4 * side**2
    plain, quantised = cost_of(DEFAULT_MODEL.read_bytes()), cost_of(DEFAULT_INT8_MODEL.read_bytes())
    assert quantised.operations == plain.operations
    assert 1e9 < plain.operations < 2e10
    assert quantised.weight_bytes < plain.weight_bytes
    assert quantised.activation_bytes < 0.7 * plain.activation_bytes
    for is_int8 in (False, True):
        compiled_graph(matrix_product(side, int8=is_int8), "int8" if is_int8 else "fp32")()


def test_the_roofline_is_the_larger_of_arithmetic_and_memory() -> None:
    content = matrix_product(512)
    arithmetic = roofline(content, "fp32", 10.0, Peaks(operations_per_s={"fp32": 1e9}, bytes_per_s=1e12))
    memory = roofline(content, "fp32", 10.0, Peaks(operations_per_s={"fp32": 1e15}, bytes_per_s=1e9))
    assert arithmetic is not None
    assert memory is not None
    assert (arithmetic["limited_by"], memory["limited_by"]) == ("arithmetic", "memory")
    assert arithmetic["compute_limit_ms"] == pytest.approx(2 * 512**3 / 1e9 * 1e3, rel=1e-3)
    assert arithmetic["share_of_limit"] == pytest.approx(arithmetic["compute_limit_ms"] / 10.0, rel=1e-3)
    assert roofline(content, "bf16", 10.0, Peaks(operations_per_s={"fp32": 1e9}, bytes_per_s=1e9)) is None


def test_the_naive_loop_measures_what_it_sees() -> None:
    grey = picture(62.0)
    labels = np.where(grey == 120, 1, np.where(grey == 220, 2, 0)).astype(np.uint8)
    from stream.measurement.protocols import measure

    reference = measure(labels).aop_deg
    assert reference is not None
    assert naive_angle(labels) == pytest.approx(reference, abs=12.0)
    assert naive_angle(np.zeros((64, 64), np.uint8)) is None
