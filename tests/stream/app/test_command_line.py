"""`partum` as a new user meets it: help, completion, commands without arguments, and what is wrong said at once."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING

import click
import pytest
from click.shell_completion import ShellComplete

import partum
from stream.app.command import SECTIONS, Command, CommandGroup
from stream.app.command_line import COMPLETE
from stream.app.exit_codes import ExitCode
from stream.measurement.protocols import PROTOCOLS
from tests.conftest import REPOSITORY
from tests.stream.app.every_command import COMMANDS, PROGRAM, Names

if TYPE_CHECKING:
    from pathlib import Path


def run(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "partum", *map(str, words)],
        cwd=REPOSITORY,
        env={**os.environ, "COLUMNS": "80", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# Help


@pytest.mark.parametrize("words", [[], ["replay"], ["attach"], ["bench"], ["bench", "model"], ["train"], ["info"]])
def test_h_is_help_everywhere(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        partum.main([*words, "-h"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"Usage: {' '.join(['partum', *words])}")


def test_a_group_alone_says_what_it_can_do_and_that_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    partum.main(["bench"])
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith("Usage: partum bench")
    assert "Whether result B is faster than A, slower, or whether that cannot be said." in " ".join(said.out.split())


@pytest.mark.parametrize("words", [[], ["bench"]], ids=["partum", "bench"])
def test_the_help_of_a_group_ends_with_examples_and_has_verbose(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        partum.main([*words, "-h"])
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("Examples:")
    assert all(line.startswith(f"  {' '.join(['partum', *words])} ") for line in lines[start + 1 :])
    assert any(line.startswith("  -v, --verbose") for line in lines[:start])


def test_facts_of_a_model_are_not_cut_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    model = REPOSITORY / "engines" / "weights" / "psfh_lite0.int8.onnx"
    partum.main(["info", str(model)])
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if len(line.split()) > 1)
    assert len(lines["sha256"]) == 64
    assert "acceptance.measurability_flips.iugc2024" in lines
    assert len(lines["acceptance.aop_delta_deg.robust.mean"]) <= 8


# One pattern for every command


@pytest.mark.parametrize("name", partum.COMMANDS)
def test_every_command_is_in_the_file_that_is_named_after_it(name: str) -> None:
    package, line = partum.COMMANDS[name]
    assert "commands" in package.split(".")
    assert line.endswith(".")
    file = REPOSITORY.joinpath(*package.split("."), f"{name.replace('-', '_')}_command.py")
    assert file.is_file()
    assert isinstance(PROGRAM.get_command(click.Context(PROGRAM), name), (Command, CommandGroup))


def test_every_file_of_a_command_is_in_the_table() -> None:
    files = {path.stem for path in REPOSITORY.glob("**/commands/**/*_command.py")}
    assert files == {f"{name.replace('-', '_')}_command" for name in partum.COMMANDS}


@pytest.mark.parametrize("names", list(COMMANDS), ids=" ".join)
def test_every_command_has_the_same_form(names: Names, capsys: pytest.CaptureFixture[str]) -> None:
    command = COMMANDS[names]
    assert isinstance(command, Command)
    with pytest.raises(SystemExit) as end:
        partum.main([*names, "-h"])
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == f"  {(command.help or '').splitlines()[0]}" or lines[2] in f"  {command.help}"
    sections = [line.removesuffix(":") for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert sections == [each for each in (*SECTIONS, "Examples") if each in sections]
    assert sections[-2:] == ["General", "Examples"]
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help
            assert ("-o" in option.opts) == ("--out" in option.opts)
            assert ("-v" in option.opts) == ("--verbose" in option.opts)


@pytest.mark.parametrize("names", list(COMMANDS), ids=" ".join)
def test_the_examples_of_the_help_are_command_lines(names: Names) -> None:
    command = COMMANDS[names]
    assert isinstance(command, Command)
    assert command.examples
    for example in command.examples:
        words = shlex.split(re.sub(r'^eval "\$\((.*)\)"', r"\1", example).partition(" > ")[0], comments=True)
        assert words[: len(names) + 1] == ["partum", *names]
        with command.make_context(names[-1], words[len(names) + 1 :], resilient_parsing=True) as context:
            assert not context.args
        known = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
        assert {word for word in words if word.startswith("-")} <= known


NEAR = {
    "a command": (["atach", "rtsp://a/1"], "Did you mean 'attach'?"),
    "a command of a group": (["bench", "modle"], "Did you mean 'model'?"),
    "an option": (["replay", "--protocl", "robust"], "Did you mean '--protocol'?"),
    "a choice": (["replay", "--protocol", "robst"], "Did you mean 'robust'?"),
    "an orientation": (["measure", "masks", "-o", "x.csv", "--orientation", "mirored"], "Did you mean 'mirrored'?"),
    "a shell": (["completion", "bahs"], "Did you mean 'bash'?"),
    "a feed": (["attach", "rtspp://a/1"], "Did you mean 'rtsp:'?"),
}


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize("case", NEAR)
def test_what_was_probably_meant_is_said(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    words, said = NEAR[case]
    with pytest.raises(SystemExit) as end:
        partum.main(words)
    assert end.value.code == ExitCode.USAGE
    assert said in capsys.readouterr().err


def test_exit_codes_have_the_numbers_of_every_release() -> None:
    assert {code.name: code.value for code in ExitCode} == {"DONE": 0, "FAILED": 1, "USAGE": 2, "INTERRUPTED": 130}


def test_exit_codes_are_those_that_are_documented(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*options: object) -> None:
        raise KeyboardInterrupt

    def broken(*options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("stream.app.session.run_session", interrupted)
    assert code_of(["replay"]) == ExitCode.INTERRUPTED
    monkeypatch.setattr("stream.app.session.run_session", broken)
    assert code_of(["replay"]) == ExitCode.FAILED
    assert code_of(["info", "nothing.onnx"]) == ExitCode.FAILED
    assert code_of(["replay", "--pace", "x0"]) == ExitCode.USAGE
    assert code_of(["engines"]) == ExitCode.DONE
    assert code_of(["--help"]) == code_of([]) == code_of(["bench"]) == ExitCode.DONE


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["replay", "--device", "gpu"], "device 'gpu' is not known; give cpu, or a GPU such as cuda:1"),
        (["replay", "--device", "cuda:99"], "on cuda:99 run"),
        (["replay", "--backend", "openvino", "--device", "cuda"], "back-end openvino does not run on cuda"),
        (["replay", "--model", "triton://localhost:1/x", "--device", "cpu"], "its server chooses the device"),
        (["bench", "model", "--backend", "torch-cuda", "--device", "cuda:99"], "torch finds no"),
        (["build", "--backend", "openvino", "--precision", "fp8"], "fp8"),
        (["attach", "rtsp://127.0.0.1:1/live", "--serve", "0"], "pip install 'partum[serve]'"),
    ],
    ids=" ".join,
)
def test_asking_for_what_a_machine_does_not_have_is_a_fault_of_the_command_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "--serve" in words:
        monkeypatch.setattr("stream.outputs.web.settings._PACKAGES", ("no_such_package",))
    assert code_of(words) == ExitCode.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_ctrl_c_while_the_program_is_read_shows_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "stream.app.command_line")
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    assert code_of(["replay"]) == ExitCode.INTERRUPTED
    assert capsys.readouterr().err == "partum: interrupted\n"


class Interrupted:
    """A Ctrl-C in the middle of an import."""

    def find_spec(self, *_: object) -> None:
        raise KeyboardInterrupt


def code_of(words: list[str]) -> object:
    try:
        partum.main(words)
    except SystemExit as end:
        return end.code
    return 0


# Completion, by the shells themselves where they are there


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str) -> None:
    script = run("completion", shell)
    assert script.returncode == 0
    assert f"_PARTUM_COMPLETE={shell}_complete" in script.stdout
    assert script.stdout.rstrip() == run(_PARTUM_COMPLETE=f"{shell}_source").stdout.rstrip()


@cache
def script_for(shell: str) -> str:
    return run("completion", shell).stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("partum re", {"replay"}),
        ("partum replay --pa", {"--pace", "--pane"}),
        ("partum replay --backend o", {"openvino", "onnxruntime"}),
        ("partum bench ", {"model", "stream", "compare", "peers"}),
        ("partum attach r", {"rtsp://", "rtmp://"}),
        ("partum completion ", {"bash", "zsh", "fish"}),
        ("partum measure --o", {"--orientation", "--out"}),
    ],
)
def test_bash_completes(words: str, expected: set[str], tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    script = script_for("bash")
    asked = f"COMP_WORDS=({words}); COMP_CWORD={len(words.split(' ')) - 1}; _partum_completion partum"
    probe = f'{script}\n{asked}\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    assert expected <= set(said_by([bash, "--norc", "-c", probe], tmp_path).split())


def test_fish_completes(tmp_path: Path) -> None:
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("there is no fish here")
    script = script_for("fish")
    probe = f'{script}\ncomplete -C "partum replay --protocol "\ncomplete -C "partum repl"'
    found = {line.split("\t")[0] for line in said_by([fish, "--no-config", "-c", probe], tmp_path).splitlines()}
    assert found == {*PROTOCOLS, "replay"}


def test_zsh_takes_its_script(tmp_path: Path) -> None:
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("there is no zsh here")
    script = script_for("zsh")
    probe = f"autoload -Uz compinit; compinit -u -D\n{script}\nprint $_comps[partum]"
    assert said_by([zsh, "-f", "-c", probe], tmp_path) == "_partum_completion\n"


def said_by(command: list[str], folder: Path) -> str:
    """What a shell prints that finds this checkout's `partum` first, in a folder of its own."""
    partum_script = folder / "partum"
    partum_script.write_text(f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} -m partum "$@"\n')
    partum_script.chmod(0o755)
    environment = {**os.environ, "HOME": str(folder), "PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=True
    ).stdout


def completions(words: str) -> list[tuple[str, str]]:
    *before, begun = words.split(" ")
    found = ShellComplete(PROGRAM, {}, "partum", COMPLETE).get_completions(before, begun)
    return [(item.value, item.type) for item in found]


@pytest.mark.parametrize("words", ["replay pa", "replay --model pa", "replay --profile pa", "train xy", "measure pa"])
def test_files_are_completed_by_the_shell(words: str) -> None:
    assert completions(words) == [(words[-2:], "file")]


@pytest.mark.parametrize("words", ["train ", "folds --network "])
def test_names_of_shipped_configurations_are_completed_beside_files(words: str) -> None:
    found = completions(words)
    assert {("default.toml", "plain"), ("paper.toml", "plain"), ("", "file")} <= set(found)
    assert completions(f"{words}pap") == [("paper.toml", "plain"), ("pap", "file")]
    assert completions("folds --refinement ") == [("refinement.toml", "plain"), ("", "file")]


def test_config_completes_the_names_of_commands() -> None:
    assert {"replay", "attach", "bench"} <= {name for name, _ in completions("config ")}
    assert [name for name, _ in completions("config repl")] == ["replay"]
    assert [name for name, _ in completions("config bench st")] == ["stream"]
    assert completions("config replay ") == []


# Odd terminals


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii", "COLUMNS": "20"}, {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "60"}],
    ids=["ascii and narrow", "dumb and without colours"],
)
def test_a_run_ends_well_on_any_terminal(environment: dict[str, str], tmp_path: Path) -> None:
    ended = run("replay", "phantom:?duration=0.4", "--no-overlay", "--out", tmp_path / "out", **environment)
    assert ended.returncode == 0, ended.stderr
    assert "Research use" in ended.stdout
    assert "\x1b[" not in ended.stdout + ended.stderr


@pytest.mark.slow
def test_a_reader_who_has_had_enough_gets_no_complaint() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "partum", "config", "replay"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    complaint = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) in (0, 1)
    assert complaint == b""


def test_a_thread_that_nobody_waits_for_neither_delays_the_end_nor_changes_it() -> None:
    probe = (
        "import threading, time\n"
        "from stream.app.command_line import leave\n"
        "threading.Thread(target=time.sleep, args=(300,), daemon=True).start()\n"
        "print('all of it')\n"
        "leave(SystemExit(3))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", probe], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "all of it\n", "")


# What is wrong is said before anything heavy is done


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*words: object, **options: object) -> None:
        raise AssertionError("an engine was loaded before the command line was checked")

    monkeypatch.setattr("stream.app.session.load_judged_engine", load)


WRONG = {
    "ports beyond the last": (["attach", "rtsp://a/1", "rtsp://b/2", "--igtl-out", "65535"], "65535 to 65536"),
    "no address": (["attach", "rtsp://a/1", "--serve", "nonsense"], "HOST:PORT"),
    "port of an address": (["replay", "--serve", "127.0.0.1:99999"], "HOST:PORT"),
    "token of nothing": (["replay", "--token", "x"], "--serve"),
    "no such file": (["replay", "nothing.mp4"], "nothing.mp4"),
    "no live feed": (["attach", "clip.mp4"], "partum replay"),
    "sector": (["replay", "--sector", "10x"], "800x600+100+50"),
    "sector of nothing": (["replay", "--sector", "800x600+9000+0"], "reaches out"),
    "profile": (["replay", "--profile", "nothing.toml"], "nothing.toml"),
    "out is a file": (["replay", "--out", "README.md"], "README.md"),
    "out below a file": (["replay", "--out", "README.md/out"], "README.md is a file"),
    "seconds": (["attach", "rtsp://a/1", "--duration", "nan"], "nan"),
    "endless": (["attach", "rtsp://a/1", "--duration", "inf"], "inf"),
    "ticks": (["replay", "--tick-mm", "nan"], "nan"),
    "spacing in micrometres": (["replay", "--spacing", "360,360"], "another unit"),
    "spacing of nothing": (["replay", "--spacing", "nan,nan"], "nan"),
    "pace": (["replay", "--pace", "x0"], "x0.5"),
    "screen": (["attach", "screen:nonsense"], "screen:1280x960+100+50"),
    "device": (["replay", "/dev/null"], "partum attach"),
    "protocol and orientation": (["replay", "--protocol", "iugc2024", "--orientation", "mirrored"], "mirrored"),
    "no model": (["replay", "--model", ""], "the value is empty"),
    "empty token": (["attach", "rtsp://a/1", "--serve", "8400", "--token", ""], "the value is empty"),
    "empty address": (["attach", ""], "the feed's address is empty"),
    "device without its scheme": (["attach", "/dev/video0"], "v4l2:/dev/video0"),
    "mistyped command": (["replya"], "Did you mean 'replay'?"),
    "model of a bench": (["bench", "model", "nothing.onnx"], "nothing.onnx: no model can be read"),
    "no data": (["train", "default.toml"], "--data"),
}


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_one_line_before_an_engine_is_loaded(
    case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words, said = WRONG[case]
    with pytest.raises(SystemExit) as end:
        partum.main(words)
    lines = capsys.readouterr().err.splitlines()
    assert end.value.code in (1, 2)
    assert len(lines) == 1
    assert said in lines[0]
    assert "defect" not in lines[0]


@pytest.mark.usefixtures("no_engine")
def test_a_port_that_is_taken_is_said_before_an_engine_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for option in ("--igtl-out", "--serve"):
            with pytest.raises(SystemExit) as end:
                partum.main(["attach", "rtsp://127.0.0.1:1/live", option, str(port)])
            assert end.value.code == 1
            said = capsys.readouterr().err
            assert option in said
            assert f"{port}: cannot listen there" in said


@pytest.mark.usefixtures("no_engine")
def test_one_port_cannot_serve_both(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with pytest.raises(SystemExit):
        partum.main(["attach", "rtsp://127.0.0.1:1/live", "--serve", port, "--igtl-out", port])
    assert "cannot listen there" in capsys.readouterr().err
