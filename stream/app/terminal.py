"""Terminal progress: a bar for recordings, a status line for live feeds.

A terminal that cannot move its cursor (a pipe, a log, a service manager's journal) gets a line for each change instead.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from stream.outputs.web.state import DisplayState, display_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from stream.app.run import SourceRun
    from stream.outputs.web.board import Board

SEEN = frozenset(
    {DisplayState.LIVE, DisplayState.REPLAY, DisplayState.HOLD, DisplayState.NO_PLANE, DisplayState.FROZEN}
)
"""States in which pictures of the feed are looked at in time."""
LOOK_S = 0.25
"""A log is told of a change at most so long after it."""


@contextmanager
def show_progress(runs: Sequence[SourceRun], console: Console | None = None) -> Iterator[Sequence[Callable[[], None]]]:
    """Shows how runs get on, on stderr. Yields, for each, what it must call after every frame."""
    console = console or Console(stderr=True)
    is_live = runs[0].options.live
    if is_live and not console.is_terminal:
        with _logged([run.board for run in runs], console):
            yield [lambda: None] * len(runs)
        return
    columns = (StateColumn(),) if is_live else _RECORDING
    with Progress(*columns, console=console) as progress:
        names = [run.board.name for run in runs] if is_live and len(runs) > 1 else ["" if is_live else "replay"]
        tasks = [
            progress.add_task(name, total=run.total, fps="", board=run.board, told=0)
            for name, run in zip(names, runs, strict=True)
        ]
        yield [lambda task=task: _advance(progress, task) for task in tasks]  # type: ignore[misc]


def state_line(board: Board) -> str:
    """A feed in a line: its state as the page says it, frames, frames measured a second, age, drops, and why."""
    snapshot, counts = board.snapshot(), board.statistics
    state, reason = display_state(snapshot)
    parts = [
        str(state),
        f"{counts.frames_in} frames",
        f"measured {snapshot.throughput.measured_hz:.0f} of {snapshot.throughput.arriving_hz:.0f}/s",
        f"age {snapshot.age_s:.2f} s" if snapshot.measurement else "age -",
        f"{counts.states['dropped']} dropped",
    ]
    return "  ".join(part for part in (*parts, reason, *_overload(board), *counts.engine_changes[-1:]) if part)


class StateColumn(ProgressColumn):
    """`state_line` of a task's board, after its name where there are several."""

    def render(self, task: Task) -> Text:
        board: Board = task.fields["board"]
        name = f"{task.description}: " if task.description else ""
        return Text(name + state_line(board), overflow="fold")


def _overload(board: Board) -> list[str]:
    snapshot = board.snapshot()
    if not snapshot.throughput.is_overloaded:
        return []
    return [f"{snapshot.throughput.message}; what helps: {', '.join(snapshot.remedies)}"]


_RECORDING = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("{task.fields[fps]}"),
    TimeRemainingColumn(),
)


def _advance(progress: Progress, task: TaskID) -> None:
    state = next(each for each in progress.tasks if each.id == task)
    speed = state.finished_speed or state.speed
    changes = state.fields["board"].statistics.engine_changes
    for line in changes[state.fields["told"] :]:
        progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
    progress.update(task, advance=1, fps=f"{speed:.0f} fps" if speed else "", told=len(changes))


class ChangeLog:
    """Tells a log of what changed since it last looked.

    Args:
        board: of the feed.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._said: tuple[str, str] = ("", "")
        self._was_overloaded = False
        self._told = 0

    def changes(self) -> list[str]:
        """Lines to write: whether the feed is seen, why not, another engine, and that the machine does not keep up."""
        lines = []
        state, reason = display_state(self._board.snapshot())
        # What a view shows comes and goes with the probe: that is no news of the feed.
        words, reason = ("live", "") if state in SEEN else (str(state), reason.removeprefix(f"{self._board.name}: "))
        said = words, re.sub(r"\d+", "", reason)  # seconds that are counted up in a reason are no news
        if said != self._said and state is not DisplayState.ENDED:
            lines.append(f"{self._board.name}: {words}" + (f" ({reason})" if reason else ""))
            self._said = said
        engines = self._board.statistics.engine_changes
        lines += [f"{self._board.name}: {line}" for line in engines[self._told :]]
        self._told = len(engines)
        overload = _overload(self._board)
        if overload and not self._was_overloaded:
            lines.append(f"{self._board.name}: {overload[0]}")
            self._was_overloaded = True
        return lines


@contextmanager
def _logged(boards: Sequence[Board], console: Console) -> Iterator[None]:
    """Looks at the boards every now and then, in a thread, and writes what is new."""
    done = threading.Event()
    logs = [ChangeLog(board) for board in boards]

    def say() -> None:
        for log in logs:
            for line in log.changes():
                console.print(line, markup=False, highlight=False, soft_wrap=True)

    def look() -> None:
        while not done.wait(LOOK_S):
            say()

    thread = threading.Thread(target=look, name="partum-state")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        say()
