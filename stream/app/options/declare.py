"""Declaring an option once: the field of a dataclass, what the command line and a configuration file know of it.

    @dataclass(frozen=True, kw_only=True)
    class OutputOptions(OptionTable):
        TABLE: ClassVar[str] = "outputs"
        record: bool = declare(False, "--record", on=("attach",), help="Keep the pictures too.")

From the field come the option of every command named in `on` (`options_of`), its key in `[outputs]` of a configuration
file, its row in the manual, its place in the object that a run is given (`build_options`) and its entry in `run.json`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from dataclasses import Field

T = TypeVar("T")
_KEY = "declaration"


class OptionTable:
    """Base of a dataclass of declared options: a table of a configuration file, and a section of the help."""

    TABLE: ClassVar[str]
    """Its name in a configuration file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What a field says of its option.

    Attributes:
        flags: as on the command line, `("-o", "--out")` or `("--overlay/--no-overlay",)`.
        on: the commands that take it.
        help: one line.
        defaults: of commands that have another than the field's.
        shown_default: what the help calls the default, where its value says nothing.
        is_secret: its value is shown nowhere.
        more: for Click: `type`, `metavar`, `multiple` ...
    """

    flags: tuple[str, ...]
    on: tuple[str, ...]
    help: str
    defaults: Mapping[str, Any]
    shown_default: str
    is_secret: bool
    more: Mapping[str, Any]


def declare(
    default: T,
    *flags: str,
    on: Sequence[str],
    help: str,
    defaults: Mapping[str, T] | None = None,
    shown_default: str = "",
    is_secret: bool = False,
    **more: Any,
) -> T:
    """The field of an option; see `Declaration`."""
    declaration = Declaration(
        flags=flags,
        on=tuple(on),
        help=help,
        defaults=defaults or {},
        shown_default=shown_default,
        is_secret=is_secret,
        more=more,
    )
    return field(default=default, metadata={_KEY: declaration})


def declared_fields(options: type) -> Iterator[tuple[Field[Any], Declaration]]:
    """The fields of a dataclass that are options, in order."""
    for each in fields(options):
        if _KEY in each.metadata:
            yield each, each.metadata[_KEY]


class Option(click.Option):
    """An option that knows where it is shown and which table of a configuration file it is in.

    Args:
        words: its flags and the name of its value.
        section: of the help.
        table: of a configuration file, that it shares with other commands; None for one of its command alone.
        is_secret: its value is shown nowhere.
        facts: for Click.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        section: str = "Options",
        table: str | None = None,
        is_secret: bool = False,
        **facts: Any,
    ) -> None:
        super().__init__(list(words), **facts)
        self.section, self.table, self.is_secret = section, table, is_secret

    def get_help_extra(self, ctx: click.Context) -> Any:
        extra = super().get_help_extra(ctx)
        if isinstance(self.show_default, str):  # Click puts it in parentheses, as if it were less true
            extra["default"] = self.show_default
        return extra


def key_of(parameter: click.Parameter) -> str:
    """What a parameter is called in a configuration file: its long flag without dashes; an argument's own name."""
    long = [flag for flag in parameter.opts if flag.startswith("--")] if isinstance(parameter, click.Option) else []
    return long[0].removeprefix("--") if long else str(parameter.name)


def as_option(declared_field: Field[Any], kind: type[OptionTable], command: str) -> Option:
    """The option of a command that a declared field is."""
    what: Declaration = declared_field.metadata[_KEY]
    default = what.defaults.get(command, declared_field.default)
    shown = str(default) if isinstance(default, Enum) else default not in (None, False, ()) or "/" in what.flags[-1]
    return Option(
        [*what.flags, declared_field.name],
        section=kind.TABLE.capitalize(),
        table=kind.TABLE,
        is_secret=what.is_secret,
        default=default,
        show_default=what.shown_default or shown,
        help=what.help,
        **what.more,
    )


def build_options(options: type[T], values: Mapping[str, Any], **more: Any) -> T:
    """The dataclass with its declared fields as a command was given them; others are named in `more`."""
    given = {each.name: values[each.name] for each, _ in declared_fields(options) if each.name in values}
    return options(**given, **more)
