"""A day of feeds in accelerated replay, and feeds that lose their source: nothing grows, and every feed comes back."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from benchmarks.experiments.ward.rig import RATE_HZ, RunningWard, clip_at_30_hz, config_text, descriptors, write_config
from benchmarks.rig.memory import resident_mb
from stream.sources import open_source
from stream.sources.demo import DEMO_CLIP
from stream.ward.processes.parts import folder_bytes

if TYPE_CHECKING:
    from stream.ward.view import WardView

FEEDS = ("a", "b", "c", "d")
LOOK_S = 2.0
SETTLED = 0.2
"""Of a run: growth is looked for after it."""
DAY_PACE = 4
"""Times the clip's own speed that a day is played at: faster than is measured, so that dropping is tried, too."""
QUOTA_GB = 0.2
PICTURES = 12
"""That a feed of `lost` sends before it goes."""


def measure_day(*, hours: float) -> dict[str, object]:
    """Feed time of all four feeds together, played at `DAY_PACE`; memory, descriptors and disk meanwhile.

    Frames for which there is no time are dropped, as from a live feed; each has its record all the same.

    Args:
        hours: of feed time, at 30 Hz.
    """
    wanted = hours * 3600 * RATE_HZ
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = clip_at_30_hz(folder / "clip.mp4")
        text = config_text(clip, FEEDS, folder=folder / "kept", more=f'pace = "x{DAY_PACE}"\n')
        text += f"keep_gb = {QUOTA_GB}\npart_minutes = 0.5\n"
        with RunningWard(write_config(folder / "ward.toml", text)) as ward:
            ward.wait_until_all_run()
            began_s, looks = time.monotonic(), list[dict[str, float]]()
            while (frames := _frames(ward.view)) < wanted:
                looks.append(_look(ward, folder / "kept", frames))
                time.sleep(LOOK_S)
            view = ward.view
            return {
                "feed_hours": round(_frames(view) / 3600 / RATE_HZ, 2),
                "seconds": round(time.monotonic() - began_s),
                "pace": DAY_PACE,
                "measured_share": round(sum(feed.frames.get("measured", 0) for feed in view.feeds) / _frames(view), 3),
                "restarts": sum(feed.restarts for feed in view.feeds) + view.engine.restarts,
                "restart_reasons": ward.restart_reasons,
                "quota_mb": QUOTA_GB * 1000,
                **_growth(looks),
            }


def _frames(view: WardView) -> int:
    return sum(sum(feed.frames.values()) for feed in view.feeds)


def _look(ward: RunningWard, folder: Path, frames: int) -> dict[str, float]:
    pids = ward.ward.pids()
    found: dict[str, float] = {"frames": frames, "disk_mb": folder_bytes(folder) / 1e6}
    for name, pid in pids.items():
        with suppress(OSError):
            found[f"{name}_mb"] = resident_mb(pid) or 0.0
            found[f"{name}_files"] = descriptors(pid)
    return found


def _growth(looks: list[dict[str, float]]) -> dict[str, object]:
    """Means of the first and of the last tenth after settling, and the most ever."""
    kept = looks[int(SETTLED * len(looks)) :] or looks
    tenth = max(1, len(kept) // 10)
    found: dict[str, object] = {}
    for kind in ("mb", "files"):
        names = sorted({key for look in kept for key in look if key.endswith(f"_{kind}") and key != "disk_mb"})
        found[kind] = {
            name.removesuffix(f"_{kind}"): {
                "first": _mean(kept[:tenth], name),
                "last": _mean(kept[-tenth:], name),
                "most": round(max(look.get(name, 0.0) for look in kept), 1),
            }
            for name in names
        }
    found["disk_most_mb"] = round(max(look["disk_mb"] for look in looks), 1)
    return found


def _mean(looks: list[dict[str, float]], name: str) -> float:
    values = [look[name] for look in looks if name in look]
    return round(sum(values) / max(len(values), 1), 1)


def measure_lost(*, cycles: int) -> dict[str, object]:
    """Four feeds whose publisher goes after some pictures and takes the next connection; until all had their cycles.

    Args:
        cycles: of all four together.
    """
    each = -(-cycles // len(FEEDS))
    servers = [ComingAndGoing() for _ in FEEDS]
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            text = "".join(
                f'[feeds.{feed}]\nsource = "http://127.0.0.1:{server.port}/stream.mjpg"\nforce = true\n'
                for feed, server in zip(FEEDS, servers, strict=True)
            )
            with RunningWard(write_config(folder / "ward.toml", text)) as ward:
                ward.wait_until_all_run()
                first, began_s = _look(ward, folder, 0), time.monotonic()
                counts = [server.connections for server in servers]
                ward.wait_for(
                    lambda view: all(
                        server.connections - count >= each for server, count in zip(servers, counts, strict=True)
                    ),
                    seconds=60 + 2.0 * each,
                )
                seconds, last = time.monotonic() - began_s, _look(ward, folder, 0)
                frames = _frames(ward.view)
                ward.wait_for(lambda view: _frames(view) > frames + 5)
                view = ward.view
                return {
                    "cycles": sum(server.connections - count for server, count in zip(servers, counts, strict=True)),
                    "seconds": round(seconds),
                    "restarts": sum(feed.restarts for feed in view.feeds) + view.engine.restarts,
                    "restart_reasons": ward.restart_reasons,
                    "frames": _frames(view),
                    "first": {key: value for key, value in first.items() if key not in ("frames", "disk_mb")},
                    "last": {key: value for key, value in last.items() if key not in ("frames", "disk_mb")},
                }
    finally:
        for server in servers:
            server.close()


class ComingAndGoing:
    """Motion JPEG by HTTP to one reader at a time, who is sent `PICTURES` pictures and then left.

    Attributes:
        connections: so far.
    """

    def __init__(self) -> None:
        with open_source(DEMO_CLIP) as source:
            images = [frame.image for frame, _ in zip(source, range(PICTURES), strict=False)]
        self._jpegs = [cv2.imencode(".jpg", image)[1].tobytes() for image in images]
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.connections = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.recv(4096)
                connection.sendall(
                    b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
                )
                for jpeg in self._jpegs:
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    connection.sendall(head.encode() + jpeg + b"\r\n")
                    time.sleep(1 / RATE_HZ)
            self.connections += 1
