"""The form of every sub-command: its help in sections with examples at the end, `-v`, `--config`, `-o`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from engines.redaction import redact_text
from stream.app.options.config_option import CONFIG, NO_CONFIG, apply_config, configured_line, forget_config
from stream.app.options.declare import Option
from stream.app.options.values import FilePath
from stream.common.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

F = TypeVar("F", bound="Callable[..., Any]")

GENERAL = "General"
SECTIONS = ("Source", "Analysis", "Options", "Outputs", "Web", GENERAL)
"""Of the help, in order; a command has those that it has options of."""


class Command(click.Command):
    """A sub-command of `partum`.

    Args:
        name: of it.
        examples: lines for the end of the help, each a whole command line.
        reads_config: takes what the command line does not say from configuration files.
        facts: for Click.
    """

    def __init__(
        self, name: str | None, *, examples: Sequence[str] = (), reads_config: bool = True, **facts: Any
    ) -> None:
        facts.setdefault("context_settings", {}).setdefault("help_option_names", ["-h", "--help"])
        super().__init__(name, **facts)
        self.examples, self.reads_config = tuple(examples), reads_config
        self.params += [*(_config_options() if reads_config else ()), _verbose_option()]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows: dict[str, list[tuple[str, str]]] = {section: [] for section in SECTIONS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                section = getattr(parameter, "section", GENERAL if parameter.name in _HELP else "Options")
                rows[section].append(record)
        for section, found in rows.items():
            if found:
                with formatter.section(section):
                    formatter.write_dl(found)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(self.examples, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        if line := configured_line(ctx):
            click.echo(line, err=True)
        return super().invoke(ctx)


class CommandGroup(click.Group):
    """A group of sub-commands, listed with the whole of their first line, where Click cuts it.

    Args:
        name: of it.
        examples: lines for the end of the help, each a whole command line.
        facts: for Click.
    """

    command_class = Command

    def __init__(self, name: str | None, *, examples: Sequence[str] = (), **facts: Any) -> None:
        facts.setdefault("context_settings", {}).setdefault("help_option_names", ["-h", "--help"])
        super().__init__(name, **facts)
        self.examples = tuple(examples)
        self.params.append(_verbose_option())

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}.{did_you_mean(args[0], names)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help or "") for name, command in self.commands.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(self.examples, formatter)


def _write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    if examples:
        with formatter.section("Examples"):
            for line in examples:
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")  # whole: it is copied


def command(name: str, **facts: Any) -> Callable[[Callable[..., Any]], Command]:
    """Makes a function a sub-command; see `Command`."""
    return click.command(name, cls=Command, **facts)


def out_option(metavar: str, help: str, **facts: Any) -> Callable[[F], F]:
    """`-o/--out`: where what the command writes goes, a FILE or a FOLDER."""
    facts.setdefault("type", FilePath(path_type=Path))
    return click.option("-o", "--out", "out", cls=Option, section="Outputs", metavar=metavar, help=help, **facts)


json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")


class RedactingFormatter(logging.Formatter):
    """Log lines and tracebacks without the passwords of the command line's addresses, whoever wrote them."""

    def __init__(self, pattern: str, *, given: Sequence[str]) -> None:
        super().__init__(pattern)
        self._given = given

    def format(self, record: logging.LogRecord) -> str:
        return redact_text(super().format(record), *self._given)


def _verbose(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        shown = logging.StreamHandler()
        shown.setFormatter(RedactingFormatter("%(name)s: %(message)s", given=ctx.find_root().obj or ()))
        logging.basicConfig(handlers=[shown])
        for package in ("partum", "engines", "stream", "calibration"):
            logging.getLogger(package).setLevel(logging.DEBUG)


_HELP = ("help", "_click_default_help")


def _verbose_option() -> Option:
    return Option(
        ["-v", "--verbose"],
        section=GENERAL,
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_verbose,
        help="Say what is done, and show the traceback of an error.",
    )


def config_option(callback: Callable[[click.Context, click.Parameter, Path | None], None]) -> Option:
    """`--config FILE`, read by the callback, which is called without it too."""
    return Option(
        ["--config", CONFIG],
        section=GENERAL,
        type=FilePath(path_type=Path),
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=callback,
        help="Configuration file; goes before ./partum.toml and the user's.",
    )


def _config_options() -> Sequence[Option]:
    """`--no-config` comes first: the callback of the other asks for it."""
    none = Option(
        ["--no-config", NO_CONFIG],
        section=GENERAL,
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=forget_config,
        help="Read no configuration file.",
    )
    return none, config_option(apply_config)
