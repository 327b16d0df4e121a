"""What an evaluation says of frames whose truth is known exactly: read by a stand-in for the network."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from calibration.data.base import LabelledFrame
from calibration.errors import DataSetError
from calibration.evaluation.evaluate import EvaluationOptions, run_evaluation
from calibration.evaluation.frames import FrameResult, evaluate_frames
from calibration.evaluation.pictures import choose_cases
from stream.common.errors import OptionError
from stream.measurement.biometry import Orientation
from stream.measurement.convexity import convex_labels
from tests.fakes.doubles import FH_GREY, PS_GREY, GreyLevelEngine, picture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class InMemory:
    """A data set that is a list of frames."""

    layout = "folder"

    def __init__(self, frames: Sequence[LabelledFrame]) -> None:
        self._frames = frames

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(sorted({frame.split for frame in self._frames} - {""}))

    def count(self, split: str | None = None) -> int:
        return len(list(self.frames(split)))

    def frames(self, split: str | None = None) -> Iterator[LabelledFrame]:
        return (frame for frame in self._frames if split in (None, frame.split))


def drawn(index: int, *, standard: bool = True, mask: bool = True, **facts: Any) -> LabelledFrame:
    """A picture that the grey-level engine reads without error, and its mask, convex as annotators draw them."""
    image = picture(60.0 + 0.5 * index, standard=standard)
    labels = convex_labels(np.where(image == PS_GREY, 1, np.where(image == FH_GREY, 2, 0)).astype(np.uint8))
    return LabelledFrame(
        name=f"f{index:02d}", group=f"g{index // 2}", image=image, mask=labels if mask else None, **facts
    )


def evaluated(frames: Sequence[LabelledFrame], out: Path, **options: Any) -> dict[str, Any]:
    run_evaluation(
        EvaluationOptions(dataset=out.parent / "nowhere", out=out, **options), InMemory(frames), GreyLevelEngine()
    )
    content: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return content


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "per_image.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_perfect_network_scores_perfectly(tmp_path: Path) -> None:
    content = evaluated([drawn(index, plane=True) for index in range(6)], tmp_path / "out")
    overall = content["overall"]
    for region in ("ps", "fh", "all"):
        scores = overall["segmentation"][region]
        assert (scores["dice"]["mean"], scores["hd_px"]["mean"], scores["asd_px"]["p95"]) == (1.0, 0.0, 0.0)
    robust = overall["protocols"]["robust"]
    assert robust["ungated"] == robust["gated"]
    assert robust["ungated"]["share_measured"] == 1.0
    assert robust["ungated"]["aop_deg"]["absolute_error"]["mean"] == 0.0
    assert robust["ungated"]["hsd_min"]["bland_altman"]["bias"] == 0.0
    assert overall["planes"]["accuracy"] == 1.0
    assert overall["planes"]["auc"] is None
    assert overall["planes"]["reasons"]["auc"] == "all labelled frames are standard planes"


@pytest.mark.slow
def test_the_gate_is_in_the_gated_numbers_only(tmp_path: Path) -> None:
    frames = [drawn(index, standard=index < 6, plane=index < 4) for index in range(8)]
    overall = evaluated(frames, tmp_path / "out")["overall"]
    robust = overall["protocols"]["robust"]
    assert (robust["ungated"]["measured"], robust["gated"]["measured"]) == (8, 6)
    assert robust["gated"]["share_measured"] == 0.75
    assert robust["gated"]["refused"] == {"not_standard_plane": 2}
    assert robust["not_standard_planes"] == {"frames": 4, "measured": 2}
    coverage = robust["gated"]["aop_deg"]["risk_coverage"]
    by_share = dict(zip(coverage["coverage"], coverage["mean_absolute_error"], strict=True))
    assert (by_share[0.75], by_share[0.8]) == (0.0, None)
    planes = overall["planes"]
    assert (planes["true_positive"], planes["false_positive"], planes["true_negative"]) == (4, 2, 2)
    assert planes["auc"] == pytest.approx((4 * 2 + 4 * 2 * 0.5) / 16)


def test_what_nobody_labelled_is_left_out_and_counted(tmp_path: Path) -> None:
    frames = [
        drawn(0, plane=True),
        drawn(1, mask=False, plane=True),
        drawn(2),
        drawn(3, mask=False),
    ]
    overall = evaluated(frames, tmp_path / "out")["overall"]
    assert (overall["frames"], overall["frames_with_mask"]) == (4, 2)
    assert (overall["planes"]["frames"], overall["planes"]["frames_without_label"]) == (2, 2)
    assert overall["segmentation"]["ps"]["frames"] == 2
    row = table(tmp_path / "out")[3]
    assert row["plane"] == row["ps_dice"] == row["robust_aop_true_deg"] == row["robust_aop_error_deg"] == ""
    assert float(row["robust_aop_deg"]) > 60
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 4


def test_an_annotation_without_ps_counts_what_was_drawn_there(tmp_path: Path) -> None:
    first, second = drawn(0), drawn(1)
    assert second.mask is not None
    only_head = np.where(second.mask == 2, 2, 0).astype(np.uint8)
    frames = [first, LabelledFrame(name="head", group="h", image=second.image, mask=only_head)]
    overall = evaluated(frames, tmp_path / "out")["overall"]
    ps = overall["segmentation"]["ps"]
    assert (ps["frames"], ps["missed"], ps["frames_without"], ps["drawn_without"]) == (1, 0, 1, 1)
    assert ps["dice"]["n"] == 1
    robust = overall["protocols"]["robust"]
    assert robust["truth_refused"] == {"no_ps": 1}
    assert robust["ungated"]["measured_without_truth"] == 1
    assert robust["ungated"]["aop_deg"]["bland_altman"] == {"reason": "a spread takes two frames or more"}


@pytest.mark.slow
def test_looks_and_splits_are_reported_apart(tmp_path: Path) -> None:
    frames = [drawn(i, split="val" if i < 3 else "train", look="A" if i < 2 else "") for i in range(5)]
    content = evaluated(frames, tmp_path / "out")
    assert {name: part["frames"] for name, part in content["by_split"].items()} == {"train": 2, "val": 3}
    assert {name: part["frames"] for name, part in content["by_look"].items()} == {"": 3, "A": 2}
    only_val = evaluated(frames, tmp_path / "val", split="val")
    assert only_val["overall"] == content["by_split"]["val"]


def test_plane_labels_alone_give_plane_metrics_and_no_pictures(tmp_path: Path) -> None:
    frames = [drawn(index, mask=False, plane=index % 2 == 0, standard=index % 2 == 0) for index in range(4)]
    overall = evaluated(frames, tmp_path / "out")["overall"]
    assert overall["planes"]["mcc"] == 1.0
    assert overall["segmentation"] == {"reason": "no frame has an annotated mask"}
    assert overall["protocols"]["robust"]["reason"] == "no frame has an annotated mask"
    assert not (tmp_path / "out" / "cases.png").exists()
    assert not (tmp_path / "out" / "agreement.png").exists()


def test_mirrored_pictures_are_measured_by_the_protocol_that_can(tmp_path: Path) -> None:
    frames = []
    for index in range(3):
        frame = drawn(index)
        assert frame.mask is not None
        flipped = [np.ascontiguousarray(array[:, ::-1]) for array in (frame.image, frame.mask)]
        frames.append(LabelledFrame(name=frame.name, group="g", image=flipped[0], mask=flipped[1]))
    overall = evaluated(frames, tmp_path / "out", orientation=Orientation.MIRRORED)["overall"]
    assert list(overall["protocols"]) == ["robust"]
    assert overall["protocols"]["robust"]["ungated"]["aop_deg"]["absolute_error"]["mean"] == 0.0
    mirrored, plain = table(tmp_path / "out")[0], next(evaluate_frames([drawn(0)], GreyLevelEngine()))[0]
    assert plain.found["robust"].aop_deg is not None
    assert float(mirrored["robust_aop_deg"]) == pytest.approx(plain.found["robust"].aop_deg, abs=1.0)


def test_every_frame_is_read_alone() -> None:
    frames = [drawn(index) for index in (0, 1, 2)]
    together = [result.found["robust"].aop_deg for result, _ in evaluate_frames(frames, GreyLevelEngine())]
    alone = [next(evaluate_frames([frame], GreyLevelEngine()))[0].found["robust"].aop_deg for frame in frames]
    assert together == alone
    backwards = [result.found["robust"].aop_deg for result, _ in evaluate_frames(frames[::-1], GreyLevelEngine())]
    assert backwards[::-1] == alone


def ranked(count: int) -> list[FrameResult]:
    """Frames whose Dice falls from the first to the last: the annotation is eroded more and more."""
    frames = []
    for index in range(count):
        frame = drawn(0)
        assert frame.mask is not None
        mask = frame.mask.copy()
        mask[:, 86 - 2 * index :] = 0
        frames.append(LabelledFrame(name=f"r{index}", group=f"r{index}", image=frame.image.copy(), mask=mask))
    return [result for result, _ in evaluate_frames(frames, GreyLevelEngine())]


def test_cases_are_the_best_the_median_and_the_worst() -> None:
    results = ranked(9)
    scores = [result.mean_dice for result in results]
    assert scores == sorted(scores, key=lambda value: -(value or 0))
    names = {title: [result.name for result in row] for title, row in choose_cases(results[::-1]).items()}
    assert names["best Dice"] == ["r0", "r1", "r2"]
    assert names["median Dice"] == ["r3", "r4", "r5"]
    assert names["worst Dice"] == ["r8", "r7", "r6"]
    assert len(names["largest AoP error"]) == 3


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_few_frames_are_shown_once(count: int) -> None:
    rows = choose_cases(ranked(count))
    by_dice = [result.name for title, row in rows.items() if "Dice" in title for result in row]
    assert len(by_dice) == len(set(by_dice)) == min(count, 3)
    assert all(rows.values())


@pytest.mark.slow
def test_a_second_run_keeps_the_first(tmp_path: Path) -> None:
    out = tmp_path / "out"
    evaluated([drawn(0), drawn(1)], out)
    (out / "notes.txt").write_text("mine")
    evaluated([drawn(2)], out)
    assert [row["name"] for row in table(out)] == ["f02"]
    assert [row["name"] for row in table(out / "earlier-1")] == ["f00", "f01"]
    assert [path.name for path in sorted((out / "masks").iterdir())] == ["f02.png"]
    assert len(list((out / "earlier-1" / "masks").iterdir())) == 2
    assert (out / "notes.txt").read_text() == "mine"


def test_an_interrupt_leaves_whole_rows_and_no_summary(tmp_path: Path) -> None:
    engine = GreyLevelEngine(error=KeyboardInterrupt(), fail_at=3)  # type: ignore[arg-type]  # Ctrl-C is no Exception
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_evaluation(
            EvaluationOptions(dataset=tmp_path / "data", out=out),
            InMemory([drawn(index) for index in range(6)]),
            engine,
        )
    assert [row["name"] for row in table(out)] == ["f00", "f01", "f02"]
    assert all(row["robust_gated_reason"] == "" for row in table(out))
    assert len(list((out / "masks").iterdir())) == 3
    assert not (out / "metrics.json").exists()


def test_nothing_to_compare_with_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"none of its 2 frames has a mask, landmarks or a plane label"):
        evaluated([drawn(0, mask=False), drawn(1, mask=False)], tmp_path / "out")
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 2


def test_no_frames_and_no_such_split_are_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="holds no frames"):
        evaluated([], tmp_path / "out")
    with pytest.raises(OptionError, match=r"--split test: .* has the splits val; choose one of them"):
        evaluated([drawn(0, split="val")], tmp_path / "out", split="test")
    with pytest.raises(OptionError, match=r"has no splits; leave the option out"):
        evaluated([drawn(0)], tmp_path / "out", split="val")
    assert not (tmp_path / "out").exists()
