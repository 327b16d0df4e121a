"""The `partum` command, and what `import partum` offers to scripts and notebooks.

Both are lazy: a sub-command is imported when it runs, a name below when it is first used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.base import Engine, Prediction
    from engines.errors import PartumError
    from stream.api.preprocessed_pipeline import PreprocessedPipeline as Pipeline
    from stream.api.replay import replay
    from stream.api.result import ReplayResult
    from stream.api.still import measure_picture as measure
    from stream.frames.frame import Frame, PixelSpacing
    from stream.frames.reason import Reason
    from stream.inference.engine_trial import load_judged_engine as load_engine
    from stream.measurement.biometry import Biometry, Orientation
    from stream.measurement.protocols import measure as measure_mask
    from stream.pipeline.record import FrameState, Measurement
    from stream.pipeline.record_fields import record_of
    from stream.preprocessing.options import PreprocessingOptions
    from stream.sources import open_live, open_source

__all__ = [
    "Biometry",
    "Engine",
    "Frame",
    "FrameState",
    "Measurement",
    "Orientation",
    "PartumError",
    "Pipeline",
    "PixelSpacing",
    "Prediction",
    "PreprocessingOptions",
    "Reason",
    "ReplayResult",
    "load_engine",
    "measure",
    "measure_mask",
    "open_live",
    "open_source",
    "record_of",
    "replay",
]

_HOMES = {
    "Biometry": "stream.measurement.biometry:Biometry",
    "Engine": "engines.base:Engine",
    "Frame": "stream.frames.frame:Frame",
    "Measurement": "stream.pipeline.record:Measurement",
    "Orientation": "stream.measurement.biometry:Orientation",
    "PartumError": "engines.errors:PartumError",
    "Pipeline": "stream.api.preprocessed_pipeline:PreprocessedPipeline",
    "PixelSpacing": "stream.frames.frame:PixelSpacing",
    "Prediction": "engines.base:Prediction",
    "Reason": "stream.frames.reason:Reason",
    "ReplayResult": "stream.api.result:ReplayResult",
    "FrameState": "stream.pipeline.record:FrameState",
    "PreprocessingOptions": "stream.preprocessing.options:PreprocessingOptions",
    "load_engine": "stream.inference.engine_trial:load_judged_engine",
    "measure": "stream.api.still:measure_picture",
    "measure_mask": "stream.measurement.protocols:measure",
    "open_live": "stream.sources:open_live",
    "open_source": "stream.sources:open_source",
    "record_of": "stream.pipeline.record_fields:record_of",
    "replay": "stream.api.replay:replay",
}

COMMANDS = {
    "replay": ("stream.app.commands", "Run a recording through the pipeline: AoP and HSD over time."),
    "attach": ("stream.app.commands", "Watch a live feed: AoP and HSD as they are scanned."),
    "batch": ("stream.batch.commands", "Run many recordings through the pipeline; resumes, or watches folders."),
    "archive": ("stream.archive.commands", "Run an archive through the pipeline on a Ray cluster, into Parquet."),
    "receive": ("stream.receiver.commands", "Be a DICOM node: measure what scanners store, and answer."),
    "ward": ("stream.ward.commands", "Run several feeds on one server: a process for each, one engine for all."),
    "measure": ("stream.app.commands", "Measure AoP and HSD on a folder of existing masks."),
    "report": ("stream.report.commands", "Make a report of finished runs, for paper: course, pushes, limits."),
    "review": ("stream.review.commands", "Look at a finished run in a browser: mark it, confirm and correct frames."),
    "mark": ("stream.review.commands", "Mark moments of a finished run: start and end of a push, a note."),
    "evaluate": ("calibration.commands", "Compare a model with the labels of a data set."),
    "bench": ("benchmarks.commands", "Measure how fast and how right this machine is."),
    "engines": ("stream.app.commands", "List what can run a model here, and why the rest cannot."),
    "info": ("stream.app.commands", "Say what a model file or a built engine is."),
    "build": ("calibration.commands", "Build an engine for this machine, and try it."),
    "calibrate": ("calibration.commands", "Fit the filter's constants to recordings."),
    "quantize": ("calibration.commands", "Make an INT8 model by calibration on frames."),
    "export": ("stream.app.commands", "Make a model file from a checkpoint, or serve one by Triton."),
    "train": ("calibration.commands", "Train a network; resumes a run that was killed."),
    "folds": ("calibration.commands", "Train the grouped cross-validation; resumes."),
    "weak-labels": ("calibration.commands", "Let teachers write masks for frames that have none."),
    "export-dicom": ("stream.app.commands.exports", "Write a finished run as DICOM: report, masks, best frames."),
    "export-fhir": ("stream.app.commands.exports", "Write a finished run as FHIR Observations."),
    "export-table": ("stream.app.commands.exports", "Write finished runs as one tidy table."),
    "export-masks": ("stream.app.commands.exports", "Write frames corrected in review as a data set."),
    "verify": ("stream.app.commands.exports", "Find any change in the files of a finished run."),
    "sources": ("stream.app.commands", "List the live sources that attach can read here, and why not others."),
    "doctor": ("stream.app.commands", "Examine this machine, with a remedy for each fault."),
    "config": ("stream.app.commands", "Show what holds of every option, and where it comes from."),
    "completion": ("stream.app.commands", "Let bash, zsh or fish complete commands and options."),
}
"""Name: (package, help line). `partum NAME` is `NAME_command.py` in it, imported when it runs."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `partum` with these words, by default those of the process, and exits with the code of its end."""
    try:
        from stream.app.command_line import program, run
    except KeyboardInterrupt:  # Ctrl-C while the program itself is read
        sys.stderr.write("partum: interrupted\n")
        sys.exit(130)

    run(program(COMMANDS), arguments)


if not TYPE_CHECKING:  # a type checker must not take any name for one of these

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'partum' has no attribute {name!r}")
        module, _, attribute = _HOMES[name].partition(":")
        return getattr(import_module(module), attribute)

    def __dir__() -> list[str]:
        return sorted(__all__)


if __name__ == "__main__":
    main()
