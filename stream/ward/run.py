"""`partum ward`: several live feeds on one server, until it is stopped."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import click

from engines.redaction import HIDDEN, redact_text
from stream.common.errors import OptionError
from stream.outputs.manifest import NOTICE
from stream.ward.config import read_ward_config
from stream.ward.supervisor import Ward
from stream.ward.wall.server import WallServer
from stream.ward.wall.settings import WallSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stream.ward.config import WardConfig


def run_ward(path: Path) -> None:
    """Runs the feeds of `ward.toml` until SIGTERM or Ctrl-C; SIGHUP reads the file again.

    Raises:
        OptionError: the file or the certificate is wrong, or the system is not one that it runs on.
        ExtraMissing: the packages of the web page are not installed.
        OutputError: a folder or the address of the wall cannot be had.
        KeyboardInterrupt: Ctrl-C, after everything was written.
    """
    if sys.platform != "linux":
        raise OptionError("partum ward runs on Linux; elsewhere take partum attach with several sources")
    config = read_ward_config(path)
    settings = WallSettings.checked(config)
    log = _Log()
    with ExitStack() as stack:
        listening = stack.enter_context(settings.web.listen())  # said before a feed starts
        ward = stack.enter_context(Ward(config, told=log.say))
        log.ward = ward
        for notice in config.notices:
            log.say(notice)
        came = stack.enter_context(_signals(ward))
        wall = stack.enter_context(WallServer(ward, settings, listening=listening))
        ward.on_reload = partial(_take, wall, log)
        log.say(f"ward of {len(config.feeds)} feeds. {NOTICE}")
        log.say(f"wall: {wall.address}")
        ward.run()
        log.say("stopped")
    if signal.SIGINT in came:
        raise KeyboardInterrupt


def _take(wall: WallServer, log: _Log, config: WardConfig) -> None:
    """Gives the wall what was read again.

    Raises:
        OptionError: a name or the certificate is not right; then nothing of the file is taken.
    """
    settings = WallSettings.checked(config)
    wall.reload(settings)
    if settings.web.place_and_names != wall.settings.place_and_names:
        log.say(f"{config.path}: [web] address, names, and whether there is TLS, hold from the next start on")


class _Log:
    """Lines on stderr, for a terminal or a service manager's journal, without any secret of the configuration."""

    ward: Ward | None = None

    def say(self, line: str) -> None:
        secrets = () if self.ward is None else self.ward.config.secrets
        line = redact_text(line, *secrets)
        for secret in secrets:
            line = line.replace(secret, HIDDEN)
        click.echo(line, err=True)


@contextmanager
def _signals(ward: Ward) -> Iterator[list[int]]:
    """SIGTERM and SIGINT stop the ward, a second one at once; SIGHUP reads its file again. Yields those that came."""
    came: list[int] = []

    def stop(number: int, frame: object) -> None:
        came.append(number)
        ward.stop()

    handlers = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: lambda number, frame: ward.reload()}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
