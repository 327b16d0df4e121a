"""`partum ward`: several live feeds on one server, until it is stopped."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import click

from engines.redaction import HIDDEN, redact_text
from stream.common.clock import MonotonicClock
from stream.common.errors import OptionError
from stream.outputs.manifest import NOTICE
from stream.ward.config import read_ward_config
from stream.ward.service.notify import ServiceManager
from stream.ward.supervisor import Ward
from stream.ward.wall.served_wall import ServedWall
from stream.ward.wall.settings import WallSettings

if TYPE_CHECKING:
    from pathlib import Path

    from stream.ward.service.signals import WardSignals

MOST_FILES = 1 << 16


def run_ward(path: Path, signals: WardSignals) -> None:
    """Runs the feeds of `ward.toml` until SIGTERM or Ctrl-C; SIGHUP reads the file again.

    Args:
        path: of the configuration.
        signals: that are listened to already.

    Raises:
        OptionError: the file or the certificate is wrong, or the system is not one that it runs on.
        ExtraMissing: the packages of the web page are not installed.
        OutputError: a folder or the address of the wall cannot be had.
        KeyboardInterrupt: Ctrl-C, after everything was written.
    """
    if sys.platform != "linux":
        raise OptionError("partum ward runs on Linux; elsewhere take partum attach with several sources")
    service = ServiceManager(os.environ, clock=MonotonicClock(), process=os.getpid())
    config = read_ward_config(path)
    settings = WallSettings.checked(config)
    allow_many_files()
    log = _Log()
    with ExitStack() as stack:
        stack.callback(service.close)
        listening = stack.enter_context(settings.web.listen())  # said before a feed starts
        ward = stack.enter_context(Ward(config, told=log.say, service=service))
        log.ward = ward
        for notice in config.notices:
            log.say(notice)
        wall = stack.enter_context(ServedWall(ward, settings, listening=listening, told=log.say))
        ward.on_reload, ward.is_well = wall.take, lambda: wall.is_well
        log.say(f"ward of {len(config.feeds)} feeds. {NOTICE}")
        log.say(f"wall: {wall.address}")
        signals.pass_on(ward)
        ward.run()
        log.say("stopped")
    if left := multiprocessing.active_children():  # Python would wait for them, for as long as a driver holds them
        log.say(f"left behind, as no signal ends them: processes {', '.join(str(each.pid) for each in left)}")
        os._exit(130 if signal.SIGINT in signals.came else 0)
    if signal.SIGINT in signals.came:
        raise KeyboardInterrupt


def allow_many_files() -> None:
    """As many open files as this process may have: clients that only hold connections must not use them up."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_FILES if most < 0 else min(most, MOST_FILES), most))


class _Log:
    """Lines on stderr, for a terminal or a service manager's journal, without any secret of the configuration."""

    ward: Ward | None = None

    def say(self, line: str) -> None:
        if self.ward is not None:
            config = self.ward.config
            line = redact_text(line, *config.addresses)
            for token in config.all_tokens:
                line = line.replace(token, HIDDEN)
        click.echo(line, err=True)
