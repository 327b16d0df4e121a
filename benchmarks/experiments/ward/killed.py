"""Ages of all feeds' results while the process of one is killed every ten seconds, and without that."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

from benchmarks.experiments.ward.rig import RunningWard, Window, clip_at_30_hz, config_text, write_config

EVERY_S = 10.0
FEEDS = ("killed", "a", "b")


def measure_killed(*, seconds: float) -> dict[str, object]:
    """Ages by feed in both cases, and how long the killed feed was away each time.

    Args:
        seconds: of killing; a fifth of it before, without.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = config_text(clip_at_30_hz(folder / "clip.mp4"), FEEDS, folder=folder / "kept")
        with RunningWard(write_config(folder / "ward.toml", text)) as ward:
            ward.wait_until_all_run()
            time.sleep(2.0)
            quiet = Window(folder / "kept", FEEDS)
            time.sleep(seconds / 5)
            before = quiet.ages()
            window = Window(folder / "kept", FEEDS)
            away_s, kills = [], 0
            end_s = time.monotonic() + seconds
            while time.monotonic() < end_s:
                began_s = time.monotonic()
                kills += _kill(ward)
                ward.wait_for(lambda view: view.feeds[0].is_live and view.feeds[0].age_s is not None)
                away_s.append(time.monotonic() - began_s)
                time.sleep(max(0.0, began_s + EVERY_S - time.monotonic()))
            others = [feed.restarts for feed in ward.view.feeds[1:]]
            return {
                "seconds": seconds,
                "kills": kills,
                "restarts_of_others": sum(others),
                "away_s": {"median": round(sorted(away_s)[len(away_s) // 2], 2), "longest": round(max(away_s), 2)},
                "without": before,
                "with": window.ages(),
            }


def _kill(ward: RunningWard) -> int:
    """Kills the process of the first feed; returns 1, or 0 where there is none now."""
    pid = ward.ward.pids().get(FEEDS[0])
    if pid is None:
        return 0
    os.kill(pid, signal.SIGKILL)
    ward.wait_for(lambda view: not view.feeds[0].is_live)
    return 1
