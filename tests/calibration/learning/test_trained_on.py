"""A model says which frames it was trained on: from training to evaluation, small, and by content."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from calibration.data import open_dataset
from calibration.data.groups import thumbnail, thumbnails
from calibration.data.training_frames import TrainingFrames, join_signatures, pack_signatures, unpack_signatures
from calibration.errors import DataSetError
from calibration.evaluation.evaluate import EvaluationOptions, run_evaluation, summary_lines, training_frames_of
from calibration.learning.train import train
from engines.errors import ModelMismatch
from engines.onnx.export import export_checkpoint
from engines.onnx.model_file import read_model_file
from engines.onnx.training_frames import find_training_frames, read_signatures, write_training_frames
from engines.registry import DEFAULT_INT8_MODEL, DEFAULT_MODEL, WEIGHTS, load_engine
from tests.samples.training_data import SIDE, small_config, write_masks, write_pictures

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.usefixtures("one_thread", "no_curves")


def textured(seed: int, size: int = 64) -> NDArray[np.uint8]:
    """A picture like no other: smooth blobs."""
    noise = np.random.default_rng(seed).normal(size=(size // 8, size // 8)).astype(np.float32)
    smooth = cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(128 + 60 * smooth, 0, 255), np.uint8)


def test_signatures_know_a_frame_and_its_like_and_no_other() -> None:
    frames = [textured(seed) for seed in range(60)]
    text = pack_signatures(thumbnails(frames))
    assert len(text) < 60 * 250  # bytes a frame
    learned = TrainingFrames(text)
    assert len(learned) == 60
    for frame in frames:
        assert learned.holds(frame)
        assert learned.holds(frame // 2)
        assert learned.holds(np.ascontiguousarray(frame[:, ::-1]))
        assert learned.holds(np.pad(frame, ((0, 0), (16, 16))))
        assert learned.holds(cv2.resize(frame, (90, 80)).astype(np.uint8))
        coded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
        assert learned.holds(np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8))
        assert not learned.holds(255 - frame)
    assert not any(learned.holds(textured(seed)) for seed in range(100, 160))
    assert not learned.holds(np.full((64, 64), 9, np.uint8))


def test_rounding_costs_little_and_flat_frames_stay_like_nothing() -> None:
    shown = thumbnails([*(textured(seed) for seed in range(20)), np.zeros((9, 9), np.uint8)])
    back = unpack_signatures(pack_signatures(shown))
    best = (shown @ back.T).max(axis=1)
    assert best[:20].min() > 0.99
    assert best[20] == 0.0
    assert (
        len(unpack_signatures(join_signatures(pack_signatures(shown[:5]), pack_signatures(shown[3:9])))) == 9
    )  # what both hold, once
    assert len(TrainingFrames(pack_signatures(thumbnails([])))) == 0


@pytest.mark.parametrize("text", ["", "no base64!", "aGVsbG8=", "eJwDAAAAAAE="])
def test_damaged_signatures_are_named(text: str) -> None:
    if text == "eJwDAAAAAAE=":  # sound, and nothing in it
        assert len(TrainingFrames(text)) == 0
        return
    with pytest.raises(DataSetError, match="are damaged"):
        TrainingFrames(text)


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained for a moment on `drawn/train`, `bare` and `other`."""
    run = tmp_path_factory.mktemp("run")
    train(small_config(epochs=1, steps_per_epoch=1), data=data, out=run)
    export_checkpoint(run / "checkpoint.pt", run / "model.onnx")
    return run / "model.onnx"


@pytest.mark.slow
def test_what_is_trained_says_what_it_was_trained_on(model: Path, data: Path) -> None:
    path = find_training_frames(read_model_file(model).spec, model.parent)
    assert path == model.with_name("model.seen.json")
    learned = TrainingFrames(read_signatures(path))
    assert json.loads(path.read_text())["frames"] == len(learned)
    for part in ("drawn/train", "other"):  # one of `bare` has a weight of 0
        frames = list(open_dataset(data / part).frames())
        assert all(learned.holds(frame.image) for frame in frames), part
    exact = {thumbnail(frame.image).tobytes() for frame in open_dataset(data / "drawn/val").frames()}
    assert not exact & {row.tobytes() for row in unpack_signatures(read_signatures(path))}


@pytest.mark.slow
def test_a_run_that_starts_from_another_has_seen_its_frames_too(data: Path, tmp_path: Path) -> None:
    first = small_config(epochs=1, steps_per_epoch=1, name="first")
    train(first, data=data, out=tmp_path / "first")
    alone = [{"path": "drawn", "split": "val", "plane": "standard", "labelled": 1.0}]
    judged = [{"path": "phantom:", "count": 2, "negative": 1.0}]
    second = small_config(epochs=1, steps_per_epoch=1, train=alone, validation=judged)
    for start, part, seen in ((None, "other", False), (tmp_path / "first" / "checkpoint.pt", "other", True)):
        out = tmp_path / f"second-{seen}"
        train(second, data=data, out=out, start=start)
        export_checkpoint(out / "checkpoint.pt", out / "model.onnx")
        learned = TrainingFrames(read_signatures(out / "model.seen.json"))
        held = [learned.holds(frame.image) for frame in open_dataset(data / part).frames()]
        assert all(held) is seen
        assert all(learned.holds(frame.image) for frame in open_dataset(data / "drawn/val").frames())


@pytest.mark.slow
def test_an_evaluation_says_how_many_of_its_frames_were_trained_on(model: Path, data: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    learned = list(open_dataset(data / "drawn/train").frames())[:3]
    write_pictures(mixed / "images", learned)
    write_masks(mixed / "masks", learned)
    for number in range(2):
        cv2.imwrite(str(mixed / "images" / f"new{number}.png"), textured(number, SIDE))
        cv2.imwrite(str(mixed / "masks" / f"new{number}.png"), np.asarray(learned[0].mask))
    options = EvaluationOptions(dataset=mixed, out=tmp_path / "out", model=model)
    with load_engine(model, "openvino") as engine:
        content = run_evaluation(options, open_dataset(mixed), engine)
    assert content["trained_on"] == {"frames": 3, "of": 5}
    lines = dict(summary_lines(content))
    assert lines["trained on"].startswith("3 of these 5 frames, or nearly the same ones")
    assert lines["the others alone"].startswith("Dice PS 0.")
    new = content["new_frames"]
    assert isinstance(new, dict)
    assert new["frames"] == 2
    rows = (tmp_path / "out" / "per_image.csv").read_text().splitlines()
    column = rows[0].split(",").index("was_trained_on")
    found = {row.split(",")[0]: row.split(",")[column] for row in rows[1:]}
    assert found == {frame.name: "true" for frame in learned} | {"new0": "false", "new1": "false"}


@pytest.mark.slow
def test_a_model_that_does_not_say_is_said_not_to(model: Path, data: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(model.read_bytes())
    options = EvaluationOptions(dataset=data / "drawn", out=tmp_path / "out", model=alone, split="val")
    with load_engine(alone, "openvino") as engine:
        content = run_evaluation(options, open_dataset(data / "drawn"), engine)
    assert content["trained_on"] is content["new_frames"] is None
    assert dict(summary_lines(content))["trained on"] == "not known which of these frames: the model does not say"


def test_the_file_is_of_one_model_and_of_int8_ones_made_from_it(model: Path, tmp_path: Path) -> None:
    spec = read_model_file(model).spec
    path = tmp_path / "a.onnx"
    path.write_bytes(model.read_bytes())
    written = write_training_frames(path, pack_signatures(thumbnails([textured(1)])), frames=1)
    (tmp_path / "of_others.seen.json").write_text("{}")
    (tmp_path / "broken.seen.json").write_text("{")
    (tmp_path / "list.seen.json").write_text("[]")
    assert find_training_frames(spec, tmp_path) == written
    int8 = read_model_file(DEFAULT_INT8_MODEL).spec
    assert find_training_frames(int8, tmp_path) is None
    content = json.loads(written.read_text()) | {"model_sha256": int8.made_from}
    written.write_text(json.dumps(content))
    assert find_training_frames(int8, tmp_path) == written
    assert find_training_frames(spec, tmp_path) is None
    written.write_text(json.dumps(content | {"schema": "partum.seen/9"}))
    with pytest.raises(ModelMismatch, match=r"partum\.seen/9"):
        read_signatures(written)


@pytest.mark.slow
@pytest.mark.parametrize("path", [DEFAULT_MODEL, DEFAULT_INT8_MODEL], ids=lambda path: path.name)
def test_the_models_that_ship_say_what_they_were_trained_on(path: Path) -> None:
    found = find_training_frames(read_model_file(path).spec, WEIGHTS)
    assert found is not None
    content = json.loads(found.read_text())
    assert content["model_sha256"] == hashlib.sha256(DEFAULT_MODEL.read_bytes()).hexdigest()
    assert content["frames"] == len(TrainingFrames(read_signatures(found))) > 500
    assert found.stat().st_size < 250_000
    with load_engine(path, "openvino") as engine:
        assert training_frames_of(engine, None) is not None


@pytest.mark.slow
def test_the_model_that_ships_has_seen_val(shared_data: Path) -> None:
    with load_engine() as engine:
        learned = training_frames_of(engine, None)
    assert learned is not None
    frames = list(open_dataset(shared_data / "psfhs").frames("val"))
    assert all(learned.holds(frame.image) for frame in frames)
