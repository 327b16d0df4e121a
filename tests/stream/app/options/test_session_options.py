"""Every option of the command line is in `run.json`, by construction, and none of them gives a secret away."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import click
import pytest

from stream.app.commands.attach_command import attach_command
from stream.app.commands.replay_command import replay_command
from stream.app.options.config_file import configurable
from stream.app.options.declare import build_options, declared_fields, key_of
from stream.app.options.session_options import SessionOptions
from stream.app.options.shared import SHARED, shared_options
from stream.app.options.values import ScannerProfile
from stream.batch.commands.batch_command import batch_command
from stream.frames.frame import PixelSpacing
from stream.measurement.biometry import Orientation
from stream.preprocessing import PreprocessingOptions
from stream.preprocessing.sector.detection import Panes
from stream.receiver.commands.receive_command import receive_command

RENAMED = {"sources": "source", "duration": "duration_s", "spacing": "spacing_mm"}
FULL = SessionOptions(
    source="rtsp://nurse:SEKRET@127.0.0.1/live",
    out=Path("out"),
    model="triton://nurse:SEKRET@127.0.0.1:8001/psfh_lite0",
    orientation=Orientation.MIRRORED,
    spacing=PixelSpacing(0.3, 0.25),
    live=True,
    serve="127.0.0.1:8400",
    token="SEKRET",
    profile=ScannerProfile(
        Path("scanner.toml"),
        PreprocessingOptions(
            sector=(560, 150, 700, 664),
            pane=Panes.RIGHT,
            tick_mm=10.0,
            spacing=PixelSpacing(0.2, 0.2),
            size=(1920, 1080),
        ),
    ),
    pane="left",
    from_files={"profile": "partum.toml:2"},
)


@pytest.mark.parametrize("command", [replay_command, attach_command], ids=["replay", "attach"])
def test_the_manifest_names_every_option_of_the_command_line(command: click.Command) -> None:
    named = {RENAMED.get(str(option.name), str(option.name)) for option in command.params if option.expose_value}
    assert named <= set(SessionOptions().as_json())


@pytest.mark.parametrize("command", [replay_command, attach_command], ids=["replay", "attach"])
def test_a_configuration_file_can_hold_every_option_of_the_command_line(command: click.Command) -> None:
    options = [each for each in command.params if isinstance(each, click.Option)]
    held = {key_of(each) for each in configurable(command)}
    assert {key_of(each) for each in options} - held == {"config", "no-config"}
    shared = {key for table in shared_options().values() for key in table}
    assert held - shared == {"verbose", key_of(command.params[0])}


def test_an_option_is_declared_in_one_place_and_appears_everywhere() -> None:
    """The count that a new option is judged by: each of the four tables is all that says of its options."""
    declared_names = {each.name for kind in SHARED for each, _ in declared_fields(kind)}
    commands = (replay_command, attach_command, batch_command, receive_command)
    taken = {str(each.name) for command in commands for each in command.params}
    of_many = {
        "inputs",
        "jobs",
        "resume",
        "watch",
        "settle_s",
        "named",
        "title",
        "port",
        "bind",
        "peers",
        "keep_hours",
        "send_to",
        "write_files",
    }
    assert taken - declared_names == {"source", "sources", "verbose", "config_file", "no_config"} | of_many
    assert declared_names - taken == set()
    assert declared_names <= {field.name for field in fields(SessionOptions)}


def test_defaults_of_the_command_line_are_those_of_the_class() -> None:
    for command, differing in ((replay_command, set()), (attach_command, {"overlay"})):
        context = command.make_context("partum", ["rtsp://a/live"])
        given = build_options(SessionOptions, context.params)
        differ = {
            each.name
            for each in fields(SessionOptions)
            if getattr(given, each.name) != getattr(SessionOptions(), each.name)
        }
        assert differ == differing


def test_the_manifest_has_every_field_there_is() -> None:
    written = FULL.as_json()
    own = {RENAMED.get(field.name, field.name) for field in fields(SessionOptions)}
    of_screen = {field.name for field in fields(PreprocessingOptions)} - {"spacing", "size", "typed"}
    assert set(written) == own | of_screen | {"profile_spacing_mm", "profile_screen"}


def test_values_are_written_as_they_were_given_and_secrets_are_not() -> None:
    text = json.dumps(FULL.as_json(), allow_nan=False)
    written = json.loads(text)
    assert "SEKRET" not in text
    assert written["source"] == "rtsp://***@127.0.0.1/live"
    assert written["token"] == "given"
    assert written["spacing_mm"] == [0.3, 0.25]
    assert written["profile_spacing_mm"] == [0.2, 0.2]
    assert written["profile_screen"] == [1920, 1080]
    assert (written["sector"], written["pane"], written["tick_mm"]) == ([560, 150, 700, 664], "left", 10.0)
    assert (written["orientation"], written["out"], written["profile"]) == ("mirrored", "out", "scanner.toml")
    assert SessionOptions().as_json()["pace"] == "asap"
    assert SessionOptions().as_json()["model"] == "default"
