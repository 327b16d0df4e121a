"""What is said of a cluster that has no room, or whose head is gone; without one."""

from __future__ import annotations

import socket
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

import partum
from stream.archive import locations
from stream.archive.cluster import HEAD_EVERY_S, HEAD_S, ClusterUnavailable, HeadWatch, Workers
from stream.common.clock import ManualClock
from stream.common.errors import OptionError

if TYPE_CHECKING:
    from pathlib import Path

LONG_NS = round((HEAD_S + 1) * 1e9)


def test_a_head_that_is_gone_is_told_after_a_while_and_one_that_comes_back_is_not() -> None:
    clock = ManualClock()
    with socket.create_server(("127.0.0.1", 0)) as head:
        port = head.getsockname()[1]
        watch = HeadWatch(f"127.0.0.1:{port}", clock=clock)
        clock.advance(LONG_NS)
        watch.check()
    clock.advance(round(HEAD_EVERY_S * 1e9))
    watch.check()
    with socket.create_server(("127.0.0.1", port)):
        clock.advance(LONG_NS)
        watch.check()
    clock.advance(LONG_NS)
    watch.check()  # nobody asked meanwhile: one answer that does not come says little
    clock.advance(LONG_NS)
    with pytest.raises(ClusterUnavailable, match="--resume"):
        watch.check()


def cluster(*nodes: dict[str, float], free: dict[str, float]) -> SimpleNamespace:
    """What is asked of Ray."""
    return SimpleNamespace(
        nodes=lambda: [{"Alive": True, "Resources": node} for node in nodes], available_resources=lambda: free
    )


def test_a_full_cluster_is_told_with_what_would_mend_it() -> None:
    full = cluster({"CPU": 4.0, "memory": 8e9}, free={"CPU": 0.5, "memory": 8e9})
    workers = Workers(cpus=2, memory_bytes=4_000_000_000)
    assert workers.room_in(full) == 2
    told = workers.lack_in(full)
    assert "needs 2 cores and 0 GPUs and 4 GB, and 0.5 cores, 0 GPUs and 8.0 GB are free" in told
    assert "--memory-gb" in told
    assert not workers.lack_in(cluster(free={"CPU": 2.0, "memory": 4e9}))


def test_gpus_that_no_node_has_are_not_waited_for() -> None:
    with pytest.raises(OptionError, match=r"1 cores and 1 GPUs, and no node has more than 4 and 0"):
        Workers(gpus=1.0).room_in(cluster({"CPU": 4.0}, free={"CPU": 4.0}))


def test_without_its_extra_nothing_is_begun_and_what_to_install_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ray", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)  # as where it is not installed
    locations._system.cache_clear()
    with pytest.raises(SystemExit) as end:
        partum.main(["archive", str(tmp_path), "-o", str(tmp_path / "out")])
    assert end.value.code == 2
    assert capsys.readouterr().err.splitlines() == ["partum: ray is not installed; run: pip install 'partum[archive]'"]
    assert not (tmp_path / "out").exists()
