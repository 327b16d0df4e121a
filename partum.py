"""The `partum` command: every sub-command, and the package that each is in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "replay": ("stream.app.commands", "Run a recording through the pipeline: AoP and HSD over time."),
    "attach": ("stream.app.commands", "Watch a live feed: AoP and HSD as they are scanned."),
    "measure": ("stream.app.commands", "Measure AoP and HSD on a folder of existing masks."),
    "evaluate": ("calibration.commands", "Compare a model with the labels of a data set."),
    "bench": ("benchmarks.commands", "Measure how fast and how right this machine is."),
    "engines": ("stream.app.commands", "List what can run a model here, and why the rest cannot."),
    "info": ("stream.app.commands", "Say what a model file or a built engine is."),
    "build": ("calibration.commands", "Build an engine for this machine, and try it."),
    "quantize": ("calibration.commands", "Make an INT8 model by calibration on frames."),
    "export": ("stream.app.commands", "Make a model file from a checkpoint, or serve one by Triton."),
    "train": ("calibration.commands", "Train a network; resumes a run that was killed."),
    "folds": ("calibration.commands", "Train the grouped cross-validation; resumes."),
    "weak-labels": ("calibration.commands", "Let teachers write masks for frames that have none."),
    "sources": ("stream.app.commands", "Say what attach can watch here, and why not."),
    "doctor": ("stream.app.commands", "Examine this machine, with a mend for each fault."),
    "config": ("stream.app.commands", "Show what holds of every option, and where it comes from."),
    "completion": ("stream.app.commands", "Let bash, zsh or fish complete commands and options."),
}
"""Name: (package, help line). `partum NAME` is `NAME_command.py` in it, imported when it runs."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `partum` with these words, by default those of the process, and exits with the code of its end."""
    from stream.app.command_line import program, run

    run(program(COMMANDS), arguments)


if __name__ == "__main__":
    main()
