"""How `partum` finds a sub-command, runs it, and ends: completion, one line for each error, exit codes."""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem, shell_complete

from engines.errors import EngineUnavailable, PartumError
from engines.redaction import redact_text
from stream.app.command import CommandGroup, config_option
from stream.app.exit_codes import ExitCode
from stream.app.options.config_option import remember_config
from stream.common.errors import ExtraMissing, OptionError
from stream.common.text import did_you_mean, on_one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COMPLETE = "_PARTUM_COMPLETE"
"""Set by shells that ask for completions, and for the script that asks: `_PARTUM_COMPLETE=bash_source partum`."""

log = logging.getLogger("partum")


class LazyCommands(CommandGroup):
    """Finds commands in a table; `partum --help` lists them without importing any.

    Args:
        table: name of a command: the package it is in, and its help line. `weak-labels` of `calibration.commands` is
            `calibration.commands.weak_labels_command.weak_labels_command`.
        name: of the program.
        help_text: its own.
        examples: lines for the end of its help.
    """

    def __init__(
        self, table: Mapping[str, tuple[str, str]], *, name: str, help_text: str, examples: Sequence[str] = ()
    ) -> None:
        super().__init__(name, help=help_text, examples=examples)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return None
        name = f"{cmd_name.replace('-', '_')}_command"
        command: click.Command = getattr(import_module(f"{self.table[cmd_name][0]}.{name}"), name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [
            CompletionItem(name, help=line) for name, (_, line) in self.table.items() if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.table.items()])


def program(table: Mapping[str, tuple[str, str]]) -> click.Group:
    """The `partum` command over a table of sub-commands."""
    group = LazyCommands(
        table,
        name="partum",
        help_text="Measure the angle of progression and the head-symphysis distance on intrapartum ultrasound, live or"
        " from a recording.\n\nResearch use only, not a medical device.",
        examples=("partum replay", "partum replay loop.mp4 --out results", "partum doctor"),
    )
    group.params.append(config_option(remember_config))
    return click.version_option(package_name="partum")(group)


def run(group: click.Group, arguments: Sequence[str] | None = None) -> None:
    """Runs the command and exits with a code of `ExitCode`.

    Args:
        group: the program.
        arguments: its words; None takes those of the process, and ends that.
    """
    if arguments is not None:
        _run(group, list(arguments))
        return
    try:
        _run(group, sys.argv[1:])
    except SystemExit as end:
        leave(end)
    leave(SystemExit(0))


def leave(end: SystemExit) -> None:
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


def _run(group: click.Group, words: list[str]) -> None:
    _prepare_terminal()
    if COMPLETE in os.environ:
        sys.exit(shell_complete(group, {}, "partum", COMPLETE, os.environ[COMPLETE]))
    # Not Click's own main: it takes every EOFError, a truncated recording too, for the user's.
    given = [*words, *(word.partition("=")[2] for word in words)]  # what may hold a password
    try:
        with group.make_context("partum", words or ["--help"], obj=given) as context:
            group.invoke(context)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:  # a group alone: what it can do is no error
        click.echo(error.format_message())
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "partum"
        _fail(error, ExitCode.USAGE, f"{_usage_message(error)} (see '{command} --help')", given)
    except (OptionError, EngineUnavailable, ExtraMissing) as error:  # what this machine has not is asked for in vain
        _fail(error, ExitCode.USAGE, str(error), given)
    except (PartumError, click.ClickException) as error:
        _fail(error, ExitCode.FAILED, str(error), given)
    except KeyboardInterrupt as error:
        _fail(error, ExitCode.INTERRUPTED, "interrupted", given)
    except BrokenPipeError:  # whoever read what is printed has had enough
        _close_output()
        sys.exit(ExitCode.FAILED)
    except OSError as error:
        _fail(
            error, ExitCode.FAILED, f"{error.strerror or error} (writing to {error.filename or 'the terminal'})", given
        )
    except Exception as error:  # noqa: BLE001 - the program's edge: one line, and the traceback under -v
        _fail(
            error,
            ExitCode.FAILED,
            f"{type(error).__name__}: {error} (a defect: run again with -v and report it)",
            given,
        )


def _usage_message(error: click.UsageError) -> str:
    """What Click says, with the guess at an option in the words of the other guesses."""
    if isinstance(error, click.NoSuchOption):
        return f"{error.message.rstrip('.')}.{did_you_mean(error.option_name, error.possibilities or ())}"
    return error.format_message()


def _prepare_terminal() -> None:
    """A terminal that lacks a letter shows another instead: a degree sign must not end a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _close_output() -> None:
    """Nobody reads stdout any more: what is still to be flushed at the program's end goes nowhere."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: BaseException, code: ExitCode, message: str, given: Sequence[str]) -> None:
    """Says in one line on stderr what happened; the traceback only where -v asked for it.

    No address of the words `given` is shown with a password in it, whoever wrote the message.
    """
    log.debug("traceback", exc_info=error)
    click.echo(f"partum: {on_one_line(redact_text(' '.join(message.split()), *given))}", err=True)
    sys.exit(code)
