"""What the documents say is so: examples run, links lead somewhere, numbers are those of the result files."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from engines.onnx.model_file import read_model_file
from engines.registry import DEFAULT_INT8_MODEL, DEFAULT_MODEL, DEFAULT_SIGNED_MODEL
from tests.conftest import REPOSITORY

README = REPOSITORY / "README.md"
MODEL_CARD = DEFAULT_MODEL.parent / "MODEL_CARD.md"
RESULTS = REPOSITORY / "benchmarks" / "results"
SHIPPED = (DEFAULT_MODEL, DEFAULT_INT8_MODEL, DEFAULT_SIGNED_MODEL)


def words_of(document: Path) -> str:
    """The document's words, wherever its lines break."""
    return " ".join(document.read_text().split())


def results_of(name: str) -> dict[str, dict[str, dict[str, object]]]:
    found: dict[str, dict[str, dict[str, object]]] = json.loads((RESULTS / f"{name}.json").read_text())["results"]
    return found


def test_the_python_example_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 30
    assert any("AoP" in line for line in lines)


@pytest.mark.parametrize(
    "document", [README, MODEL_CARD, REPOSITORY / "stream" / "DATA_DICTIONARY.md"], ids=lambda path: path.name
)
def test_links_to_files_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#][^)]*)\)", document.read_text())
    assert links
    for link in links:
        assert (document.parent / link).exists(), link


def validation() -> dict[str, Any]:
    """What `partum evaluate` said of longer.toml's model on PSFHS val."""
    found: dict[str, Any] = json.loads((RESULTS / "psfhs_val.json").read_text())
    return found


def test_the_readme_says_the_figures_of_the_grouped_folds() -> None:
    found = json.loads((RESULTS / "cross_validation.json").read_text())
    mask, look, both = (found[f"axis of {what}"]["errors"] for what in ("the mask", "the second look", "both"))
    means = [f"{errors['all']['mean']:.1f}" for errors in (mask, look, both)]
    said = (
        f"errs by {means[0]} degrees (`fhps2023`), the second look's by {means[1]} and the joint one by {means[2]},"
        f" {both['>=140']['mean']:.1f} where AoP is 140 and more"
    )
    assert said in words_of(README)


def test_the_model_card_and_the_results_are_of_the_model_that_ships_and_of_the_one_before_it() -> None:
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in SHIPPED]
    for digest in digests:
        assert digest in MODEL_CARD.read_text()
    assert str(results_of("accuracy")["model_sha256"]) == digests[1]
    assert max(path.stat().st_size for path in SHIPPED) <= 8_000_000
    assert validation()["model"]["sha256"] in MODEL_CARD.read_text()
    assert validation()["model"]["sha256"] not in digests  # the one that ships has learned from those frames


@pytest.mark.parametrize("path", [DEFAULT_INT8_MODEL, DEFAULT_SIGNED_MODEL], ids=lambda path: path.name)
def test_a_quantised_model_is_of_the_one_beside_it_and_was_accepted(path: Path) -> None:
    facts = json.loads(path.with_suffix(".json").read_text())
    assert facts["float_model_sha256"] == hashlib.sha256(DEFAULT_MODEL.read_bytes()).hexdigest()
    assert facts["acceptance"]["accepted"]
    spec = read_model_file(path).spec
    assert (spec.made_from, spec.mark) == (facts["float_model_sha256"], "")
    assert spec.plane_threshold == pytest.approx(facts["plane_threshold"])


def test_what_is_said_of_the_quantised_masks_is_what_was_measured() -> None:
    quantised = json.loads((RESULTS / "psfhs_val_int8.json").read_text())["overall"]
    dice = [f"{quantised['segmentation'][region]['dice']['mean']:.3f}" for region in ("ps", "fh")]
    assert f"Dice PS {dice[0]} and FH {dice[1]}" in words_of(README)


@pytest.mark.parametrize("document", [README, MODEL_CARD], ids=lambda path: path.name)
def test_what_is_said_of_masks_is_what_was_measured(document: Path) -> None:
    looks = {f"look {name}": part for name, part in validation()["by_look"].items()}
    for name, part in ({"all": validation()["overall"]} | looks).items():
        dice = [f"{part['segmentation'][region]['dice']['mean']:.3f}" for region in ("ps", "fh", "all")]
        assert f"| {name} | {part['frames']} | {' | '.join(dice)} |" in document.read_text()
    assert validation()["overall"]["segmentation"]["ps"]["dice"]["mean"] >= 0.93


def test_what_is_said_of_angles_is_what_was_measured() -> None:
    for protocol, found in validation()["overall"]["protocols"].items():
        error = found["ungated"]["aop_deg"]["absolute_error"]
        numbers = [f"{error[statistic]:.1f}" for statistic in ("mean", "median", "p95")]
        measured = f"{found['ungated']['measured']} of {validation()['overall']['frames']}"
        assert f"| `{protocol}` | {' | '.join(numbers)} | {measured} |" in MODEL_CARD.read_text()
        assert f"`{protocol}` {' / '.join(numbers)} degrees" in words_of(README)


@pytest.mark.parametrize("document", [README, MODEL_CARD], ids=lambda path: path.name)
def test_what_is_said_of_recordings_is_what_was_measured(document: Path) -> None:
    found = list(results_of("accuracy")["simulated_recordings"].values())
    bias = [float(str(each["aop_bias_deg"])) for each in found if isinstance(each, dict)]
    covered = [100 * float(str(each["interval_coverage"])) for each in found if isinstance(each, dict)]
    assert len(bias) == 8
    assert f"{min(bias):+.1f} to {max(bias):+.1f} degrees" in words_of(document)
    assert f"{min(covered):.0f} to {max(covered):.0f} %" in words_of(document)


def test_what_is_said_of_the_plane_gate_is_what_was_measured() -> None:
    accuracy = results_of("accuracy")
    assert f"AUC {float(str(accuracy['plane_auc_on_held_out_planes'])):.2f}" in words_of(MODEL_CARD)
    for kind, found in accuracy["plane_gate_on_held_out_frames"].items():
        assert isinstance(found, dict)
        row = f"| {kind} | {found['frames']} | {found['called_standard']} | {found['measured']} |"
        assert row in MODEL_CARD.read_text()


def test_what_is_said_of_speed_is_what_was_measured() -> None:
    parts = results_of("components")
    fastest = float(str(parts["engine_ms_batch_1"]["openvino int8 CPU"]))
    assert f"OpenVINO {fastest:.1f} ms in INT8" in words_of(README)
    assert fastest <= 10.0
    off_plane = float(str(parts["early_exit_ms"]["early exit, other planes"]))
    assert f"{off_plane:.1f} ms off them" in words_of(README)
    assert f"{float(str(parts['phantom_fps_512'])):.0f} frames per second" in words_of(README)


@pytest.mark.parametrize("study", ["weak_supervision", "weighting", "generalisation"])
def test_the_tables_of_the_studies_are_those_their_commands_wrote(study: str) -> None:
    table = [line for line in (RESULTS / f"{study}.md").read_text().splitlines() if line.startswith("|")]
    assert len(table) > 2
    assert "\n".join(table) in README.read_text()


def test_what_is_said_of_live_feeds_is_what_was_measured() -> None:
    for name, found in results_of("live").items():
        if name.startswith("OpenIGTLink"):
            assert f"| {float(str(found['p50'])):.1f} / {float(str(found['p95'])):.1f} ms | |" in README.read_text()
            assert float(str(found["p99"])) <= 5.0
            continue
        ages = [
            " / ".join(f"{found[when][share]:.0f}" for share in ("p50", "p95")) for when in ("read_ms", "measured_ms")
        ]
        assert f"| {name} | {ages[0]} ms | {ages[1]} ms |" in README.read_text()


def test_what_is_said_of_the_bench_is_what_it_measured() -> None:
    found = json.loads((RESULTS / "bench_model.json").read_text())
    latency = found["engines"]["openvino int8 CPU"]["latency_ms"]
    assert not found["busy"]
    assert f"{latency['p50']:.1f} ms (99th percentile {latency['p99']:.1f}) a frame" in words_of(README)
    assert latency["p50"] <= 10.0
    for name in ("int8", "bf16"):
        share = found["engines"][f"openvino {name} CPU"]["roofline"]["share_of_limit"]
        assert f"{share:.0%} " in words_of(README)


def test_what_is_said_of_the_whole_pipeline_is_what_was_measured() -> None:
    asap, *paced = (results_of(f"stream_{name}") for name in ("asap", "30hz", "60hz"))
    assert f"| {float(str(asap['frames_per_second'])):.0f} | | none |" in README.read_text()
    spent = [float(str(asap[key])) for key in ("cpu_ms_per_frame", "cpu_ms_per_frame_without_network")]
    assert f"costs {spent[0]:.0f} ms of CPU time, {spent[1]:.1f} of them outside the network" in words_of(README)
    for found in paced:
        latency = found["latency_ms"]
        numbers = " / ".join(f"{float(str(latency[share])):.1f}" for share in ("p50", "p99", "p99.9"))
        assert f"| {numbers} |" in README.read_text()
    assert not any(json.loads(path.read_text())["busy"] for path in RESULTS.glob("stream_*.json"))


def test_what_is_said_of_memory_is_what_was_measured() -> None:
    found: Any = results_of("stream_100k")
    (repeat,) = found["repeats"]
    assert sum(repeat["states"].values()) > 99_000
    first, *_, last = repeat["resident_mb_by_tenths"]
    assert f"memory goes from {first:.0f} to {last:.0f} MiB" in words_of(README)
    assert last < 1.02 * first


def test_what_is_said_of_the_peers_is_what_was_measured() -> None:
    found = results_of("peers")
    for name, times in found["times_as_fast_as"].items():
        rate = float(str(found["frames_per_second"][name]))
        assert f"| {name} | {rate:.1f} | {float(str(times)):.1f} |" in README.read_text()
