"""What the documents say is so: examples run, links lead somewhere, numbers are those of the result files."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from engines.registry import DEFAULT_MODEL
from tests.conftest import REPOSITORY

README = REPOSITORY / "README.md"
MODEL_CARD = DEFAULT_MODEL.parent / "MODEL_CARD.md"
RESULTS = REPOSITORY / "benchmarks" / "results"


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


def test_the_model_card_and_the_accuracy_are_of_the_model_that_ships() -> None:
    digest = hashlib.sha256(DEFAULT_MODEL.read_bytes()).hexdigest()
    assert digest in MODEL_CARD.read_text()
    assert str(results_of("accuracy")["model_sha256"]) == digest
    assert DEFAULT_MODEL.stat().st_size <= 8_000_000


def test_the_numbers_of_the_documents_are_those_of_the_result_files() -> None:
    accuracy = results_of("accuracy")["psfhs_val"]
    for document in (README, MODEL_CARD):
        text = document.read_text()
        for structure in ("dice_ps", "dice_fh"):
            assert f"{accuracy[structure]['mean']:.3f}" in text
        error = accuracy["aop_abs_error_deg"]["robust"]
        assert isinstance(error, dict)
        for statistic in ("mean", "median", "p95"):
            assert f"{error[statistic]:.1f}" in text
    parts = results_of("components")
    (openvino,) = (ms for name, ms in parts["engine_ms_batch_1"].items() if name.startswith("openvino"))
    assert f"OpenVINO {float(str(openvino)):.1f} ms" in README.read_text()
    assert f"{float(str(parts['phantom_fps_512'])):.0f} frames per second" in README.read_text()
    assert float(str(accuracy["mean_dice"])) >= 0.92
