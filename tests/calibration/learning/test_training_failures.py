"""What ends a training from outside: each says what to do, and leaves nothing half written."""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from calibration.errors import TrainingError
from calibration.learning import checkpoint, folds
from calibration.learning.folds import FoldRun, train_folds

if TYPE_CHECKING:
    from pathlib import Path

STATE = {"schema": "x", "numbers": list(range(10_000))}


def test_a_disk_that_is_full_leaves_the_last_whole_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save_checkpoint(STATE, path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(TrainingError, match=r"checkpoint\.pt: cannot be written .*free space and start again"):
            checkpoint.save_checkpoint(STATE, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint.pt"]


WRITER = """
import sys
from pathlib import Path
from calibration.learning import checkpoint

with checkpoint.only_training_in(Path(sys.argv[1])):
    print("in", flush=True)
    while True:
        checkpoint.save_checkpoint({"schema": "x", "numbers": list(range(10000))}, Path(sys.argv[1]) / "checkpoint.pt")
"""


def test_a_training_that_is_killed_while_it_writes_leaves_a_whole_checkpoint_and_no_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        with (
            pytest.raises(TrainingError, match="another process trains there; wait for its end"),
            checkpoint.only_training_in(tmp_path),
        ):
            pytest.fail("both are in")
        while not (tmp_path / "checkpoint.pt").exists():
            assert process.poll() is None
        process.kill()
    assert checkpoint.read_checkpoint(tmp_path / "checkpoint.pt") == STATE
    with checkpoint.only_training_in(tmp_path):
        checkpoint.save_checkpoint(STATE, tmp_path / "checkpoint.pt")  # over what was left half written
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(TrainingError, match=r"file/mask-0: cannot be used .*give --out another folder"),
        checkpoint.only_training_in(tmp_path / "file" / "mask-0"),
    ):
        pytest.fail("it is in")


def test_a_fold_that_diverges_does_not_keep_the_others_from_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[str] = []

    def train(config: object, *, data: Path, out: Path) -> None:
        begun.append(out.name)
        if out.name in ("mask-1", "mask-3"):
            raise TrainingError("step 7: the loss is nan; lower learning_rate")

    monkeypatch.setattr(folds, "train", train)
    runs = [FoldRun("mask", fold) for fold in range(4)]
    with pytest.raises(TrainingError, match=r"mask-1 did not end \(and so mask-3\): step 7: the loss is nan; lower"):
        train_folds(runs, data=tmp_path, out=tmp_path, network="default.toml", refinement="refinement.toml")
    assert begun == ["mask-0", "mask-1", "mask-2", "mask-3"]
    assert "mask-3: step 7: the loss is nan" in capsys.readouterr().err
