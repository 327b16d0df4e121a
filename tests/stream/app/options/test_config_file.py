"""`partum.toml`: what holds of several sources of a value, what is refused, and what is said of it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click
import pytest

import partum
from stream.app.doctor import configuration
from stream.app.options.config_file import ConfigFile, check, configurable, read_files, settings_of, user_file
from stream.app.options.declare import key_of
from stream.app.options.session_options import SessionOptions
from stream.app.options.shared import shared_options
from stream.app.options.values import ScannerProfile
from stream.frames.frame import PixelSpacing
from stream.preprocessing.sector.detection import Panes
from tests.stream.app.every_command import COMMANDS, PROGRAM, Names


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder for configuration; the folder one works in is another."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "platform", "linux")
    (tmp_path / "home" / "partum").mkdir(parents=True)
    return tmp_path / "home" / "partum"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[SessionOptions]:
    """What sessions are asked for, in the place of running them."""
    found: list[SessionOptions] = []
    monkeypatch.setattr("stream.app.session.run_session", lambda *options: found.extend(options))
    return found


def failed(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a wrong command line or file ends with."""
    with pytest.raises(SystemExit) as end:
        partum.main(words)
    lines = capsys.readouterr().err.splitlines()
    assert end.value.code == 2, lines
    assert len(lines) == 1, lines
    assert lines[0].startswith("partum: ")
    return lines[0]


# What holds


def test_the_first_of_command_line_named_file_folder_and_user_holds(
    home: Path, asked: list[SessionOptions], capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "partum.toml").write_text(
        '[analysis]\nbackend = "torch"\nprotocol = "iugc2024"\norientation = "normal"\nearly-exit = true\n'
    )
    Path("partum.toml").write_text(
        '[analysis]\nbackend = "onnxruntime"\nprotocol = "fhps2023"\n[source]\nloop = true\n'
    )
    Path("named.toml").write_text('[analysis]\nbackend = "openvino"\n')
    partum.main(["replay", "clip.mp4", "--config", "named.toml", "--orientation", "mirrored", "--protocol", "robust"])
    (options,) = asked
    assert (options.backend, options.protocol, str(options.orientation)) == ("openvino", "robust", "mirrored")
    assert (options.early_exit, options.loop, options.overlay) == (True, True, True)
    user = home / "partum.toml"
    assert options.from_files == {"backend": "named.toml:2", "loop": "partum.toml:5", "early_exit": f"{user}:5"}
    assert options.as_json()["from_files"] == options.from_files
    said = capsys.readouterr().err
    assert said.startswith("from configuration: ")
    assert "backend (named.toml:2)" in said
    assert "protocol" not in said


def test_a_table_of_a_command_goes_before_the_shared_one_and_is_of_that_command_alone(
    home: Path, asked: list[SessionOptions]
) -> None:
    Path("partum.toml").write_text(
        '[replay]\nprotocol = "iugc2024"\nsource = "exam.dcm"\n[analysis]\nprotocol = "fhps2023"\n'
    )
    partum.main(["replay"])
    partum.main(["attach", "rtsp://host/live"])
    assert [each.protocol for each in asked] == ["iugc2024", "fhps2023"]
    assert [each.source for each in asked] == ["exam.dcm", "rtsp://host/live"]
    (home / "partum.toml").write_text(
        '[attach]\nprotocol = "robust"\n'
    )  # the nearer file goes before, whatever its table
    partum.main(["attach", "rtsp://host/live"])
    assert asked[-1].protocol == "fhps2023"


def test_every_kind_of_value_is_read(home: Path, asked: list[SessionOptions]) -> None:
    Path("clinic").mkdir()
    Path("clinic/scanner.toml").write_text('pane = "right"\n')
    Path("clinic/partum.toml").write_text(
        "[source]\nspacing = [0.36, 0.4]\npace = 'x2'\nsector = '800x600+100+50'\n"
        "tick_mm = 10\nprofile = 'scanner.toml'\n"
        "[analysis]\nmodel = 'models/mine.onnx'\n"
        "[outputs]\nout = 'results'\noverlay = false\n"
        "[web]\nserve = '127.0.0.1:8400'\ntoken = 'abc'\nallow-host = ['theatre', 'ward']\ntls-cert = '/etc/cert.pem'\n"
    )
    partum.main(["replay", "--config", "clinic/partum.toml"])
    (options,) = asked
    assert options.spacing == PixelSpacing(0.36, 0.4)
    assert (options.pace, options.tick_mm, options.overlay) == (2.0, 10.0, False)
    assert options.preprocessing.sector == (100, 50, 800, 600)
    assert isinstance(options.profile, ScannerProfile)
    assert options.preprocessing.pane is Panes.RIGHT
    assert options.profile.path == Path("clinic/scanner.toml")
    assert options.model == os.path.join("clinic", "models", "mine.onnx")
    assert (options.out, options.tls_cert) == (Path("clinic/results"), Path("/etc/cert.pem"))
    assert (options.serve, options.token, options.allow_hosts) == ("127.0.0.1:8400", "abc", ("theatre", "ward"))


def test_addresses_are_no_paths_and_a_live_file_needs_no_words(home: Path, asked: list[SessionOptions]) -> None:
    (home / "partum.toml").write_text(
        '[attach]\nsources = ["rtsp://host/live", "v4l2:/dev/video0"]\nduration = 60\nigtl-out = 18944\nmodel = "triton://h:1/m"\n'
    )
    partum.main(["attach"])
    first, second = asked
    assert (first.source, second.source, first.model) == ("rtsp://host/live", "v4l2:/dev/video0", "triton://h:1/m")
    assert (first.duration_s, first.igtl_out, second.igtl_out) == (60.0, 18944, 18945)


def test_no_config_reads_none_and_a_config_before_the_command_is_read(
    home: Path, asked: list[SessionOptions], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("partum.toml").write_text("nonsense")
    partum.main(["replay", "--no-config"])
    assert asked == [SessionOptions()]
    Path("partum.toml").write_text("[outputs]\noverlay = false\n")
    Path("named.toml").write_text("[source]\nloop = true\n")
    partum.main(["--config", "named.toml", "replay"])
    assert (asked[-1].loop, asked[-1].overlay) == (True, False)
    capsys.readouterr()
    for words in (["--no-config", "--config", "named.toml"], ["--config", "named.toml", "--no-config"]):
        assert "give one of them" in failed(["replay", *words], capsys)


def test_the_users_file_is_where_the_system_has_such_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert user_file() == home / "partum.toml"
    monkeypatch.setenv("HOME", "/home/nurse")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")  # the standard has it ignored
    assert user_file() == Path("/home/nurse/.config/partum/partum.toml")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert user_file() == Path("/home/nurse/Library/Application Support/partum/partum.toml")
    Path("partum.toml").touch()
    assert [file.path for file in read_files(Path("partum.toml"))] == [Path("partum.toml")]  # once


# What is refused: one line with file, line, key and the way out


WRONG = {
    "[analysis]\nprotocl = 1": (
        "partum.toml:2: [analysis] has no option 'protocl'.",
        "Did you mean 'protocol'?",
    ),
    "[analysis]\n\noverlay = true": ("partum.toml:3", "It belongs in [outputs]."),
    "[replya]\nloop = true": ("partum.toml:1", "Did you mean 'replay'?"),
    "loop = true": ("partum.toml:1", "'loop' stands in no table; put it below [source]"),
    "[replay]\nduration = 5": ("partum.toml:2: [replay] has no option 'duration'", ""),
    "[source]\npace = 'x0'": ("partum.toml:2: [source] pace", "x0.5"),
    "[source]\npace = 2": ("partum.toml:2", "a text in quotes"),
    "[source]\nspacing = [0.36]": ("partum.toml:2", "0.36,0.36"),
    "[source]\nspacing = [true, 1]": ("partum.toml:2", "[0.36, 0.36]"),
    "[source]\nspacing = [360, 360]": ("partum.toml:2", "another unit"),
    "[source]\nloop = 'yes'": ("partum.toml:2", "true or false"),
    "[source]\nduration = nan": ("partum.toml:2", "no number"),
    "[source]\nduration = true": ("partum.toml:2", "a number, without quotes"),
    "[source]\nduration = '5'": ("partum.toml:2", "a number, without quotes"),
    "[source]\nprofile = 'none.toml'": (
        "partum.toml:2: [source] profile",
        "none.toml: the profile cannot be read (No such",
    ),
    "[source]\nsector = '10x'": ("partum.toml:2", "800x600+100+50"),
    "[source]\ntick-mm = 5\ntick_mm = 6": ("partum.toml:3", "leave one out"),
    "[outputs]\nigtl-out = 8.5": ("partum.toml:2", "a whole number"),
    "[outputs]\nigtl-out = 70000": ("partum.toml:2", "65535"),
    "[outputs]\nout = ''": ("partum.toml:2", "the path is empty"),
    "[analysis]\nbackend = 'opnvino'": ("partum.toml:2", "Did you mean 'openvino'?"),
    "[analysis]\nbackend = 2026-01-01": ("partum.toml:2", "a text in quotes"),
    "[web]\nallow-host = 'ward'": ("partum.toml:2", "give a list"),
    "[web]\ntoken = 5": ("partum.toml:2", "a text in quotes"),
    "[bench]\nrate = 3": ("[bench] has the tables", "bench.stream"),
    "\n[bench.steam]\nrate = 3": ("partum.toml:2: [bench]", "Did you mean 'bench.stream'?"),
    "[bench.stream]\nrate = 'fast'": ("partum.toml:2: [bench.stream] rate", "a number"),
    "[evaluate]\nconfig = 'x'": ("partum.toml:2", "no option 'config'"),
    "[train]\nnothing = 1": ("partum.toml:2", "It has: config, data"),
    "[analysis]\nprotocol = = 1": ("partum.toml: is no TOML", "line 2"),
    "[[replay]]\nloop = true": ("partum.toml:1", "write it once, as [replay]"),
    "\n[[analysis]]\nprotocol = 'robust'": ("partum.toml:2", "write it once, as [analysis]"),
    "[doctor]\njson = true": ("partum.toml:2: [doctor] has no option 'json'", "It has: none"),
    "\n[source.inner]\nloop = true": ("partum.toml:2: [source] has no option 'inner'", ""),
    "\nanalysis = {protocl = 'robust'}": ("partum.toml:2: [analysis]", "Did you mean 'protocol'?"),
    "\nanalysis.protocl = 'robust'": ("partum.toml:2: [analysis]", "Did you mean 'protocol'?"),
    '[outputs]\n"overlai" = true': ("partum.toml:2: [outputs]", "Did you mean 'overlay'?"),
    "[web]\nserve = ''": ("partum.toml:2", "the value is empty"),
    "analysis = 3\n[source]\nloop = true": ("partum.toml:1", "'analysis' is a table, no value; write [analysis]"),
    "replay = true": ("partum.toml:1", "'replay' is a table, no value; write [replay]"),
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_file_is_told_with_its_place_before_anything_runs(
    text: str, home: Path, asked: list[SessionOptions], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("partum.toml").write_text(text)
    said = failed(["replay"], capsys)
    for words in WRONG[text]:
        assert words in said
    assert not asked


def test_a_file_that_cannot_be_read_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "none.toml: cannot be read" in failed(["replay", "--config", "none.toml"], capsys)
    assert "the path is empty" in failed(["replay", "--config", ""], capsys)
    Path("partum.toml").write_bytes(b"[analysis]\nmodel = '\xff'\n")
    assert "partum.toml:2: is no text in UTF-8" in failed(["replay"], capsys)
    Path("scanner.toml").write_bytes(b"pane = '\xff'\n")
    assert "scanner.toml: is no text in UTF-8" in failed(["replay", "--no-config", "--profile", "scanner.toml"], capsys)
    Path("partum.toml").write_text("x = " + "[" * 100_000)
    assert "partum.toml: is no TOML" in failed(["replay"], capsys)
    with pytest.raises(SystemExit) as end:  # help goes on: one needs it to mend the file
        partum.main(["replay", "--help"])
    assert end.value.code == 0


def test_a_file_may_begin_with_a_mark(home: Path, asked: list[SessionOptions]) -> None:
    Path("partum.toml").write_text("\ufeff[source]\nloop = true\n", encoding="utf-8")
    partum.main(["replay"])
    assert asked[0].loop


# Every option of every command


@pytest.mark.parametrize("names", list(COMMANDS), ids=" ".join)
def test_every_option_of_every_command_has_a_key_of_its_own(names: Names) -> None:
    command = COMMANDS[names]
    keys = [key_of(each) for each in configurable(command)]
    assert len(set(keys)) == len(keys)
    options = [each for each in command.params if isinstance(each, click.Option)]
    if getattr(command, "reads_config", True):  # some must work where a file is wrong, and read none
        assert {key_of(each) for each in options} <= {*keys, "config", "no-config"}
    text = f"[{'.'.join(names)}]\nnothing-of-the-kind = 1\n"
    file = ConfigFile(Path("partum.toml"), text, {})
    assert settings_of(command, names, [file]) == {}


def test_shared_keys_are_in_one_table_each() -> None:
    keys = [key for table in shared_options().values() for key in table]
    assert len(set(keys)) == len(keys)
    assert not set(shared_options()) & set(partum.COMMANDS)


def test_a_value_that_the_command_line_takes_the_file_takes(home: Path) -> None:
    Path("partum.toml").write_text(
        "[build]\nbatch = 8\ndata = ['DATA']\n[bench.model]\nbatch = [1, 4]\n[folds]\nnetwork = 'mine.toml'\n"
    )
    (file,) = read_files()
    check(file, PROGRAM)
    found = {names: settings_of(command, names, [file]) for names, command in COMMANDS.items()}
    assert found["build",]["batch"].value == "8"
    assert found["build",]["data"].value == ["DATA"]
    assert found["bench", "model"]["batches"].value == [1, 4]
    assert found["folds",]["network"].value == "mine.toml"  # one that ships, unless there is such a file beside


# `partum config`


def test_config_shows_what_holds_and_where_it_is_from(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "partum.toml").write_text('[analysis]\nprotocol = "fhps2023"\n[bench.stream]\nrate = 25\n')
    Path("partum.toml").write_text("[replay]\noverlay = false\n")
    partum.main(["config"])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines]
    assert ["protocol", "fhps2023", f"{home / 'partum.toml'}:2"] in rows
    assert ["overlay", "false", "partum.toml:2"] in rows
    assert ["overlay", "false", "default"] in rows  # of attach
    assert ["backend", "auto", "default"] in rows
    partum.main(["config", "bench", "stream", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["files"] == [
        {"path": "partum.toml", "found": True},
        {"path": str(home / "partum.toml"), "found": True},
    ]
    rate = found["commands"]["bench stream"]["rate"]
    assert rate == {"value": 25, "from": f"{home / 'partum.toml'}:4", "table": "bench stream"}


def test_config_gives_no_secret_away(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("partum.toml").write_text(
        '[attach]\nsources = ["rtsp://nurse:SEKRET@10.0.0.7/live"]\n[web]\ntoken = "SEKRET"\n'
        '[analysis]\nmodel = "triton://nurse:SEKRET@10.0.0.7:8001/psfh_lite0"\n'
    )
    for words in ([], ["--json"], ["attach"]):
        partum.main(["config", *words])
        said = capsys.readouterr()
        assert "SEKRET" not in said.out + said.err
        assert "rtsp://***@10.0.0.7/live" in said.out


def test_a_password_of_a_file_is_in_no_error(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("partum.toml").write_text('[attach]\nsources = ["rtps://nurse:SEKRET@10.0.0.7/live"]\n')
    with pytest.raises(SystemExit):
        partum.main(["attach", "-v"])
    said = capsys.readouterr()
    assert "SEKRET" not in said.out + said.err
    assert "no live feed" in said.err


def test_config_names_an_unknown_command(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'replay'?" in failed(["config", "replya"], capsys)
    assert "model, stream, compare, peers" in failed(["config", "bench"], capsys)


# `partum doctor`


def test_doctor_names_the_files_and_what_is_wrong_with_them(home: Path) -> None:
    (nothing,) = configuration(PROGRAM)
    assert nothing.found.startswith("no partum.toml")
    (home / "partum.toml").write_text("[source]\nloop = true\n")
    (mine,) = configuration(PROGRAM)
    assert (mine.found, mine.mend) == (str(home / "partum.toml"), "")
    Path("partum.toml").write_text("[source]\nlop = true\n")
    folder, mine = configuration(PROGRAM)
    assert "Did you mean 'loop'?" in folder.mend
    assert folder.is_needed
    assert not mine.mend
    with pytest.raises(SystemExit) as end:
        partum.main(["doctor"])
    assert end.value.code == 1
