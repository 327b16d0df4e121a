"""`ward.toml`: which feeds, what is made of them, and what limits hold.

    [feeds.room-1]
    source = "rtsp://user:password@10.0.0.7/live"
    label = "Room 1"

    [analysis]
    protocol = "robust"

    [recording]
    folder = "recordings"

`[analysis]` is that of `partum.toml`, and a feed takes the keys of its `[source]`; the other tables are
`stream.ward.tables`. Paths are relative to the file. An unknown table or key is refused.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from engines.redaction import looks_like_address
from stream.app.options.config_file import ConfigFile, table_values
from stream.app.options.declare import as_option, declared_fields, key_of
from stream.app.options.session_options import SessionOptions
from stream.app.options.shared import AnalysisOptions, SourceOptions
from stream.common.errors import OptionError
from stream.common.text import did_you_mean
from stream.measurement.protocols import check_orientation
from stream.sources import DEVICE_SCHEMES, LIVE_SCHEMES, open_live
from stream.ward.tables import FeedTable, LimitsTable, MetricsTable, RecordingTable, TokensTable, WallTable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import click

    from stream.app.options.declare import OptionTable

T = TypeVar("T", bound="OptionTable")

FEEDS, ENGINE = "feeds", "engine"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,31})")
_LONGEST_LABEL = 60
_JOINERS = {0x200C: None, 0x200D: None}
"""Between letters of Persian or the parts of an emoji; they are not printed by themselves."""
_LEAST_TOKEN = 16
"""Letters; a shorter one can be guessed."""
_OF_A_FEED = ("spacing", "decode", "sector", "pane", "tick_mm", "profile")
"""Fields of `[source]` that a feed takes."""


@dataclass(frozen=True, kw_only=True)
class FeedConfig:
    """One feed.

    Attributes:
        name: of `[feeds.NAME]`; also of its folder, and the label `feed` of its metrics.
        label: for people.
        options: how it is measured; `options.source` may hold a password.
        rate_hz: frames a second that admission counts on.
        force: admitted whatever the machine can carry.
    """

    name: str
    label: str
    options: SessionOptions
    rate_hz: float
    force: bool

    @property
    def is_live(self) -> bool:
        """Whether it is a live feed, rather than a recording that is played as one."""
        return self.options.live


@dataclass(frozen=True, kw_only=True)
class WardConfig:
    """All of `ward.toml`, checked.

    Attributes:
        path: of the file.
        feeds: by their names, in the order of the file.
        analysis: how all are measured.
        limits, recording, wall, tokens, metrics: see `stream.ward.tables`.
        notices: what a person should know of the file, in lines.
    """

    path: Path
    feeds: Mapping[str, FeedConfig]
    analysis: AnalysisOptions
    limits: LimitsTable
    recording: RecordingTable
    wall: WallTable
    tokens: TokensTable
    metrics: MetricsTable
    notices: tuple[str, ...] = field(default=())

    @property
    def addresses(self) -> tuple[str, ...]:
        """Of feeds and models, which may hold passwords: no log, terminal or page shows them as they are."""
        return tuple(address for feed in self.feeds.values() for address in feed.options.addresses)

    @property
    def all_tokens(self) -> tuple[str, ...]:
        """Of all roles, which nothing shows."""
        return (*self.tokens.watch, *self.tokens.mark, *self.tokens.metrics)


def read_ward_config(path: Path) -> WardConfig:
    """Reads and checks `ward.toml`.

    Raises:
        OptionError: it cannot be read, is no TOML, or holds a table, key or value that cannot be; names file, line and
            key, and how to mend it.
    """
    file = ConfigFile.read(path, mend="give the path of a file that can")
    _check_tables(file)
    analysis = _read(file, "analysis", AnalysisOptions)
    tokens = _read(file, "tokens", TokensTable)
    _check_tokens(file, tokens)
    try:
        check_orientation(analysis.protocol, analysis.orientation)
    except OptionError as error:
        raise OptionError(f"{file.place('analysis')}: {error}") from error
    wall = _read(file, "web", WallTable)
    if wall.tls_key and not wall.tls_cert:
        raise OptionError(f"{file.place('web', 'tls-key')}: [web] tls-key: give the certificate too, tls-cert")
    return WardConfig(
        path=path,
        feeds=_feeds(file, analysis),
        analysis=analysis,
        limits=_read(file, "limits", LimitsTable),
        recording=_read(file, "recording", RecordingTable),
        wall=wall,
        tokens=tokens,
        metrics=_read(file, "metrics", MetricsTable),
        notices=_notices(file, tokens),
    )


_KNOWN = ("feeds", "analysis", "limits", "recording", "web", "tokens", "metrics")


def _check_tables(file: ConfigFile) -> None:
    for name, content in file.tables.items():
        place = file.place("", name)
        if name not in _KNOWN:
            raise OptionError(
                f"{place}: there is no table [{name}].{did_you_mean(name, _KNOWN)} It has: {', '.join(_KNOWN)}."
            )
        if not isinstance(content, dict):
            raise OptionError(f"{place}: {name!r} is a table; write [{name}{'.NAME' if name == FEEDS else ''}] instead")


def _read(file: ConfigFile, table: str, kind: type[T]) -> T:
    values = table_values(file, table, file.tables.get(table, {}), _options(kind))
    return kind(**values)


def _options(kind: type[OptionTable], only: tuple[str, ...] = ()) -> dict[str, click.Parameter]:
    found = [as_option(each, kind, what.on[0]) for each, what in declared_fields(kind) if not only or each.name in only]
    return {key_of(option): option for option in found}


def _feeds(file: ConfigFile, analysis: AnalysisOptions) -> Mapping[str, FeedConfig]:
    found: dict[str, FeedConfig] = {}
    for name, content in file.tables.get(FEEDS, {}).items():
        table = f"{FEEDS}.{name}"
        if not isinstance(content, dict):
            raise OptionError(
                f"{file.place(FEEDS, name)}: [feeds] {name}: give each feed a table of its own, [feeds.{name}]"
            )
        if not _NAME.fullmatch(name):
            raise OptionError(
                f"{file.place(table)}: [feeds.{name}]: a name has letters, digits, - and _, at most 32, and begins with"
                " a letter or digit; put other words into label"
            )
        if name.lower() == ENGINE:
            raise OptionError(f"{file.place(table)}: [feeds.{name}]: logs call the engine so; take another name")
        taken = next((other for other in found if other.lower() == name.lower()), None)
        if taken:
            raise OptionError(
                f"{file.place(table)}: [feeds.{name}] and [feeds.{taken}] would share a folder; rename one"
            )
        found[name] = _feed(file, table, name, content, analysis)
    if not found:
        raise OptionError(f'{file.path}: names no feed; write [feeds.NAME] and below it source = "rtsp://host/live"')
    return found


def _feed(file: ConfigFile, table: str, name: str, content: Mapping[str, Any], analysis: AnalysisOptions) -> FeedConfig:
    known = _options(FeedTable) | _options(SourceOptions, _OF_A_FEED)
    values = table_values(file, table, content, known)
    own = FeedTable(**{each.name: values[each.name] for each in fields(FeedTable) if each.name in values})
    if not own.source:
        raise OptionError(f'{file.place(table)}: [{table}] has no source; write source = "rtsp://host/live"')
    label = own.label or name
    if len(label) > _LONGEST_LABEL or not label.translate(_JOINERS).isprintable():
        raise OptionError(
            f"{file.place(table, 'label')}: [{table}] label: give at most {_LONGEST_LABEL} letters, in one line and"
            " without control characters"
        )
    is_live = _is_live(own.source)
    _check_source(own.source, is_live, f"{file.place(table, 'source')}: [{table}] source")
    source = {each: values[each] for each in _OF_A_FEED if each in values}
    shared = {each.name: getattr(analysis, each.name) for each in fields(analysis)}
    options = SessionOptions(
        **shared,
        **source,
        source=own.source,
        live=is_live,
        overlay=False,
        loop=not is_live,
        pace=None if is_live else own.pace,
    )
    return FeedConfig(name=name, label=label, options=options, rate_hz=own.rate_hz, force=own.force)


def _is_live(source: str) -> bool:
    """Of an address of no known kind, and of `/dev/video0`, `open_live` says what is wrong with it."""
    scheme = source.partition(":")[0].lower()
    is_address = looks_like_address(source) and scheme != "phantom" and not os.path.exists(source)
    return scheme in LIVE_SCHEMES or is_address or source.startswith("/dev/")


def _check_source(source: str, is_live: bool, where: str) -> None:
    """What can be known of a source without asking its peer; a device may be plugged in later."""
    try:
        if is_live and source.partition(":")[0].lower() not in DEVICE_SCHEMES:
            open_live(source).close()
        elif not is_live and not source.startswith("phantom:") and not os.path.exists(source):
            raise OptionError(f"{source}: no such file or folder")
    except OptionError as error:
        raise OptionError(f"{where}: {error}") from error


def _check_tokens(file: ConfigFile, tokens: TokensTable) -> None:
    seen: dict[str, str] = {}
    for role in (each.name for each in fields(tokens)):
        for token in getattr(tokens, role):
            where = f"{file.place('tokens', role)}: [tokens] {role}"
            if len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
                raise OptionError(
                    f"{where}: a token has at least {_LEAST_TOKEN} letters and digits, without blanks; make one by:"
                    " openssl rand -hex 16"
                )
            if token in seen:
                raise OptionError(f"{where}: a token of {seen[token]} is here too; one token has one role")
            seen[token] = role


def _notices(file: ConfigFile, tokens: TokensTable) -> tuple[str, ...]:
    holds_secrets = any(getattr(tokens, each.name) for each in fields(tokens)) or "@" in file.text
    if holds_secrets and file.path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return (f"{file.path}: holds tokens or passwords, and other users can read it; chmod 600 {file.path}",)
    return ()


def changed_feeds(before: WardConfig, after: WardConfig) -> set[str]:
    """The names of feeds whose process must be another after a reload: new, gone, or measured otherwise.

    What is written and how long it stays is of all feeds: where that changes, all of them do.
    """
    names = {*before.feeds, *after.feeds}
    if _written(before) != _written(after):
        return names
    return {name for name in names if _essence(before.feeds.get(name)) != _essence(after.feeds.get(name))}


def _essence(feed: FeedConfig | None) -> FeedConfig | None:
    """A feed without what its process does not know."""
    return None if feed is None else replace(feed, label="", rate_hz=1.0, force=False)


def _written(config: WardConfig) -> tuple[object, ...]:
    recording = config.recording
    return recording.folder, recording.pictures, recording.part_minutes
