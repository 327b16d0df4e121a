"""The training loop on a miniature: what it draws from, what it writes, and that a killed run resumes to the bit."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch.nn.functional import binary_cross_entropy_with_logits

from calibration.commands.train_command import train_command
from calibration.errors import TrainingError
from calibration.learning import frames, train
from calibration.learning.frames import load_store
from calibration.learning.losses import dice_focal, segmentation_loss
from engines.errors import EngineUnavailable
from engines.network.unet import MultiTaskUNet
from engines.onnx.export import export_checkpoint
from engines.registry import load_engine
from tests.samples.training_data import SIDE, small_config
from tests.samples.training_runs import assert_equal, killed_at, stored

if TYPE_CHECKING:
    from pathlib import Path

    from calibration.learning.batch import Batch

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch that has ended; no test may change it."""
    out = tmp_path_factory.mktemp("trained") / "run"
    train.train(small_config(epochs=1), data=data, out=out)
    return out


def one_line(caught: pytest.ExceptionInfo[BaseException]) -> bool:
    return "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_run_leaves_what_it_says(data: Path, tmp_path: Path) -> None:
    config = small_config()
    last = train.train(config, data=data, out=tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "best.pt",
        "checkpoint.pt",
        "curves.png",
        "history.jsonl",
    ]
    rows = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[-1] == last
    assert {"segmentation", "plane", "w_seg", "w_plane", "dice_ps", "dice_fh", "plane_auc", "score"} <= rows[0].keys()
    for row in rows:
        assert row["w_seg"] + row["w_plane"] == pytest.approx(1.0)  # dynamic
        assert row["score"] == pytest.approx(0.35 * (row["dice_ps"] + row["dice_fh"]) + 0.3 * row["plane_auc"])
        assert {f"drawn/labelled/{name}" for name in ("dice_ps", "dice_fh")} <= row.keys()
        assert row["drawn/labelled/plane_auc"] is None
    curves = cv2.imread(str(tmp_path / "run" / "curves.png"))
    assert curves is not None
    assert curves.std() > 10

    checkpoint = stored(tmp_path / "run" / "checkpoint.pt")
    assert json.loads(checkpoint["config"])["seed"] == 3
    assert len(checkpoint["data_fingerprint"]) == 64
    assert {"torch", "numpy", "python"} <= checkpoint["versions"].keys()
    best = stored(tmp_path / "run" / "best.pt")
    assert best["scores"]["dice_fh"] == max(rows, key=lambda row: row["score"])["dice_fh"]


@pytest.mark.slow
def test_it_learns(data: Path) -> None:
    config = small_config(epochs=1, steps_per_epoch=60, learning_rate=2e-2, average=0.9, weighting="fixed")
    store = load_store(config.train, data, size=SIDE, seed=1)
    batch = store.draw(32, torch.Generator().manual_seed(1))
    run = train.new_training_run(config, CPU, None)

    def measured() -> tuple[float, float]:
        with torch.no_grad():
            logits, planes = run.network.train()(batch.images * 255)
        loss = segmentation_loss(logits, batch, dice_focal, synthetic_weight=0.9, segment_negatives=True)
        return loss.item(), binary_cross_entropy_with_logits(planes, batch.planes).item()

    masks_before, planes_before = measured()
    train.train_epoch(run, store, config, CPU, report=lambda **_: None)
    masks, planes = measured()
    # CPUs add in their own ways, and 60 steps carry that on: 0.50 to 0.55 and 0.65 to 0.67 were seen.
    assert masks < 0.7 * masks_before
    assert planes < 0.8 * planes_before
    moved = zip(run.average.parameters(), run.network.parameters(), strict=True)
    assert max((one - other).abs().max().item() for one, other in moved) > 1e-4  # the average lags behind


@pytest.mark.slow
@pytest.mark.usefixtures("no_curves")
@pytest.mark.parametrize(
    "changes",
    [
        {"average": 0.9, "refresh_batches": 2, "clip_norm": 1.0, "weighting": "uncertainty"},
        {"optimiser": "schedule_free", "precision": "float32", "segmentation_loss": "cross_entropy_dice"},
        {"optimiser": "schedule_free", "refresh_batches": 2, "late_classification": {"epoch": 1}},
    ],
    ids=["adamw", "schedule_free", "schedule_free_refreshed"],
)
def test_a_killed_run_resumes_to_the_bit(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    config = small_config(epochs=3, **changes)
    train.train(config, data=data, out=tmp_path / "unbroken")
    for step in (2, 5):  # before the first step of an epoch, and in the middle of one
        killed_at(step, monkeypatch, config, data=data, out=tmp_path / "killed")
        assert stored(tmp_path / "killed" / "checkpoint.pt")["state"]["epoch"] == step // 2
    train.train(config, data=data, out=tmp_path / "killed")
    for name in ("checkpoint.pt", "best.pt"):
        assert (tmp_path / "unbroken" / name).exists() == (tmp_path / "killed" / name).exists()
        if (tmp_path / "unbroken" / name).exists():
            assert_equal(stored(tmp_path / "unbroken" / name), stored(tmp_path / "killed" / name))
    assert len((tmp_path / "killed" / "history.jsonl").read_text().splitlines()) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("no_curves")
def test_a_run_killed_in_its_first_epoch_starts_anew(
    data: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(epochs=1)
    killed_at(1, monkeypatch, config, data=data, out=tmp_path / "killed")
    (tmp_path / "killed" / "checkpoint.pt.part").write_bytes(b"half a checkpoint")
    train.train(config, data=data, out=tmp_path / "killed")
    assert_equal(stored(tmp_path / "killed" / "checkpoint.pt"), stored(trained / "checkpoint.pt"))


def test_a_finished_run_is_not_run_again(data: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "train_epoch", None)
    (row,) = (trained / "history.jsonl").read_text().splitlines()
    assert train.train(small_config(epochs=1), data=data, out=trained) == json.loads(row)


@pytest.mark.slow
@pytest.mark.usefixtures("no_curves")
def test_kept_weights_are_the_schedule_free_average_and_not_where_gradients_are_taken(
    data: Path, tmp_path: Path
) -> None:
    config = small_config(optimiser="schedule_free", epochs=1, steps_per_epoch=6, learning_rate=0.05)
    train.train(config, data=data, out=tmp_path)
    checkpoint, best = stored(tmp_path / "checkpoint.pt"), stored(tmp_path / "best.pt")
    assert_equal(checkpoint["weights"], best["weights"])
    run = train.new_training_run(config, CPU, None)
    run.restore(checkpoint["state"])
    run.optimiser.train()  # type: ignore[attr-defined]
    differs = [not torch.equal(value, best["weights"][name]) for name, value in run.network.state_dict().items()]
    assert any(differs)


@pytest.mark.slow
@pytest.mark.usefixtures("no_curves")
def test_another_seed_gives_other_weights(data: Path, trained: Path, tmp_path: Path) -> None:
    train.train(small_config(epochs=1, seed=4), data=data, out=tmp_path)
    weights = [stored(out / "checkpoint.pt")["weights"]["segmentation_head.weight"] for out in (trained, tmp_path)]
    assert not torch.equal(*weights)


def test_a_run_starts_from_other_weights(trained: Path, tmp_path: Path) -> None:
    config = small_config(epochs=1)
    run = train.new_training_run(config, CPU, trained / "best.pt")
    assert_equal(dict(run.network.state_dict()), dict(stored(trained / "best.pt")["weights"]))
    other = small_config(network={"widths": [4, 12]})
    with pytest.raises(TrainingError, match=r"best\.pt: its weights are not those of this network") as caught:
        train.new_training_run(other, CPU, trained / "best.pt")
    assert one_line(caught)
    with pytest.raises(TrainingError, match=r"nowhere\.pt") as caught:
        train.new_training_run(config, CPU, tmp_path / "nowhere.pt")
    assert one_line(caught)


def test_a_folder_keeps_to_one_configuration_and_one_set_of_data(own_data: Path, trained: Path, tmp_path: Path) -> None:
    out = shutil.copytree(trained, tmp_path / "run")
    train.train(small_config(epochs=1), data=own_data, out=out)  # a copy is the same data
    with pytest.raises(TrainingError, match="another configuration"):
        train.train(small_config(epochs=1, batch=6), data=own_data, out=out)
    image = next((own_data / "drawn/train/images").iterdir())
    cv2.imwrite(str(image), 255 - np.asarray(cv2.imread(str(image), cv2.IMREAD_GRAYSCALE)))
    with pytest.raises(TrainingError, match="other data; give --out another folder"):
        train.train(small_config(epochs=1), data=own_data, out=out)


@pytest.mark.parametrize("damage", ["cut", "text", "tensor"])
def test_a_damaged_checkpoint_is_named(data: Path, trained: Path, tmp_path: Path, damage: str) -> None:
    out = shutil.copytree(trained, tmp_path / "run")
    path = out / "checkpoint.pt"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    elif damage == "text":
        path.write_text("no checkpoint")
    else:
        torch.save(torch.zeros(3), path)
    with pytest.raises(TrainingError, match=r"checkpoint\.pt: not a checkpoint") as caught:
        train.train(small_config(epochs=1), data=data, out=out)
    assert one_line(caught)


def test_a_loss_that_is_no_number_ends_the_run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return logits.sum() * float("nan")

    monkeypatch.setattr(train, "plane_loss", broken)
    with pytest.raises(TrainingError, match="step 0: the loss is nan"):
        train.train(small_config(), data=data, out=tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_gpu_that_is_not_there_is_not_replaced() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(EngineUnavailable, match="finds no GPU"):
        train.choose_device("cuda")
    assert train.choose_device("auto") == CPU


@pytest.mark.slow
def test_a_checkpoint_becomes_a_model_that_runs(trained: Path, tmp_path: Path) -> None:
    config = small_config(epochs=1)
    spec = export_checkpoint(trained / "best.pt", tmp_path / "model.onnx")
    assert (spec.name, spec.height, spec.training_data, spec.licence) == ("small", SIDE, "phantoms", "Apache-2.0")
    image = next(frame.image for frame in frames.phantoms(1, SIDE, 5))
    with load_engine(tmp_path / "model.onnx") as engine:
        prediction = engine.infer(image[None, None])
    network = MultiTaskUNet(**config.network).eval()
    network.load_state_dict(stored(trained / "best.pt")["weights"])
    with torch.inference_mode():
        class_logits, plane_logit = network(torch.from_numpy(image)[None, None])
    assert prediction.class_logits.shape == (1, 3, SIDE // 2, SIDE // 2)
    # The engine may compute in half precision.
    np.testing.assert_allclose(prediction.class_logits, class_logits, atol=0.02)
    np.testing.assert_allclose(prediction.plane_logit, plane_logit, atol=0.02)


VALIDATIONS = {
    "standard planes alone": """path = "drawn"
split = "val"
plane = "standard"
labelled = 1.0
""",
    "other planes alone": """path = "phantom:"
count = 2
negative = 1.0
""",
}
"""Of one class each: no AUC, and of other planes no Dice."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", VALIDATIONS)
def test_the_command_says_what_a_validation_of_one_class_can_say(own_data: Path, tmp_path: Path, kind: str) -> None:
    config = tmp_path / "one_class.toml"
    config.write_text(
        f"""name = "small"
size = {SIDE}
epochs = 1
steps_per_epoch = 1
batch = 2
device = "cpu"
learning_rate = 1e-3
warm_up_steps = 0
training_data = "phantoms"
licence = "Apache-2.0"
[network]
widths = [4, 8]
[[train]]
path = "drawn"
split = "train"
plane = "standard"
labelled = 1.0
[[validation]]
{VALIDATIONS[kind]}"""
    )
    words = [str(config), "--data", str(own_data), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(train_command, words)
    assert result.exit_code == 0, result.output
    said = " ".join(result.stderr.split())
    assert "done" in said
    assert "None" not in said
    assert ("dice_ps" in said) is (kind == "standard planes alone")
    assert "plane_auc" not in said
    row = json.loads((tmp_path / "run" / "history.jsonl").read_text().splitlines()[-1])
    assert row["plane_auc"] is None
