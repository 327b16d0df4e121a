"""How far a batch is, on stderr: a bar with the time left, or lines where there is no terminal."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from stream.common.text import on_one_line

if TYPE_CHECKING:
    from types import TracebackType

    from stream.batch.summary import Row
    from stream.common.clock import Clock

KNOWN_S, KNOWN_SHARE, SURE_S = 5.0, 0.02, 60.0
"""The time left is told when work has gone on for so long and so much of it is done, or for so long in any case."""
SPEED_S = 600.0
"""It goes by the speed of the last so many seconds."""
SAMPLE_S = 1.0


class BatchProgress:
    """A context manager. Recordings are weighed by their bytes: they are unlike in length.

    The time left goes by the work done since the first frame, not by the start of workers: nothing is said of it before
    it is known well enough.

    Args:
        clock: for the time left.
        console: stderr, where none is given.

    Attributes:
        bytes_to_come: of recordings that are not known yet: in archives that are still packed.
    """

    def __init__(self, *, clock: Clock, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._samples: deque[tuple[int, float]] = deque()
        self.bytes_to_come = 0
        self._weights: dict[str, int] = {}
        self._shares: dict[str, float] = {}
        self._total = self._ended = 0
        self._count = self._done = 0
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[recordings]} recordings, {task.fields[frames]} frames{task.fields[left]}"),
        )
        self._progress = Progress(*columns, console=self._console)
        self._frames = 0
        self._task = self._progress.add_task("batch", total=None, recordings="0", frames=0, left="")

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def add(self, source: str, weight: int) -> None:
        """One more recording is to come."""
        self._total += weight - self._weights.get(source, 0)
        self._weights[source] = weight
        self._count += 1
        self._update()

    def at(self, source: str, frames: int, total: int | None) -> None:
        """A recording is being measured."""
        self._shares[source] = min(frames / total, 1.0) if total else 0.0
        self._sample()
        self._update()

    def skip(self, source: str) -> None:
        """A recording is done already, or another one has the same content: it took no time, and does not count."""
        self._total -= self._weights.pop(source, 0)
        self._done += 1
        self._update()

    def end(self, source: str, row: Row) -> None:
        """A recording is done, well or not."""
        self._shares.pop(source, None)
        self._ended += self._weights.pop(source, 0)
        self._done += 1
        self._frames += row.get("frames") or 0
        self._sample()
        self._update()
        if row.get("error"):
            self.say(str(row["error"]))
        elif not self._console.is_terminal:
            self.say(f"{self._done} of {self._count}  {source}: {in_words(row)}{self._time_left()}")

    def say(self, line: str) -> None:
        """A line, above the bar where there is one."""
        self._console.print(on_one_line(line), markup=False, highlight=False, soft_wrap=True)

    def _update(self) -> None:
        self._progress.update(
            self._task,
            total=self._total + self.bytes_to_come or None,
            completed=self._worked(),
            recordings=f"{self._done} of {self._count}",
            frames=self._frames,
            left=self._time_left(),
        )

    def _worked(self) -> float:
        return self._ended + sum(share * self._weights.get(source, 0) for source, share in self._shares.items())

    def _sample(self) -> None:
        """Notes how much is done by now; what was done before a pause, as one that watches makes, no longer counts."""
        now_ns, worked = self._clock.now_ns(), self._worked()
        if worked >= self._total:
            self._samples.clear()
        elif not self._samples or now_ns - self._samples[-1][0] >= SAMPLE_S * 1e9:
            self._samples.append((now_ns, worked))
        while len(self._samples) > 1 and now_ns - self._samples[1][0] > SPEED_S * 1e9:
            self._samples.popleft()

    def _time_left(self) -> str:
        if not self._samples:
            return ""
        (since_ns, before), total = self._samples[0], self._total + self.bytes_to_come
        seconds, worked = (self._clock.now_ns() - since_ns) / 1e9, self._worked()
        least = 0.0 if seconds >= SURE_S else KNOWN_SHARE * total
        if seconds < KNOWN_S or worked - before <= least or worked >= total:
            return ""
        return f"; {_duration(seconds * (total - worked) / (worked - before))} left"


def in_words(row: Row) -> str:
    """A recording's row for people: `336 frames, 71 % measured, AoP 118.2° (112.0 to 124.0)`."""
    frames = row.get("frames", 0)
    said = f"{frames} {'frame' if frames == 1 else 'frames'}, {100 * (row.get('measured_share') or 0):.0f} % measured"
    if row.get("aop_deg") is not None:
        said += f", AoP {row['aop_deg']}°"
        name = "aop_absolute" if row.get("aop_absolute_lo95_deg") is not None else "aop"
        if row.get(f"{name}_lo95_deg") is not None:
            said += f" ({row[f'{name}_lo95_deg']} to {row[f'{name}_hi95_deg']})"
    return said


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
