"""Every option of the command line is in `run.json`, by construction, and none of them gives a secret away."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import click
import pytest

from stream.app.commands.attach_command import attach_command
from stream.app.commands.replay_command import replay_command
from stream.app.session_options import SessionOptions
from stream.frames.frame import PixelSpacing
from stream.measurement.biometry import Orientation
from stream.preprocessing import WatchOptions
from stream.preprocessing.sector.detection import Panes

RENAMED = {"sources": "source", "duration": "duration_s", "spacing": "spacing_mm"}
FULL = SessionOptions(
    source="rtsp://nurse:SEKRET@127.0.0.1/live",
    out=Path("out"),
    model="triton://nurse:SEKRET@127.0.0.1:8001/psfh_unet",
    orientation=Orientation.MIRRORED,
    spacing=PixelSpacing(0.3, 0.25),
    live=True,
    serve="127.0.0.1:8400",
    token="SEKRET",
    profile=Path("scanner.toml"),
    watch=WatchOptions(
        sector=(560, 150, 700, 664),
        pane=Panes.LEFT,
        tick_mm=10.0,
        spacing=PixelSpacing(0.2, 0.2),
        size=(1920, 1080),
    ),
)


@pytest.mark.parametrize("command", [replay_command, attach_command], ids=["replay", "attach"])
def test_the_manifest_names_every_option_of_the_command_line(command: click.Command) -> None:
    named = {RENAMED.get(str(option.name), str(option.name)) for option in command.params if option.expose_value}
    assert named <= set(SessionOptions().as_json())


def test_the_manifest_has_every_field_there_is() -> None:
    written = FULL.as_json()
    own = {RENAMED.get(field.name, field.name) for field in fields(SessionOptions)} - {"watch"}
    of_screen = {field.name for field in fields(WatchOptions)} - {"spacing", "size", "typed"}
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
