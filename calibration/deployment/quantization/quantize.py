"""`partum quantize`: a float model to an accepted INT8 model."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from calibration.deployment.acceptance import LEAST_FRAMES, AcceptanceReport, compare_engines, print_report
from calibration.deployment.quantization.frames import choose_frames
from calibration.deployment.quantization.qdq import Activations, Quantizer, Ranges
from calibration.deployment.quantization.sensitivity import Sensitivity, scan
from calibration.deployment.trial_frames import as_network_input, read_frames
from calibration.errors import AcceptanceError, DataSetError
from calibration.fitting.thresholds import matched_threshold
from engines.backends.openvino import OpenVinoEngine
from engines.errors import ModelMismatch
from engines.onnx.editing import read_graph, serialize_model
from engines.onnx.model_file import ModelFile, read_model_file
from engines.onnx.training_frames import find_training_frames
from stream.common.atomic_file import write_atomic
from stream.common.errors import OptionError
from stream.outputs.manifest import NOTICE, environment_facts, now_utc, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from calibration.data.base import LabelledFrame
    from engines.base import Engine

SCHEMA = "partum.quantization/1"
_log = logging.getLogger(__name__)
HURTS = 5.0
"""A layer that alone changes so many times as many pixels as the median layer stays in float."""
MORE_KEPT = 4
MOST_KEPT = 12
"""If the model is refused, so many more layers are kept in float at a time, up to so many in all."""
SCANNED_FRAMES = 12
TRIAL_FRAMES = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeOptions:
    """Options of `partum quantize`.

    Attributes:
        model: the float model.
        out: the file to write.
        data: folders of data sets; ranges come from `frames` of their frames, the trial from the others.
        force: writes a refused model all the same, marked.
    """

    model: Path
    out: Path
    data: Sequence[Path]
    frames: int = 128
    ranges: Ranges = "minmax"
    activations: Activations = "signed"
    force: bool = False


def run_quantize(options: QuantizeOptions) -> AcceptanceReport:
    """Quantises, tries, and writes the model and `OUT.json` beside it.

    Raises:
        OptionError: no data set is named.
        ModelMismatch: the model is not in float.
        DataSetError: the data cannot be read, or hold too few frames.
        AcceptanceError: the quantised model is refused; nothing is written.
    """
    if not options.data:
        raise OptionError(
            "quantising without real frames would invent the ranges of every layer; name a data set with --data"
        )
    model = read_model_file(options.model)
    if model.spec.precision != "fp32":
        raise ModelMismatch(f"{options.model}: it is {model.spec.precision} already; quantise the float32 model")
    frames = read_frames(options.data)
    chosen = choose_frames(frames, options.frames)
    if not any(frame.plane is False for frame in chosen):
        _log.warning("no frame is labelled as another plane than the standard one; add a data set that has some")
    trial = _others(frames, chosen)
    with (
        _progress() as progress,
        Quantizer(model.content, as_network_input(chosen, model.spec), options.ranges) as quantizer,
        OpenVinoEngine(model, precision="fp32") as reference,
    ):
        sensitivities = _scanned(progress, quantizer, model, chosen, options)
        kept = sensitive_layers(sensitivities)
        task = progress.add_task("trial", total=None)
        while True:
            names = tuple(entry.node for entry in sensitivities[:kept])
            content = quantizer.quantized(activations=options.activations, kept=names)
            candidate = _with_threshold(content, reference, chosen)
            report = _tried(candidate, reference, trial)
            if report.accepted or kept + MORE_KEPT > MOST_KEPT:
                break
            kept += MORE_KEPT
        progress.update(task, total=1, completed=1)
    console = Console(stderr=True)
    print_report(report, console)
    if not report.accepted:
        if not options.force:
            raise AcceptanceError(
                f"{options.model}: {'; '.join(report.refusals)}; --force writes it all the same, marked"
            )
        mark = f"engine not accepted: {'; '.join(report.refusals)}"
        candidate = _rewritten(candidate, warning=mark)
    write_atomic(options.out, candidate.content)
    seen = find_training_frames(candidate.spec, options.model.parent)
    if seen and options.out.parent.resolve() != seen.parent.resolve():
        shutil.copy2(seen, options.out.parent)
    write_json(options.out.with_suffix(".json"), _facts(options, candidate, report, sensitivities, names))
    console.print(f"written: {options.out}")
    return report


def sensitive_layers(sensitivities: Sequence[Sensitivity]) -> int:
    """How many of the layers, most sensitive first, stay in float by the rule of `HURTS`."""
    usual = median(entry.changed for entry in sensitivities)
    return sum(entry.changed > HURTS * usual for entry in sensitivities)


def _others(frames: Sequence[LabelledFrame], chosen: Sequence[LabelledFrame]) -> list[LabelledFrame]:
    """The frames of the trial: none that the ranges were taken from."""
    taken = {id(frame) for frame in chosen}
    rest = [frame for frame in frames if id(frame) not in taken]
    if len(rest) < LEAST_FRAMES:
        raise DataSetError(
            f"{len(frames)} frames, of which {len(chosen)} give the ranges, leave {len(rest)} to try the model on;"
            f" {LEAST_FRAMES} are needed: lower --frames, or name more data"
        )
    return choose_frames(rest, TRIAL_FRAMES)


def _scanned(
    progress: Progress,
    quantizer: Quantizer,
    model: ModelFile,
    chosen: Sequence[LabelledFrame],
    options: QuantizeOptions,
) -> list[Sensitivity]:
    images = as_network_input(chosen[:SCANNED_FRAMES], model.spec)
    task = progress.add_task("ranges and sensitivity", total=len(quantizer.convolutions))
    return scan(
        quantizer,
        model.content,
        images,
        activations=options.activations,
        report=lambda done, total: progress.update(task, completed=done, total=total),
    )


def _with_threshold(content: bytes, reference: Engine, chosen: Sequence[LabelledFrame]) -> ModelFile:
    """The quantised model with the plane threshold at which it decides as the float one does."""
    candidate = ModelFile(read_graph(content)[1], content)
    images = as_network_input(chosen, candidate.spec)
    with OpenVinoEngine(candidate) as engine:
        quantised = _probabilities(engine, images)
    threshold, _ = matched_threshold(_probabilities(reference, images), quantised, candidate.spec.plane_threshold)
    return _rewritten(candidate, plane_threshold=threshold, made_from=reference.spec.sha256)


def _rewritten(model: ModelFile, **changes: object) -> ModelFile:
    graph, spec = read_graph(model.content)
    return ModelFile(replace(spec, **changes), serialize_model(graph, spec, **changes))  # type: ignore[arg-type]


def _probabilities(engine: Engine, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.array([float(engine.infer(image[None]).plane_probability[0]) for image in images])


def _tried(candidate: ModelFile, reference: Engine, trial: Sequence[LabelledFrame]) -> AcceptanceReport:
    with OpenVinoEngine(candidate) as engine:
        return compare_engines(engine, reference, trial, precision="int8")


def _facts(
    options: QuantizeOptions,
    candidate: ModelFile,
    report: AcceptanceReport,
    sensitivities: Sequence[Sensitivity],
    kept: Sequence[str],
) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "notice": NOTICE,
        "finished_utc": now_utc(),
        "model": candidate.spec.name,
        "float_model_sha256": read_model_file(options.model).spec.sha256,
        "ranges": options.ranges,
        "activations": options.activations,
        "frames": options.frames,
        "plane_threshold": candidate.spec.plane_threshold,
        "kept_in_float": list(kept),
        "share_of_pixels_changed_by_each_layer_alone": {entry.node: entry.changed for entry in sensitivities},
        "acceptance": report.as_json() | {"forced": not report.accepted},
        **environment_facts(),
    }


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
