"""What the experiments share: a clip at 30 Hz, a ward that runs, and the ages in what its feeds wrote."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Self

import av
import numpy as np

from benchmarks.errors import BenchError
from stream.sources.demo import DEMO_CLIP
from stream.ward.config import read_ward_config
from stream.ward.keeper import STARTED_AGAIN
from stream.ward.supervisor import Ward

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from stream.ward.view import WardView

RATE_HZ = 30
START_S = 120.0
"""A ward that does not run by then will not."""


def clip_at_30_hz(path: Path) -> Path:
    """Writes the demonstration clip at 30 Hz, H.264; returns the path."""
    with av.open(str(DEMO_CLIP)) as source, av.open(str(path), "w") as target:
        shown = source.streams.video[0]
        stream = target.add_stream("libx264", rate=RATE_HZ, options={"crf": "18", "bf": "0", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = shown.width, shown.height, "yuv420p"
        for number, picture in enumerate(source.decode(shown)):
            picture.pts, picture.time_base = number, Fraction(1, RATE_HZ)
            target.mux(stream.encode(picture))
        target.mux(stream.encode(None))
    return path


class RunningWard:
    """A ward in a thread.

    Args:
        path: of its configuration.

    Attributes:
        lines: what it said.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lines = path, list[str]()
        self.ward = Ward(read_ward_config(path), told=self.lines.append)
        self._thread = threading.Thread(target=self._run, name="partum-ward")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ward.stop()
        self._thread.join()

    def _run(self) -> None:
        with self.ward:
            self.ward.run()

    @property
    def restart_reasons(self) -> list[str]:
        """Why processes were started again, in the words of the log: `a: gave no sign of life for 10 s`."""
        return [line.partition(STARTED_AGAIN)[0] for line in self.lines if STARTED_AGAIN in line]

    @property
    def view(self) -> WardView:
        return self.ward.view()

    def wait_for(self, holds: Callable[[WardView], object], *, seconds: float = START_S) -> None:
        """Raises BenchError where it does not hold in time."""
        give_up_s = time.monotonic() + seconds
        while not holds(self.view):
            if time.monotonic() > give_up_s:
                raise BenchError(f"the ward did not come so far in {seconds:.0f} s: {self.lines[-5:]}")
            time.sleep(0.05)

    def wait_until_all_run(self) -> None:
        """Raises BenchError likewise."""
        self.wait_for(lambda view: all(feed.is_live and sum(feed.frames.values()) > RATE_HZ for feed in view.feeds))

    def reload(self) -> None:
        """Reads its configuration again, and waits until that is done."""
        count = self.view.reloads
        self.ward.reload()
        self.wait_for(lambda view: view.reloads > count or view.reload_error)


def config_text(source: str | Path, names: Sequence[str], *, folder: Path | None = None, more: str = "") -> str:
    """A `ward.toml` of feeds with one source, all let in."""
    feeds = "".join(f'[feeds.{name}]\nsource = "{source}"\nforce = true\n{more}' for name in names)
    recording = f'[recording]\nfolder = "{folder}"\nreserve_gb = 0.1\n' if folder else ""
    return f"{feeds}{recording}"


def write_config(path: Path, text: str) -> Path:
    """For its owner alone, as it may hold passwords."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


class Window:
    """The frames that each feed writes from now on.

    Args:
        folder: of the ward's recordings.
        names: of its feeds.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder, self._names = folder, names
        self._began = {path: path.stat().st_size for path in self._files()}

    def _files(self) -> list[Path]:
        return sorted(path for name in self._names for path in (self._folder / name).glob("*/measurements.jsonl"))

    def ages(self) -> dict[str, dict[str, object]]:
        """For each feed: its frames, the share dropped for want of time, and ages of its results in ms."""
        found: dict[str, dict[str, object]] = {}
        for name in self._names:
            latencies, dropped = list[float](), 0
            for path in self._files():
                if path.parent.parent.name != name:
                    continue
                with path.open("rb") as file:
                    file.seek(self._began.get(path, 0))
                    for line in file.read().splitlines():
                        record = json.loads(line)
                        if record["state"] == "dropped":
                            dropped += record["reason"] == "overload"
                        else:
                            latencies.append(record["latency_ms"])
            frames = len(latencies) + dropped
            found[name] = {
                "frames": frames,
                "dropped_share": round(dropped / frames, 5) if frames else None,
                "age_ms": {
                    f"p{share}": round(float(np.percentile(latencies, share)), 2) if latencies else None
                    for share in (50, 95, 99)
                },
            }
        return found


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Variables of the environment that processes started meanwhile have."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def descriptors(pid: int) -> int:
    """Files that a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
