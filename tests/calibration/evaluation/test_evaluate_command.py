"""`partum evaluate` with the model that ships: its files, its table against the pipeline, and what stops it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from calibration.commands.evaluate_command import evaluate_command
from calibration.errors import DataSetError
from calibration.evaluation.metrics import dice
from calibration.evaluation.report import FILES, SCHEMA
from engines.errors import ModelNotFound, RemoteError
from stream.app.commands.measure_command import measure_command
from stream.common.errors import OptionError, OutputError
from stream.frames.frame import Frame
from stream.inference.engine_trial import load_judged_engine
from stream.inference.frame_analyzer import FrameAnalyzer, infer_frame
from stream.measurement.protocols import PROTOCOLS, measure
from stream.phantom.render import render
from stream.phantom.sample import sample_scene
from stream.phantom.truth import scene_masks
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from numpy.typing import NDArray

STANDARD = 5
OTHER = 2
SIDE_PX = 200
"""Not the network's size, so that masks must be brought back to it."""


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "per_image.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def grey(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return np.asarray(image, dtype=np.uint8)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain folder of simulated frames with exact masks, some of them no standard plane."""
    root = tmp_path_factory.mktemp("phantoms")
    for name in ("images", "masks"):
        (root / name).mkdir()
    rows = ["name,label"]
    for index in range(STANDARD + OTHER):
        rng = np.random.default_rng([5, index])
        scene = sample_scene(rng, standard=index < STANDARD, mirrored=False)
        cv2.imwrite(str(root / "images" / f"scan{index}.png"), render(scene, rng, SIDE_PX))
        cv2.imwrite(str(root / "masks" / f"scan{index}.png"), scene_masks(scene, SIDE_PX))
        rows.append(f"scan{index},{'standard' if index < STANDARD else 'none'}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def run(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """The command, once, with the model that ships."""
    out = tmp_path_factory.mktemp("evaluation") / "made" / "here"
    return _run(phantoms, "--out", out), out


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(evaluate_command, [str(argument) for argument in arguments])


@pytest.mark.slow
def test_all_files_are_there_and_nothing_half_written(run: tuple[Result, Path]) -> None:
    result, out = run
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    assert not list(out.rglob("*.part"))
    for name in ("cases.png", "agreement.png"):
        assert min(grey(out / name).shape[:2]) > 300
    assert "Dice PS" in result.stderr
    assert "Research use only" in result.stderr


def test_masks_have_the_images_names_and_sizes_and_can_be_measured(
    run: tuple[Result, Path], phantoms: Path, tmp_path: Path
) -> None:
    _, out = run
    images = sorted((phantoms / "images").iterdir())
    masks = sorted((out / "masks").iterdir())
    assert [path.name for path in masks] == [path.name for path in images]
    assert all(grey(mask).shape == (SIDE_PX, SIDE_PX) for mask in masks)
    assert set().union(*(set(np.unique(grey(mask)).tolist()) for mask in masks)) == {0, 1, 2}
    measured = CliRunner().invoke(measure_command, [str(out / "masks"), "--out", str(tmp_path / "aop.csv")])
    assert measured.exit_code == 0, measured.output


@pytest.mark.slow
def test_the_table_agrees_with_the_masks_and_with_the_pipeline(run: tuple[Result, Path], phantoms: Path) -> None:
    _, out = run
    rows = {row["name"]: row for row in table(out)}
    assert list(rows) == [f"scan{index}" for index in range(STANDARD + OTHER)]
    with load_judged_engine() as engine:  # the one that the command takes here
        for name, row in rows.items():
            image, truth = grey(phantoms / "images" / f"{name}.png"), grey(phantoms / "masks" / f"{name}.png")
            found = grey(out / "masks" / f"{name}.png")
            if (truth == 2).any():
                assert float(row["fh_dice"]) == pytest.approx(dice(found == 2, truth == 2), abs=1e-6)
            frame = Frame(image=image, index=0, pts=0, time_base=Fraction(1, 25), captured_ns=0)
            letterbox, prediction = infer_frame(engine, frame)
            for protocol in PROTOCOLS:
                analyzer = FrameAnalyzer.of(engine.spec, protocol=protocol)
                reading = analyzer.analyze(frame, letterbox, prediction)
                expected = measure(truth, protocol=protocol)
                assert row[f"{protocol}_gated_reason"] == (reading.biometry.reason or "")
                assert row[f"{protocol}_true_reason"] == (expected.reason or "")
                assert float(row["plane_probability"]) == pytest.approx(reading.plane_probability, abs=1e-5)
                if reading.biometry.aop_deg is not None and expected.aop_deg is not None:
                    error = reading.biometry.aop_deg - expected.aop_deg
                    assert float(row[f"{protocol}_aop_error_deg"]) == pytest.approx(error, abs=1e-3)


def test_the_summary_is_that_of_the_table(run: tuple[Result, Path]) -> None:
    _, out = run
    content = json.loads((out / "metrics.json").read_text())
    rows, overall = table(out), content["overall"]
    assert content["schema"] == SCHEMA
    assert "Research use only" in content["notice"]
    assert len(content["model"]["sha256"]) == 64
    assert content["versions"]["numpy"] == np.__version__
    assert overall["frames"] == len(rows) == STANDARD + OTHER
    dices = [float(row["all_dice"]) for row in rows if row["all_dice"]]
    assert overall["segmentation"]["all"]["dice"]["mean"] == pytest.approx(np.mean(dices), abs=1e-4)
    assert overall["segmentation"]["all"]["dice"]["n"] == len(dices)
    low, high = overall["segmentation"]["all"]["dice"]["mean_ci95"]
    assert low <= np.mean(dices) <= high
    for protocol in PROTOCOLS:
        errors = [float(row[f"{protocol}_aop_error_deg"]) for row in rows if row[f"{protocol}_aop_error_deg"]]
        found = overall["protocols"][protocol]["ungated"]
        assert found["measured"] == len(errors) > 0
        assert found["aop_deg"]["absolute_error"]["mean"] == pytest.approx(np.abs(errors).mean(), abs=1e-4)
        assert found["aop_deg"]["bland_altman"]["bias"] == pytest.approx(np.mean(errors), abs=1e-4)
        reasons = Counter(row[f"{protocol}_reason"] for row in rows if not row[f"{protocol}_true_reason"])
        assert found["refused"] == {name: count for name, count in reasons.items() if name}
    assert overall["protocols"]["fhps2023"]["ungated"]["hsd_min"] == {
        "reason": "no frame has both the true and the measured value"
    }
    planes = overall["planes"]
    assert planes["true_positive"] + planes["false_negative"] == STANDARD
    assert planes["false_positive"] + planes["true_negative"] == OTHER
    assert content["by_split"] == content["by_look"] == {}


def test_the_shipped_model_reads_phantoms(run: tuple[Result, Path]) -> None:
    overall = json.loads((run[1] / "metrics.json").read_text())["overall"]
    assert overall["segmentation"]["fh"]["dice"]["mean"] > 0.85
    assert overall["planes"]["auc"] > 0.8


def test_results_are_kept_apart_from_the_data_before_an_engine_is_loaded(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.inference.engine_trial.load_judged_engine", None)
    before = sorted(path for path in phantoms.rglob("*"))
    for out in (phantoms, phantoms / "masks", phantoms / "results"):
        assert isinstance(_run(phantoms, "--out", out).exception, OptionError)
    assert isinstance(_run(phantoms / "masks", "--out", phantoms).exception, OptionError)
    assert sorted(path for path in phantoms.rglob("*")) == before
    file = tmp_path / "file"
    file.write_text("mine")
    result = _run(phantoms, "--out", file)
    assert isinstance(result.exception, OutputError)
    assert str(file) in str(result.exception)
    assert file.read_text() == "mine"


def test_bad_input_has_one_typed_error(phantoms: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert isinstance(_run(tmp_path / "nothing", "--out", out).exception, DataSetError)
    assert isinstance(_run(phantoms, "--out", out, "--model", tmp_path / "no.onnx").exception, ModelNotFound)
    assert isinstance(_run(phantoms, "--out", out, "--layout", "jnu_ifm").exception, DataSetError)
    assert isinstance(_run(phantoms, "--out", out, "--split", "val").exception, OptionError)
    for wrong in (["--layout", "coco"], ["--backend", "abacus"], ["--orientation", "up"]):
        assert _run(phantoms, "--out", out, *wrong).exit_code == 2
    assert _run(phantoms).exit_code == 2
    assert _run(phantoms, "--out", "").exit_code == 2
    assert not out.exists()


@pytest.mark.slow
def test_the_command_needs_no_torch() -> None:
    probe = (
        "import sys, calibration.commands.evaluate_command, calibration.evaluation.evaluate\n"
        "print([name for name in ('torch', 'scipy', 'SimpleITK', 'openvino') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.slow
def test_psfhs_val_by_the_command(shared_data: Path, tmp_path: Path) -> None:
    """Three real frames, by the layout they were published in."""
    folder = tmp_path / "val"
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
        for path in sorted((shared_data / "psfhs" / "val" / kind).glob("*.png"))[:3]:
            (folder / kind / path.name).write_bytes(path.read_bytes())
    result = _run(folder, "--out", tmp_path / "out", "--backend", "openvino")
    assert result.exit_code == 0, result.output
    overall = json.loads((tmp_path / "out" / "metrics.json").read_text())["overall"]
    assert overall["segmentation"]["all"]["dice"]["mean"] > 0.9
    assert overall["planes"]["reason"] == "no frame has a plane label"


@pytest.mark.slow
def test_a_mirrored_data_set_is_evaluated_too_without_being_told(phantoms: Path, tmp_path: Path) -> None:
    mirrored = shutil.copytree(phantoms, tmp_path / "mirrored")
    for path in (*(mirrored / "images").iterdir(), *(mirrored / "masks").iterdir()):
        cv2.imwrite(str(path), grey(path)[:, ::-1])
    result = CliRunner().invoke(evaluate_command, [str(mirrored), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.exception
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["orientation_of_truth"]
    assert found["log_odds"] < 0
    rows = table(tmp_path / "out")
    assert {row["iugc2024_aop_true_deg"] for row in rows} == {""} or found["read_as"] is None
    assert all(float(row["normal_log_odds_true"]) < 0 for row in rows if row["normal_log_odds_true"])


def test_a_file_whose_name_is_no_text_is_named_before_anything_runs(phantoms: Path, tmp_path: Path) -> None:
    odd = shutil.copytree(phantoms, tmp_path / "odd")
    for folder in ("images", "masks"):
        first = sorted((odd / folder).iterdir())[0]
        first.rename(Path(os.fsdecode(os.fsencode(str(odd / folder)) + b"/\xff.png")))
    (odd / "labels.csv").unlink(missing_ok=True)
    with pytest.raises(DataSetError, match=r"\\udcff.* is no text in UTF-8; rename the file"):
        raise CliRunner().invoke(evaluate_command, [str(odd), "--out", str(tmp_path / "out")]).exception or RuntimeError


def test_a_model_on_a_server_may_be_evaluated(phantoms: Path, tmp_path: Path) -> None:
    words = [str(phantoms), "--out", str(tmp_path / "out"), "--model", "triton://127.0.0.1:1/net?patience=0.2"]
    with pytest.raises(RemoteError, match="no answer"):
        raise CliRunner().invoke(evaluate_command, words).exception or RuntimeError
