"""The training loop on a miniature of the published layout: what it learns from, and that a killed run resumes."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.training import augmentation, train
from calibration.training.datasets import HELD_OUT_CLIP, HELD_OUT_PELVIC, Example, load_training, load_validation
from calibration.training.losses import dice_scores, plane_loss, segmentation_loss
from engines.export import export_checkpoint
from engines.registry import load_engine
from tests.dicom_files import native, smooth
from tests.fakes import FH_GREY, PS_GREY, picture

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TINY = train.TrainConfig(size=64, epochs=2, steps_per_epoch=2, batch=4, phantoms=2)


def mask_of(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.where(image == PS_GREY, 1, np.where(image == FH_GREY, 2, 0)).astype(np.uint8)


def example(size: int = 64) -> Example:
    image = np.asarray(cv2.resize(picture(), (size, size), interpolation=cv2.INTER_NEAREST), np.uint8)
    return Example(image=image, mask=mask_of(image), plane=1.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the README's *Training* section, in small."""
    root = tmp_path_factory.mktemp("data")
    for part in ("psfhs/train", "psfhs/val", "planes"):
        for kind in ("images", "masks"):
            (root / part / kind).mkdir(parents=True)
        for index in range(8):
            image = picture(56 + 2.0 * index)
            cv2.imwrite(str(root / part / "images" / f"{index:05d}.png"), image)
            cv2.imwrite(str(root / part / "masks" / f"{index:05d}.png"), mask_of(image))
    labels = ["sp_head", "only_head", "sp_head", "none", "sp_head", "only_sp", "sp_head", "none"]
    lines = [f"{index:05d},{label},128,128" for index, label in enumerate(labels)]
    (root / "planes" / "labels.csv").write_text("\n".join(["name,label,width,height", *lines]))
    (root / "pelvic_floor").mkdir()
    for name in ("pfus1_0.png", HELD_OUT_PELVIC):
        cv2.imwrite(str(root / "pelvic_floor" / name), smooth(1, 96, 128)[0])
    (root / "clips").mkdir()
    with av.open(str(root / "clips" / "other.mp4"), "w") as container:
        track = container.add_stream("libx264", rate=Fraction(25))
        track.width, track.height, track.pix_fmt = 128, 96, "yuv420p"
        for frame in smooth(5, 96, 128):
            container.mux(track.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(track.encode())
    native(root / "clips" / HELD_OUT_CLIP, smooth(3, 96, 128))
    return root


def test_pools_hold_what_their_names_say_and_nothing_held_out(data: Path) -> None:
    pools = load_training(data, size=64, phantoms=2, seed=1)
    assert set(pools) == set(train.shares(TINY))
    assert sum(train.shares(TINY).values()) == pytest.approx(1.0)
    assert len(pools["psfhs"]) == 8
    assert len(pools["clips"]) == 5
    assert len(pools["pelvic_floor"]) == 1
    held_out = load_validation(data, size=64, seed=1)
    assert len(pools["planes_standard"]) + len(pools["planes_other"]) + len(held_out["planes"]) == 8
    learned = {example.image.tobytes() for pool in ("planes_standard", "planes_other") for example in pools[pool]}
    assert not learned & {example.image.tobytes() for example in held_out["planes"]}
    for name, pool in pools.items():
        assert {example.plane for example in pool} == {float(name in ("psfhs", "planes_standard", "phantom_standard"))}


def test_a_missing_data_set_is_named(tmp_path: Path) -> None:
    (tmp_path / "planes").mkdir()
    (tmp_path / "planes" / "labels.csv").write_text("name,label\n")
    (tmp_path / "clips").mkdir()
    with pytest.raises(FileNotFoundError, match="psfhs"):
        load_training(tmp_path, size=64, phantoms=1, seed=1)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_augmentation_invents_no_class_and_no_ring(seed: int) -> None:
    rng = np.random.default_rng(seed)
    moved = augmentation.warp(example(128), rng)
    assert set(np.unique(moved.mask)) <= {0, 1, 2}
    # Interpolated codes would draw PS (1) along the whole outline of the head: pixels that touch FH and background.
    head_edge = (cv2.dilate((moved.mask == 2).astype(np.uint8), np.ones((3, 3))) > 0) & (moved.mask == 1)
    assert np.count_nonzero(head_edge) <= max(0.1 * float(np.count_nonzero(moved.mask == 1)), 1.0)
    assert augmentation.degrade(moved.image, rng).shape == moved.image.shape


def test_a_cut_frame_is_a_negative_without_the_structure() -> None:
    seen = set()
    for seed in range(20):
        cut = augmentation.cut_away(example(128), np.random.default_rng(seed))
        assert cut.plane == 0.0
        seen.add(tuple(np.unique(cut.mask)))
        gone = np.isin(example(128).mask, (1, 2)) & (cut.mask == 0)
        assert np.abs(cut.image[gone].astype(int) - example(128).image[gone]).mean() > 20
    assert seen == {(0, 2), (0, 1), (0,)}


def test_a_decoy_leaves_label_mask_and_structures_alone() -> None:
    before = example(128)
    after = augmentation.decoy(before, np.random.default_rng(5))
    assert after.plane == 1.0
    assert np.array_equal(after.mask, before.mask)
    assert np.abs(after.image.astype(int) - before.image)[before.mask == 1].mean() < 8


def test_losses_by_hand() -> None:
    masks = torch.tensor([[[0, 1], [2, 2]]])
    sure = torch.nn.functional.one_hot(masks, 3).permute(0, 3, 1, 2).float() * 40
    weights = torch.ones(1)
    assert segmentation_loss(sure, masks, weights).item() == pytest.approx(0.0, abs=1e-5)
    # Uniform logits: cross-entropy ln 3; soft Dice of PS (2/3 + 1) / (4/3 + 1 + 1), of FH (4/3 + 1) / (4/3 + 2 + 1).
    uniform = segmentation_loss(torch.zeros_like(sure), masks, weights).item()
    assert uniform == pytest.approx(np.log(3) + 1 - ((5 / 3) / (10 / 3) + (7 / 3) / (13 / 3)) / 2, abs=1e-5)
    assert segmentation_loss(torch.zeros_like(sure), masks, torch.zeros(1)).item() == 0.0
    certain = torch.tensor([1.0, 0.0])
    assert plane_loss(torch.tensor([0.0, 9.0]), torch.tensor([1.0, 0.0]), certain).item() == pytest.approx(np.log(2))
    ps, fh = dice_scores(torch.tensor([[[0, 1], [2, 0]]]), masks)
    assert ps.item() == pytest.approx(1.0)
    assert fh.item() == pytest.approx(3 / 4)


def test_a_killed_run_resumes_to_the_same_weights(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train.train(data, tmp_path / "unbroken", TINY)
    calls = []
    validate = train.validate

    def die_in_the_second_epoch(*arguments: object) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return validate(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(train, "validate", die_in_the_second_epoch)
        with pytest.raises(KeyboardInterrupt):
            train.train(data, tmp_path / "killed", TINY)
    train.train(data, tmp_path / "killed", TINY)
    stored = [torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("unbroken", "killed")]
    assert stored[0]["epoch"] == stored[1]["epoch"] == 2
    for name, weights in stored[0]["weights"].items():
        assert torch.equal(weights, stored[1]["weights"][name]), name
    assert len((tmp_path / "killed" / "history.jsonl").read_text().splitlines()) == 2

    spec = export_checkpoint(tmp_path / "killed" / "best.pt", tmp_path / "model.onnx")
    assert spec.height == 64
    with load_engine(tmp_path / "model.onnx") as engine:
        prediction = engine.infer(np.zeros((1, 1, 64, 64), np.uint8))
    assert prediction.class_logits.shape == (1, 3, 32, 32)


def test_other_settings_do_not_resume(data: Path, tmp_path: Path) -> None:
    one = train.TrainConfig(size=64, epochs=1, steps_per_epoch=1, batch=2, phantoms=1)
    train.train(data, tmp_path, one)
    with pytest.raises(ValueError, match="other settings"):
        train.train(data, tmp_path, train.TrainConfig(size=64, epochs=1, steps_per_epoch=2, batch=2, phantoms=1))
