"""The `partum` command: a lazy table of sub-commands, each implemented in the package it belongs to."""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem, shell_complete

from engines.errors import PartumError
from engines.redaction import scrubbed
from stream.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "replay": ("stream.cli:replay", "Run a recording through the pipeline: AoP and HSD over time."),
    "attach": ("stream.cli:attach", "Watch a live feed: AoP and HSD as they are scanned."),
    "sources": ("stream.doctor_commands:sources_command", "Say what attach can watch here, and why not."),
    "doctor": ("stream.doctor_commands:doctor_command", "Examine this machine, with a mend for each fault."),
    "measure": ("stream.measure:measure_command", "Measure AoP and HSD on a folder of existing masks."),
    "evaluate": ("calibration.evaluation.command:evaluate_command", "Compare a model with the labels of a data set."),
    "engines": ("engines.commands:engines_command", "List what can run a model here, and why the rest cannot."),
    "build": ("calibration.building_command:build_command", "Build an engine for this machine, and try it."),
    "quantize": ("calibration.quantization.command:quantize_command", "Make an INT8 model by calibration on frames."),
    "bench": ("benchmarks.commands:bench_command", "Measure how fast and how right this machine is."),
    "info": ("engines.commands:info_command", "Say what a model file or a built engine is."),
    "train": ("calibration.training.command:train_command", "Train a network; resumes a run that was killed."),
    "folds": ("calibration.training.folds_command:folds_command", "Train the grouped cross-validation; resumes."),
    "weak-labels": (
        "calibration.training.weak_labels_command:weak_labels_command",
        "Let teachers write masks for frames that have none.",
    ),
    "export": ("engines.commands:export_command", "Make a model file from a checkpoint, or serve one by Triton."),
}
"""Name: (`module:command`, help line). A module is imported when its command runs."""

COMPLETE = "_PARTUM_COMPLETE"
"""Set by shells that ask for completions, and for the script that asks: `_PARTUM_COMPLETE=bash_source partum`."""

log = logging.getLogger("partum")


class LazyCommands(click.Group):
    """Finds commands in the table; `partum --help` lists them without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        nearest = get_close_matches(args[0], COMMANDS, n=1)
        if args[0] not in COMMANDS and nearest:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {nearest[0]!r}?")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [CompletionItem(name, help=line) for name, (_, line) in COMMANDS.items() if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="partum")
def partum() -> None:
    """Live angle of progression and head-symphysis distance on intrapartum ultrasound.

    Research use only, not a medical device.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command and exits: 0 done or stopped, 1 the run failed, 2 the command line is wrong, 130 interrupted."""
    if arguments is not None:
        _run(list(arguments))
        return
    try:
        _run(sys.argv[1:])
    except SystemExit as end:
        _leave(end)
    _leave(SystemExit(0))


def _leave(end: SystemExit) -> None:
    """Ends the process, at once where threads are left that nobody waits for.

    Such a thread is in a call that cannot be cut short, an address that FFmpeg still tries to open. An interpreter that
    is taken down under it crashes when it comes back.
    """
    others = [thread for thread in threading.enumerate() if thread.daemon and thread is not threading.current_thread()]
    if not others:
        raise end
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))


def _run(words: list[str]) -> None:
    _prepare_terminal()
    if COMPLETE in os.environ:
        sys.exit(shell_complete(partum, {}, "partum", COMPLETE, os.environ[COMPLETE]))
    # Not Click's own main: it takes every EOFError, a truncated recording too, for the user's.
    given = [*words, *(word.partition("=")[2] for word in words)]  # what may hold a password
    try:
        with partum.make_context("partum", words or ["--help"], obj=given) as context:
            partum.invoke(context)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:  # a group alone: what it can do is no error
        click.echo(error.format_message())
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "partum"
        _fail(error, 2, f"{error.format_message()} (see '{command} --help')", given)
    except OptionError as error:
        _fail(error, 2, str(error), given)
    except (PartumError, click.ClickException) as error:
        _fail(error, 1, str(error), given)
    except KeyboardInterrupt as error:
        _fail(error, 130, "interrupted", given)
    except BrokenPipeError:  # whoever read what is printed has had enough
        _close_output()
        sys.exit(1)
    except OSError as error:
        _fail(error, 1, f"{error.strerror or error} (writing to {error.filename or 'the terminal'})", given)
    except Exception as error:  # noqa: BLE001 - the program's edge: one line, and the traceback under -v
        _fail(error, 1, f"{type(error).__name__}: {error} (a defect: run again with -v and report it)", given)


def _prepare_terminal() -> None:
    """A terminal that lacks a letter shows another instead: a degree sign must not end a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _close_output() -> None:
    """Nobody reads stdout any more: what is still to be flushed at the program's end goes nowhere."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: BaseException, code: int, message: str, given: Sequence[str]) -> None:
    """Says in one line on stderr what happened; the traceback only where -v asked for it.

    No address of the words `given` is shown with a password in it, whoever wrote the message.
    """
    log.debug("traceback", exc_info=error)
    click.echo(f"partum: {scrubbed(' '.join(message.split()), *given)}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
