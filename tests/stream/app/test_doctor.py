"""What the doctor says is so, and each fault comes with a mend."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import partum
from engines.inventory import Availability
from engines.selection.choice import Choice
from engines.selection.measuring import Tried
from stream.app import doctor
from stream.app.doctor import examine, possible_sources

if TYPE_CHECKING:
    from pathlib import Path


def run(*words: str) -> int:
    try:
        partum.main(words)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def named(findings: list[doctor.Finding]) -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in findings}


def test_on_a_machine_that_runs_the_tests_nothing_needed_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    found = named(examine())
    assert "openvino" in found["engines"].found
    assert "h264" in found["decoders"].found
    assert not [name for name, finding in found.items() if finding.is_needed and finding.mend]
    assert run("doctor") == 0
    assert "engines" in capsys.readouterr().out
    assert run("doctor", "--json") == 0
    assert {entry["name"] for entry in json.loads(capsys.readouterr().out)} == {*found, "configuration"}


def test_without_an_engine_it_fails_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = [Availability("openvino", "", (), "openvino not installed; pip install 'partum'")]
    monkeypatch.setattr(doctor, "list_backends", lambda: missing)
    assert run("doctor") == 1
    assert "pip install 'partum'" in capsys.readouterr().out


def test_what_was_measured_for_one_use_is_told_for_that_use(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Choice(tried=(Tried(variant="x", engine="openvino int8 CPU", ms=3.3, aop_p95_deg=0.8),))
    wrong = Choice(tried=(Tried(variant="x", engine="openvino int8 CPU", ms=3.3, refusal="AoP moves"),))
    monkeypatch.setattr(doctor, "list_backends", list)
    monkeypatch.setattr(doctor, "default_choices", lambda _: {"live": None, "recordings": measured, "other": wrong})
    found = named(examine())
    assert found["taken for live"].found.startswith("not measured yet")
    assert found["taken for recordings"].found.startswith("openvino int8 CPU: 3.3 ms, AoP within 0.80 degrees")
    assert not found["taken for live"].mend + found["taken for recordings"].mend
    assert "install another back-end" in found["taken for other"].mend


def test_why_an_installed_tensorrt_is_not_used_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [
        Availability("tensorrt", "tensorrt_rtx 1.7.1", (), "no usable NVIDIA GPU (cudaErrorNoDevice)"),
        Availability("openvino", "2026.4", ("CPU",), ""),
    ]
    monkeypatch.setattr(doctor, "list_backends", lambda: there)
    assert named(examine())["tensorrt"].found == (
        "tensorrt_rtx 1.7.1, not used: no usable NVIDIA GPU (cudaErrorNoDevice)"
    )


@pytest.mark.parametrize(
    ("change", "name", "mend"),
    [
        (lambda patch: patch.setattr(doctor, "available_cores", lambda: 1), "cores", "two cores"),
        (lambda patch: patch.setattr("os.getloadavg", lambda: (99.0, 0, 0)), "load", "busy"),
        (lambda patch: patch.setattr(doctor, "LATE_S", -1.0), "clock", "stalls"),
        (lambda patch: patch.setattr(doctor, "DECODERS", ("h264", "nothing")), "decoders", "missing nothing"),
        (lambda patch: patch.setattr("os.access", lambda *_: False), "engine cache", "PARTUM_CACHE"),
        (lambda patch: patch.setattr("importlib.util.find_spec", lambda _: None), "web page", "partum[serve]"),
    ],
)
def test_each_fault_has_a_mend(monkeypatch: pytest.MonkeyPatch, change: Any, name: str, mend: str) -> None:
    monkeypatch.setattr(doctor, "list_backends", list)
    change(monkeypatch)
    assert mend in named(examine())[name].mend


def test_sources_say_what_is_attached_and_why_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    assert "DISPLAY is not set" in named(possible_sources())["screen:"].mend
    monkeypatch.setenv("DISPLAY", ":3")
    assert named(possible_sources())["screen::3"].mend == ""
    (tmp_path / "video7").touch()
    monkeypatch.setattr(doctor, "Path", lambda name: tmp_path if name == "/dev" else type(tmp_path)(name))
    assert f"v4l2:{tmp_path / 'video7'}" in named(possible_sources())
    assert run("sources") == 0
    assert "igtl://" in capsys.readouterr().out
