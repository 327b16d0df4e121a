"""The files to run a receiver as a service, judged by systemd."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from stream.receiver.commands.receive_command import receive_command
from stream.receiver.deploy import DEPLOY, FILES
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

UNIT = "partum-receive.service"


def test_the_command_writes_the_files_and_needs_nothing_else_for_it(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    run = CliRunner().invoke(receive_command, ["--write-files", str(folder)], catch_exceptions=False)
    assert run.output.splitlines() == [f"{folder / name}: {what}" for name, what in FILES.items()]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name: (DEPLOY / name).read_bytes() for name in FILES
    }


def test_the_options_to_begin_with_are_options_of_the_command() -> None:
    text = (DEPLOY / "receive.env").read_text(encoding="utf-8")
    for line in re.findall(r"^#?OPTIONS=(.*)", text, re.MULTILINE):
        given = receive_command.make_context("receive", [*line.split(), "--out", "results"]).params
        assert given["peers"] == ("SCANNER1@10.0.0.7",)


def test_systemd_takes_the_unit_and_leaves_little_open(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze (Debian's systemd), which is not installed")

    def ran(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([analyze, *words], capture_output=True, text=True, timeout=60, check=False)

    text = (DEPLOY / UNIT).read_text(encoding="utf-8")
    assert "ExecStart=/opt/partum/bin/partum receive $OPTIONS " in text
    unit = tmp_path / UNIT
    unit.write_text(text.replace("/opt/partum/bin/partum", "/bin/true"))  # it looks for the program
    verified = ran("verify", str(unit))
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = ran("security", "--offline=true", "--threshold=20", str(unit))
    if "unrecognized option" in judged.stderr:
        pytest.skip("needs systemd 250")
    exposure = re.search(rf"Overall exposure level for {UNIT}: ([\d.]+)", judged.stdout)
    assert exposure is not None
    assert float(exposure[1]) < 2.0
    if ran("--version").stdout.startswith("systemd 252"):
        stated = (REPOSITORY / "docs" / "receive.md").read_text(encoding="utf-8")
        assert f"systemd 252: exposure {exposure[1]} " in stated
