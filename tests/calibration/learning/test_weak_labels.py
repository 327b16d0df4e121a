"""Synthetic masks: every filter on masks made by hand, and the command from pictures to what a training reads."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.commands.weak_labels_command import weak_labels_command
from calibration.data.base import LabelledFrame
from calibration.errors import DataSetError
from calibration.learning import frames as training_frames
from calibration.learning.settings.training import SourceSettings
from calibration.learning.weak_labels.filters import (
    FilterLimits,
    LabelRefusal,
    anatomy_refusal,
    confidence_refusal,
    consistency_refusal,
    dominant_components,
    filter_mask,
    flip_consistency,
    label_weight,
    presence_refusal,
    softmax,
    solidity,
    structure_confidence,
)
from calibration.learning.weak_labels.run import COLUMNS, WEIGHTS_FILE, LabelingSettings, label_frame, write_weak_labels
from engines.registry import DEFAULT_MODEL, load_engine
from stream.phantom.render import render
from stream.phantom.sample import sample_scene
from stream.phantom.truth import scene_masks
from stream.sources.files.masks import mask_paths, read_mask
from tests.conftest import REPOSITORY
from tests.samples.anatomy import at_aop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from engines.base import Engine

LIMITS = FilterLimits()
WHOLE = (1.0, 1.0)
STANDARD, OTHER = 4, 1
WIDTH_PX, HEIGHT_PX = 230, 200
"""Neither square nor of the network's size, so that masks must be brought back."""


def sound() -> NDArray[np.uint8]:
    """A PS and a head at AoP 120, (256, 256)."""
    return at_aop(120).draw((256, 256), pixel_mm=(0.72, 0.72))


def squeezed(width: int, height: int) -> NDArray[np.uint8]:
    """The sound mask in a picture of another shape."""
    return np.asarray(cv2.resize(sound(), (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def discs(
    ps_radius: int, fh_radius: int, *, ps_at: tuple[int, int] = (70, 40), fh_at: tuple[int, int] = (130, 150)
) -> NDArray[np.uint8]:
    """A round PS and a round head, (256, 256)."""
    mask = np.zeros((256, 256), np.uint8)
    cv2.circle(mask, fh_at, fh_radius, 2, -1)
    cv2.circle(mask, ps_at, ps_radius, 1, -1)
    return mask


def comb() -> NDArray[np.uint8]:
    """A head with deep gaps in its outline."""
    mask = sound()
    rows, columns = np.nonzero(mask == 2)
    for column in range(int(columns.min()), int(columns.max()), 12):
        mask[int(rows.mean()) :, column : column + 6][mask[int(rows.mean()) :, column : column + 6] == 2] = 0
    return mask


def certain(mask: NDArray[np.uint8], *, probability: float = 0.95) -> NDArray[np.float32]:
    """Probabilities (3, H, W): so much for the class in the mask, the rest for the others."""
    one_hot = np.stack([mask == code for code in range(3)]).astype(np.float32)
    return (one_hot * (probability - (1 - probability) / 2) + (1 - probability) / 2).astype(np.float32)


def test_a_sound_mask_passes_and_is_weighted_by_confidence_and_consistency() -> None:
    label = filter_mask(certain(sound()), certain(sound()), LIMITS)
    assert label.refusal is None
    assert np.array_equal(label.mask, sound())
    assert label.confidence == pytest.approx((0.95, 0.95), abs=1e-6)
    assert label.consistency == (1.0, 1.0)
    assert label.weight == pytest.approx(0.95, abs=1e-6)


@pytest.mark.parametrize(
    ("mask", "refusal"),
    [
        (discs(5, 60), LabelRefusal.PS_SIZE),
        (discs(45, 60), LabelRefusal.PS_SIZE),
        (discs(18, 24), LabelRefusal.FH_SIZE),
        (discs(25, 37), LabelRefusal.SIZE_RATIO),
        (discs(9, 65), LabelRefusal.SIZE_RATIO),
        (discs(18, 60, ps_at=(70, 200), fh_at=(150, 80)), LabelRefusal.PS_BELOW_FH),
        (comb(), LabelRefusal.RAGGED),
        (discs(18, 60), LabelRefusal.NOT_MEASURABLE),  # a disc has no axis
        (sound(), None),
        (np.ascontiguousarray(sound()[:, ::-1]), None),  # mirrored pictures are as good
        (squeezed(320, 240), None),
        (squeezed(240, 320), None),
    ],
)
def test_anatomy(mask: NDArray[np.uint8], refusal: LabelRefusal | None) -> None:
    assert anatomy_refusal(mask, WHOLE, LIMITS) is refusal
    assert filter_mask(certain(mask), certain(mask), LIMITS).refusal is refusal


def test_a_structure_in_pieces_is_refused_and_a_speck_is_taken_away() -> None:
    two = sound()
    two[200:240, 5:45] = 2
    label = filter_mask(certain(two), certain(two), LIMITS)
    assert label.refusal is LabelRefusal.SCATTERED
    assert label.weight == 0.0
    speck = sound()
    speck[250:253, 5:8] = 1
    label = filter_mask(certain(speck), certain(speck), LIMITS)
    assert label.refusal is None
    assert np.array_equal(label.mask, sound())


@pytest.mark.parametrize(("code", "refusal"), [(1, LabelRefusal.NO_PS), (2, LabelRefusal.NO_FH)])
def test_missing_structures(code: int, refusal: LabelRefusal) -> None:
    mask = np.where(sound() == code, 0, sound()).astype(np.uint8)
    assert presence_refusal(mask) is refusal
    label = filter_mask(certain(mask), certain(mask), LIMITS)
    assert label.refusal is refusal
    assert label.confidence[code - 1] == label.weight == 0.0
    assert presence_refusal(sound()) is None


def test_unsure_predictions_are_refused_at_the_limit() -> None:
    for probability, refusal in ((0.79, LabelRefusal.UNSURE), (0.81, None)):
        scores = certain(sound(), probability=probability)
        assert filter_mask(scores, scores, LIMITS).refusal is refusal
    assert confidence_refusal((0.79, 0.99), LIMITS) is LabelRefusal.UNSURE
    assert confidence_refusal((0.8, 0.8), LIMITS) is None


def test_predictions_that_mirroring_changes_are_refused() -> None:
    """Two predictions that differ are also less sure where they do; the limit on confidence is taken away here."""
    moved = np.roll(sound(), 8, axis=1)
    label = filter_mask(certain(sound()), certain(moved), FilterLimits(confidence=0.0))
    assert label.refusal is LabelRefusal.INCONSISTENT
    assert label.consistency[0] < 0.85 < label.consistency[1] < 1
    assert consistency_refusal((0.86, 0.89), LIMITS) is LabelRefusal.INCONSISTENT
    assert consistency_refusal((0.84, 0.99), LIMITS) is LabelRefusal.INCONSISTENT
    assert consistency_refusal((0.85, 0.9), LIMITS) is None


def test_worked_values() -> None:
    row = np.zeros((1, 8), np.uint8)
    row[0, :4] = 1
    other = np.zeros((1, 8), np.uint8)
    other[0, 1:7] = 1
    assert flip_consistency(row, other) == (7 / 11, 1.0)
    probabilities = np.array([[[0.1, 0.3, 0.0]], [[0.9, 0.7, 0.0]], [[0.0, 0.0, 1.0]]], np.float32)
    assert structure_confidence(probabilities, np.array([[1, 1, 2]], np.uint8)) == pytest.approx((0.8, 1.0))
    assert label_weight((0.9, 0.95), (0.88, 0.97)) == pytest.approx(0.792)
    pieces = np.zeros((12, 12), np.uint8)
    pieces[0, 0] = 1
    pieces[2, :] = pieces[3, :7] = 1
    kept, shares = dominant_components(pieces)
    assert shares == (0.95, 0.0)
    assert kept[0, 0] == 0
    assert np.count_nonzero(kept) == 19
    bent = np.zeros((30, 30), np.bool_)
    bent[:21, :3] = bent[18:21, :21] = True
    assert solidity(bent) == pytest.approx(76.5 / 238)
    assert solidity(np.ones((3, 3), np.bool_)) == 1.0
    assert solidity(np.ones((1, 9), np.bool_)) == solidity(np.zeros((4, 4), np.bool_)) == 0.0
    small = np.zeros((100, 100), np.uint8)
    small[10:20, 10:30], small[40:60, 40:60] = 1, 2
    assert anatomy_refusal(small, WHOLE, LIMITS) is LabelRefusal.SIZE_RATIO


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 300))
def test_any_two_predictions_get_a_verdict_and_a_weight_in_range(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    first, second = (softmax((scale * rng.standard_normal((3, 9, 11))).astype(np.float32)) for _ in range(2))
    assert np.allclose(first.sum(axis=0), 1, atol=1e-5)
    label = filter_mask(first, second, LIMITS)
    assert (label.weight > 0) == (label.refusal is None)
    assert all(0 <= value <= 1 + 1e-6 for value in (label.weight, *label.confidence, *label.consistency))


@pytest.mark.slow
def test_nearly_every_mask_that_people_drew_is_plausible(shared_data: Path) -> None:
    found: Counter[LabelRefusal | None] = Counter()
    for path in sorted((shared_data / "psfhs").glob("*/masks/*.png")):
        kept, wholeness = dominant_components(read_mask(path))
        found[anatomy_refusal(kept, wholeness, LIMITS)] += 1
    assert found == {None: 978, LabelRefusal.NOT_MEASURABLE: 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with simulated frames in `phantoms/`, none of them with a mask, one of them no standard plane."""
    root = tmp_path_factory.mktemp("data")
    images = root / "phantoms" / "images"
    images.mkdir(parents=True)
    rows = ["name,label"]
    for index in range(STANDARD + OTHER):
        image, _ = phantom(index)
        cv2.imwrite(str(images / f"scan{index}.png"), image)
        rows.append(f"scan{index},{'standard' if index < STANDARD else 'none'}")
    noise = np.random.default_rng(0).integers(0, 60, (HEIGHT_PX, WIDTH_PX)).astype(np.uint8)
    cv2.imwrite(str(images / "noise.png"), noise)
    rows.append("noise,standard")
    (root / "phantoms" / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


def phantom(index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A simulated frame and its true mask, with a strip of black at its side."""
    rng = np.random.default_rng([5, index])
    scene = sample_scene(rng, standard=index < STANDARD, mirrored=False)
    wide = ((0, 0), (0, WIDTH_PX - HEIGHT_PX))
    return np.pad(render(scene, rng, HEIGHT_PX), wide), np.pad(scene_masks(scene, HEIGHT_PX), wide)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with load_engine() as loaded:
        yield loaded


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(weak_labels_command, [str(argument) for argument in arguments])


def _rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / WEIGHTS_FILE).open(newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def labelled(data: Path) -> tuple[Result, Path]:
    """The command, once, with the model that ships."""
    return _run(data / "phantoms", "--teacher", DEFAULT_MODEL, "--out", data / "weak"), data / "weak"


def test_the_command_writes_masks_weights_and_facts(labelled: tuple[Result, Path]) -> None:
    result, out = labelled
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "Research use only" in result.stderr
    rows = _rows(out)
    assert list(next(iter(rows.values()))) == list(COLUMNS)
    assert set(rows) == {*(f"scan{index}" for index in range(STANDARD)), "noise"}
    kept = {name for name, row in rows.items() if float(row["weight"]) > 0}
    assert len(kept) >= 2
    assert rows["noise"]["reason"]
    assert {path.stem for path in out.glob("*.png")} == kept
    assert all((row["reason"] == "") == (name in kept) for name, row in rows.items())
    assert not list(out.glob("*.part"))
    facts = json.loads((out / "weak_labels.json").read_text())
    assert "Research use only" in facts["notice"]
    assert facts["frames"] == len(rows)
    assert facts["kept"] == len(kept)
    assert sum(facts["refused"].values()) == len(rows) - len(kept)
    assert [len(teacher["sha256"]) for teacher in facts["teachers"]] == [64]
    assert facts["limits"]["confidence"] == 0.8


def test_the_masks_are_right_and_of_the_frames_size(labelled: tuple[Result, Path]) -> None:
    _, out = labelled
    for path in mask_paths(out):
        found, truth = read_mask(path), phantom(int(path.stem.removeprefix("scan")))[1]
        assert found.shape == (HEIGHT_PX, WIDTH_PX)
        ps, fh = flip_consistency(found, truth)
        assert ps > 0.7
        assert fh > 0.85


def test_a_training_reads_them(labelled: tuple[Result, Path], data: Path) -> None:
    _, out = labelled
    source = SourceSettings(path="phantoms", synthetic="weak", unlabelled=0.5, negative=0.5)
    store = training_frames.load_store([source], data, size=64, seed=0)
    pools = {pool.name: pool.batch for pool in store.pools}
    taught = pools["phantoms/unlabelled"]
    weights = [float(row["weight"]) for row in _rows(out).values() if float(row["weight"]) > 0]
    assert taught.synthetic.all()
    assert torch.allclose(taught.mask_weights.sort().values, torch.tensor(sorted(weights)))
    assert all({0, 1, 2} == set(mask.unique().tolist()) for mask in taught.masks)
    assert len(pools["phantoms/negative"]) == OTHER


@pytest.mark.slow
def test_a_second_run_keeps_the_first_and_the_limit_is_the_users(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "weak"
    arguments = (data / "phantoms", "--teacher", DEFAULT_MODEL, "--out", out)
    assert _run(*arguments).exit_code == 0
    first = sorted(path.name for path in out.iterdir())
    result = _run(*arguments, "--min-confidence", 1.0, "--plane", "standard")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (out / "earlier-1").iterdir()) == first
    assert not list(out.glob("*.png"))
    reasons = {row["reason"] for row in _rows(out).values()}
    assert reasons <= {"unsure", "no_ps", "no_fh"}
    assert "unsure" in reasons


def test_a_mirrored_frame_gets_the_mirrored_mask(engine: Engine) -> None:
    teaching = LabelingSettings(teachers=[engine, engine])
    image = phantom(0)[0]
    here, there = (
        label_frame(LabelledFrame(name="frame", group="frame", image=picture), teaching)
        for picture in (image, np.ascontiguousarray(image[:, ::-1]))
    )
    assert (here.mask == 1).any()
    assert np.array_equal(here.mask, there.mask[:, ::-1])
    assert here.consistency == pytest.approx(there.consistency)
    alone = label_frame(LabelledFrame(name="frame", group="frame", image=image), LabelingSettings(teachers=[engine]))
    assert np.array_equal(here.mask, alone.mask)  # two like teachers are one


def test_frames_of_unknown_plane_are_labelled_unless_only_standard_ones_are_wanted(
    engine: Engine, tmp_path: Path
) -> None:
    frame = LabelledFrame(name="frame", group="frame", image=phantom(0)[0])
    for only_standard, kept in ((False, 1), (True, 0)):
        folder = tmp_path / str(only_standard)
        folder.mkdir()
        teaching = LabelingSettings(teachers=[engine], only_standard=only_standard)
        facts = write_weak_labels([frame], teaching, folder, dataset="one", count=1)
        assert facts["kept"] == kept
        assert _rows(folder)["frame"]["reason"] == ("plane_unknown" if only_standard else "")


def test_nothing_to_label_is_said(engine: Engine, tmp_path: Path) -> None:
    image, mask = phantom(0)
    frames = [
        LabelledFrame(name="drawn", group="a", image=image, mask=mask),
        LabelledFrame(name="other", group="b", image=image, plane=False),
    ]
    with pytest.raises(DataSetError, match="all of its 2 frames have a mask"):
        write_weak_labels(frames, LabelingSettings(teachers=[engine]), tmp_path, dataset="drawn", count=2)
    assert not list(tmp_path.iterdir())


def test_the_base_installation_suffices() -> None:
    probe = "import sys; import calibration.commands.weak_labels_command, calibration.learning.weak_labels.run"
    result = subprocess.run(
        [sys.executable, "-c", f"{probe}; print('torch' in sys.modules)"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert result.stdout.strip() == "False"
