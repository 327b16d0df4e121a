"""`partum evaluate`: every frame of a data set through a model, and the result files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from calibration.data.layouts.landmark_tables import published_layout
from calibration.data.training_frames import TrainingFrames
from calibration.errors import DataSetError
from calibration.evaluation.frames import evaluate_frames, orientation_of_truth, protocols_for
from calibration.evaluation.landmarks import landmark_table
from calibration.evaluation.metrics import REGIONS
from calibration.evaluation.pictures import PictureCase, choose_cases, draw_agreement, draw_cases
from calibration.evaluation.report import FILES, Report, evaluation_metrics
from engines.onnx.training_frames import find_training_frames, read_signatures
from engines.registry import REMOTE, WEIGHTS
from stream.common.atomic_file import write_atomic
from stream.common.errors import OptionError, OutputError
from stream.measurement.biometry import Orientation
from stream.measurement.protocols import DEFAULT_PROTOCOL, PROTOCOLS
from stream.outputs.manifest import NOTICE, write_json
from stream.outputs.results_folder import prepare_folder
from stream.sources.files.masks import read_mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from calibration.data.base import DataSet, LabelledFrame
    from calibration.evaluation.frames import FrameResult
    from engines.base import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """Options of `partum evaluate`.

    Attributes:
        dataset: the data set's folder or file.
        out: folder for the results.
        layout: of the data set; None finds it out.
        split: the part of the data set to take; None takes all.
        backend, model: as `engines.load_engine` takes them.
        orientation: of all pictures.
    """

    dataset: Path
    out: Path
    layout: str | None = None
    split: str | None = None
    backend: str = "auto"
    model: str | Path | None = None
    orientation: Orientation = Orientation.AUTO

    def as_json(self) -> dict[str, object]:
        """The options as written to `metrics.json`."""
        return {
            "dataset": str(self.dataset),
            "split": self.split,
            "backend": self.backend,
            "model": str(self.model) if self.model else "default",
            "orientation": str(self.orientation),
        }


def run_evaluation(options: EvaluationOptions, dataset: DataSet, engine: Engine) -> dict[str, object]:
    """Evaluates, writes the files, prints a short table on stderr and returns the content of `metrics.json`.

    Whatever ends the run, every frame evaluated by then has its row and its mask; `metrics.json` and the pictures
    appear only at the end.

    Raises:
        OptionError: the data set has no such split, or the results would end up in it.
        OutputError: `out` cannot be written to.
        DataSetError: the data set is broken, has no frames, or nothing in it can be compared with.
    """
    frame_count = check_split(options, dataset)
    folder = prepare_folder(options.out, source=options.dataset, results=FILES)
    truth = None
    if options.orientation is Orientation.AUTO:
        truth = orientation_of_truth(dataset.frames(options.split))
    learned = training_frames_of(engine, options.model)
    frames = evaluate_frames(
        dataset.frames(options.split), engine, orientation=options.orientation, truth=truth, learned=learned
    )
    results = _evaluate(options, frames, folder, frame_count=frame_count)
    if not any(result.scores or result.drawn or result.plane is not None for result in results):
        raise DataSetError(
            f"{options.dataset}: none of its {len(results)} frames has a mask, landmarks or a plane label to compare"
            f" with (read as layout {dataset.layout}); the predicted masks are in {folder / 'masks'}"
        )
    content = evaluation_metrics(results, dataset=dataset, engine=engine, options=options.as_json(), truth=truth)
    _write_landmarks(options, results, folder / "landmarks")
    write_json(folder / "metrics.json", content)
    _draw(options, dataset, results, folder)
    _print_summary(content, folder)
    return content


def _write_landmarks(options: EvaluationOptions, results: Sequence[FrameResult], folder: Path) -> None:
    """The found landmarks by each protocol, in the layout of the set's own table or of IUGC 2025's."""
    columns, names = published_layout(options.dataset)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror}); choose another --out") from error
    for protocol in protocols_for(options.orientation):
        found = ((result.name, result.found[protocol]) for result in results)
        write_atomic(folder / f"{protocol}.csv", landmark_table(found, columns, names))


def check_split(options: EvaluationOptions, dataset: DataSet) -> int:
    """How many frames the split asked for has, 1 or more."""
    if options.split is not None and options.split not in dataset.splits:
        there = ", ".join(dataset.splits)
        raise OptionError(
            f"--split {options.split}: {options.dataset} has {f'the splits {there}' if there else 'no splits'};"
            f" {'choose one of them' if there else 'leave the option out'}"
        )
    count = dataset.count(options.split)
    if not count:
        where = f"the split {options.split} of {options.dataset}" if options.split else str(options.dataset)
        raise DataSetError(f"{where}: holds no frames (read as layout {dataset.layout}); give another path or --layout")
    return count


def training_frames_of(engine: Engine, model: str | Path | None) -> TrainingFrames | None:
    """What the model was trained on, from beside its file or the one that ships; None where nobody wrote it down."""
    is_elsewhere = model is None or str(model).startswith(REMOTE)
    path = find_training_frames(engine.spec, WEIGHTS if is_elsewhere else Path(str(model)).parent)
    return None if path is None else TrainingFrames(read_signatures(path))


def _evaluate(
    options: EvaluationOptions,
    frames: Iterable[tuple[FrameResult, NDArray[np.uint8]]],
    folder: Path,
    *,
    frame_count: int,
) -> list[FrameResult]:
    results = []
    console = Console(stderr=True)
    with (
        Report(folder, protocols_for(options.orientation)) as report,
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as progress,
    ):
        task = progress.add_task("evaluate", total=frame_count)
        for result, labels in frames:
            report.add(result, labels)
            results.append(result)
            progress.advance(task)
    return results


def _draw(options: EvaluationOptions, dataset: DataSet, results: Sequence[FrameResult], folder: Path) -> None:
    """Writes the pictures; the frames shown are read once more, rather than all kept until the best are known."""
    chosen = choose_cases(results)
    wanted = {result.name for row in chosen.values() for result in row}
    if wanted:
        found = _read_again(dataset, options.split, wanted)
        rows = {
            title: [
                PictureCase(result=r, frame=found[r.name], labels=read_mask(folder / "masks" / f"{r.name}.png"))
                for r in row
            ]
            for title, row in chosen.items()
        }
        write_atomic(folder / "cases.png", draw_cases(rows))
    agreement = draw_agreement(results, protocols_for(options.orientation))
    if agreement:
        write_atomic(folder / "agreement.png", agreement)


def _read_again(dataset: DataSet, split: str | None, names: set[str]) -> dict[str, LabelledFrame]:
    found: dict[str, LabelledFrame] = {}
    for frame in dataset.frames(split):
        if frame.name in names:
            found[frame.name] = frame
        if len(found) == len(names):
            break
    return found


def _print_summary(content: dict[str, object], folder: Path) -> None:
    table = Table(title=f"evaluation with {content['engine']}", title_justify="left", show_header=False)
    for label, text in summary_lines(content):
        table.add_row(label, text)
    table.add_row("results", escape(str(folder)))
    console = Console(stderr=True)
    console.print(table)
    console.print(NOTICE)


def summary_lines(content: dict[str, object]) -> list[tuple[str, str]]:
    """What a run ends with: a label and a text for each line, of what `metrics.json` says about all frames."""
    overall = content["overall"]
    lines = [("frames", f"{_at(overall, 'frames'):.0f}, {_at(overall, 'frames_with_mask'):.0f} with a mask")]
    lines.append(("trained on", _trained_line(content.get("trained_on"))))
    if (dice := _at(content.get("new_frames"), "segmentation.ps.dice.mean")) is not None:
        error = _at(content["new_frames"], f"protocols.{DEFAULT_PROTOCOL}.ungated.aop_deg.absolute_error.mean")
        shown = "-" if error is None else f"{error:.1f}°"
        lines.append(
            ("the others alone", f"Dice PS {dice:.3f}, AoP error, {DEFAULT_PROTOCOL}, ungated {shown} on average")
        )
    if (orientation := content.get("orientation_of_truth")) is not None:
        lines.append(("annotated masks", _orientation_line(orientation)))
    for region in REGIONS:
        score = f"segmentation.{region}"
        if (dice := _at(overall, f"{score}.dice.mean")) is not None:
            distances = [f"{_at(overall, f'{score}.{name}.mean'):.1f}" for name in ("asd_px", "hd_px", "hd95_px")]
            lines.append((f"Dice {region.upper()}", f"{dice:.3f}  (ASD, HD, HD95 {', '.join(distances)} px)"))
    for protocol in PROTOCOLS:
        for choice in ("ungated", "gated"):
            lines += _error_line(overall, protocol, choice)
    for protocol in PROTOCOLS:
        if (radial := _at(overall, f"landmarks.{protocol}.radial_error_px.mean")) is not None:
            angle = _at(overall, f"landmarks.{protocol}.aop_deg.mean")
            off = "-" if angle is None else f"{angle:.1f}°"
            lines.append((f"landmarks, {protocol}", f"{radial:.1f} px mean radial error, AoP {off}"))
    planes = [(name, _at(overall, f"planes.{name}")) for name in ("accuracy", "auc", "f1", "mcc")]
    if any(value is not None for _, value in planes):
        texts = [f"{name} {'-' if value is None else f'{value:.3f}'}" for name, value in planes]
        lines.append((f"planes, {_at(overall, 'planes.frames'):.0f} frames", ", ".join(texts)))
    return lines


def _trained_line(found: object) -> str:
    if not isinstance(found, dict):
        return "not known which of these frames: the model does not say"
    if not found["frames"]:
        return f"none of these {found['of']} frames"
    return f"{found['frames']} of these {found['of']} frames, or nearly the same ones: these numbers flatter the model"


def _orientation_line(found: object) -> str:
    evidence = f"(log odds {_at(found, 'log_odds'):.1f} of {_at(found, 'views'):.0f} views)"
    read_as = found.get("read_as") if isinstance(found, dict) else None
    if read_as is None:
        return f"not clear whether they are mirrored, and not measured: say --orientation {evidence}"
    return f"read as {read_as} {evidence}"


def _error_line(overall: object, protocol: str, choice: str) -> list[tuple[str, str]]:
    """The AoP error under a protocol; nothing where there was no frame to compare."""
    at = f"protocols.{protocol}.{choice}"
    share = _at(overall, f"{at}.share_measured")
    if share is None:
        return []
    error = [_at(overall, f"{at}.aop_deg.absolute_error.{name}") for name in ("mean", "median", "p95")]
    texts = " / ".join("-" if value is None else f"{value:.1f}°" for value in error)
    return [(f"AoP error, {protocol}, {choice}", f"{texts} mean / median / p95, {100 * share:.1f} % measured")]


def _at(content: object, path: str) -> float | None:
    """The number at a dotted path, None where there is none."""
    for key in path.split("."):
        content = content.get(key) if isinstance(content, dict) else None
    return float(content) if isinstance(content, int | float) else None
