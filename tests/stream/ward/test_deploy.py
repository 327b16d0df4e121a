"""The files for operators, judged by the programs that read them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from stream.common.errors import OptionError, OutputError
from stream.ward.commands.ward_command import ward_command
from stream.ward.config import read_ward_config
from stream.ward.deploy import DEPLOY, FILES, write_files
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path


def program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name} (Debian's {package}), which is not installed")
    return found


def ran(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, check=False)


def test_all_files_are_written_and_none_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "files"
    assert sorted(path.name for path in write_files(folder)) == sorted(FILES)
    assert sorted(path.name for path in DEPLOY.iterdir() if path.suffix not in (".py", "")) == sorted(FILES)
    with pytest.raises(OutputError, match=r"ward.toml: is there already"):
        write_files(folder)
    with pytest.raises(OutputError, match="cannot be written to"):
        write_files(folder / "ward.toml" / "below")


def test_the_command_writes_them_and_judges_a_configuration(tmp_path: Path) -> None:
    run = CliRunner().invoke(ward_command, ["--write-files", str(tmp_path)], catch_exceptions=False)
    assert run.output.splitlines() == [f"{tmp_path / name}: {what}" for name, what in FILES.items()]
    with pytest.raises(OptionError, match=r"\[tokens\] names nobody who may look at 0.0.0.0"):
        CliRunner().invoke(ward_command, [str(tmp_path / "ward.toml"), "--check"], catch_exceptions=False)
    without = CliRunner().invoke(ward_command, [])
    assert (without.exit_code, "--write-files FOLDER" in without.output) == (2, True)


def test_the_configuration_to_begin_with_can_be_read(tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "ward.toml").chmod(0o600)
    config = read_ward_config(tmp_path / "ward.toml")
    assert list(config.feeds) == ["room-1", "room-2"]
    assert config.tokens.watch == ()  # none that everybody knows


def test_prometheus_takes_the_rules_and_they_fire_when_they_should(tmp_path: Path) -> None:
    promtool = program("promtool", "prometheus")
    checked = ran(promtool, "check", "rules", DEPLOY / "partum-rules.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    write_files(tmp_path)
    ward = (REPOSITORY / "tests" / "stream" / "ward" / "rules_test.yml").read_text(encoding="utf-8")
    (tmp_path / "rules_test.yml").write_text(ward, encoding="utf-8")
    tested = ran(promtool, "test", "rules", tmp_path / "rules_test.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    token = tmp_path / "token"
    token.touch()
    config = tmp_path / "prometheus.yml"
    config.write_text(config.read_text(encoding="utf-8").replace("/etc/prometheus/partum-token", str(token)))
    whole = ran(promtool, "check", "config", config)
    assert whole.returncode == 0, whole.stdout + whole.stderr


def test_every_alert_is_tested_and_none_is_about_a_patient() -> None:
    rules = (DEPLOY / "partum-rules.yml").read_text(encoding="utf-8")
    alerts = set(re.findall(r"- alert: (\w+)", rules))
    tests = (REPOSITORY / "tests" / "stream" / "ward" / "rules_test.yml").read_text(encoding="utf-8")
    assert alerts == set(re.findall(r"alertname: (\w+)", tests))
    assert not re.search(r"expr:.*(aop|hsd)", rules, re.IGNORECASE)


def test_systemd_takes_the_unit_and_leaves_little_open(tmp_path: Path) -> None:
    analyze = program("systemd-analyze", "systemd")
    unit = tmp_path / "partum-ward.service"
    text = (DEPLOY / "partum-ward.service").read_text(encoding="utf-8")
    assert "ExecStart=/opt/partum/bin/partum ward /etc/partum/ward.toml" in text
    unit.write_text(text.replace("/opt/partum/bin/partum", "/bin/true"))  # it looks for the program
    verified = ran(analyze, "verify", unit)
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = ran(analyze, "security", "--offline=true", "--threshold=20", unit)
    if "unrecognized option" in judged.stderr:
        pytest.skip("needs systemd 250")
    assert judged.returncode == 0, judged.stdout
    exposure = re.search(r"Overall exposure level for partum-ward.service: ([\d.]+)", judged.stdout)
    assert exposure is not None
    assert float(exposure[1]) < 2.0
    if ran(analyze, "--version").stdout.startswith("systemd 252"):
        stated = (REPOSITORY / "docs" / "ward-operation.md").read_text(encoding="utf-8")
        assert f"systemd 252: exposure {exposure[1]} " in stated


def test_the_dashboard_is_of_the_form_that_grafana_reads() -> None:
    models = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason="needs grafana-foundation-sdk")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins

    register_default_plugins()
    text = (DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8")
    read = json.loads(JSONEncoder().encode(models.Dashboard.from_json(json.loads(text))))
    assert lost(json.loads(text), read) == []
    panels = json.loads(text)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert max(x for x, _ in cells) < 24
    assert len(set(cells)) == len(cells)  # none covers another


def lost(asked: Any, read: Any, where: str = "") -> list[str]:
    """What Grafana's own types do not know, or take for something else."""
    if isinstance(asked, dict) and isinstance(read, dict):
        return [
            each
            for key in asked
            for each in (lost(asked[key], read[key], f"{where}.{key}") if key in read else [f"{where}.{key}"])
        ]
    if isinstance(asked, list) and isinstance(read, list) and len(asked) == len(read):
        return [each for index, item in enumerate(asked) for each in lost(item, read[index], f"{where}[{index}]")]
    return [] if asked == read else [where]
