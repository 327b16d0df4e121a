"""The state of a ward at a moment, for the wall, `/metrics` and the log: plain values, safe to keep and to send.

    supervisor --view()--> WardView
                            |-- feeds: FeedView, in the order of ward.toml
                            |-- engine: EngineView
                            |-- capacity: CapacityView
                            '-- recording: RecordingView

Nothing here names a patient, an address or a password; `FeedView.page` holds a token, and is for the wall alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from stream.ward.config import WardConfig


class ProcessState(StrEnum):
    """How the process of a feed, or of the engine, stands."""

    STARTING = "starting"
    """It was started, and is not ready yet."""
    RUNNING = "running"
    RESTARTING = "restarting"
    """It ended, or was ended; it is started again after a pause. The reason says why it ended."""
    REFUSED = "refused"
    """The machine cannot carry it; the reason has the number."""
    STOPPED = "stopped"
    """It was asked to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberView:
    """A measured number that may be shown now.

    Attributes:
        value, low, high: and its 95 % interval; degrees for AoP, millimetres for HSD.
        interval: `absolute` or `repeatability`.
        is_fresh: read off this very frame, rather than predicted by the track.
        age_s: since the capture of the last reading that it rests on, in seconds.
    """

    value: float
    low: float
    high: float
    interval: str
    is_fresh: bool
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedPage:
    """The web page of one feed, which its process serves on this machine alone.

    Attributes:
        host, port: `127.0.0.1` and a free port, another after each restart.
        token: to be sent as `Authorization: Bearer TOKEN`; made anew at each start, and shown to nobody.
    """

    host: str
    port: int
    token: str = field(repr=False)

    @property
    def url(self) -> str:
        """Without the token, `http://127.0.0.1:40123/`; `/stream`, `/metrics`, `/readyz` lie below it."""
        return f"http://{self.host}:{self.port}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedView:
    """One feed.

    Attributes:
        name: of `[feeds.NAME]`: letters, digits, `-` and `_`; the label `feed` of its metrics.
        label: for people.
        state: of its process.
        shown: while it runs, what its own page says: a value of `stream.outputs.web.state.DisplayState`, such as
            `live`, `hold`, `no plane`, `reconnecting`; empty otherwise.
        reason: in one line why it is not running, or not live; empty where it is.
        since_s: seconds that `state` and `shown` have been what they are.
        is_waiting: of `starting`: its process was not started yet, as the engine is not known.
        restarts: how often its process was started again since the ward began.
        next_start_s: of `restarting`, seconds until it is started; else None.
        aop: degrees; None unless a number may be shown.
        hsd: millimetres; None likewise, and without a scale.
        age_s: of its newest result since capture, in seconds; None before the first, or while it does not run.
        latency_p99_ms: from capture to result, the 99th percentile since its process began; None before the first.
        measured_hz, arriving_hz: frames a second, over the last three seconds: measured, and arriving at all.
        frames: since its process began, by what became of them: `measured`, `refused`, `dropped`.
        is_overloaded: the machine drops more than a few of its frames for want of time.
        cores: what it takes of the processors, in cores, without the engine.
        memory_mb: what its process holds.
        recording: `on`, `off` (not asked for), or why nothing is written.
        page: its own page; None while it does not run.
    """

    name: str
    label: str
    state: ProcessState
    shown: str = ""
    reason: str = ""
    since_s: float = 0.0
    is_waiting: bool = False
    restarts: int = 0
    next_start_s: float | None = None
    aop: NumberView | None = None
    hsd: NumberView | None = None
    age_s: float | None = None
    latency_p99_ms: float | None = None
    measured_hz: float = 0.0
    arriving_hz: float = 0.0
    frames: dict[str, int] = field(default_factory=dict)
    is_overloaded: bool = False
    cores: float = 0.0
    memory_mb: float = 0.0
    recording: str = "off"
    page: FeedPage | None = None

    @property
    def is_live(self) -> bool:
        """Whether its process runs and its page shows a number, or would if there were a plane."""
        return self.state is ProcessState.RUNNING and self.shown in ("live", "replay", "hold", "no plane", "frozen")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineView:
    """The engine of all feeds.

    Attributes:
        state: of its process; of a server's (`triton://`) `running` as long as feeds use it.
        name: `openvino int8 CPU, shared`; empty before it is ready.
        reason: why it is not running.
        since_s: seconds in this state.
        restarts: since the ward began.
        is_remote: it runs on a server, and has no process here.
    """

    state: ProcessState
    name: str = ""
    reason: str = ""
    since_s: float = 0.0
    restarts: int = 0
    is_remote: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityView:
    """What the machine was measured to carry, and what the admitted feeds take of it.

    Attributes:
        cores: that the ward may run on.
        engine_hz: frames a second that the engine answers when it has nothing else to do; 0 before it is measured.
        work_ms: of processor for a frame, from capture to result, in milliseconds; 0 likewise.
        load: share of the machine that all admitted feeds take at their rates, 1 = all of it.
        expected_ms: age of results that this load lets expect.
        deadline_ms: the limit of it.
    """

    cores: int = 0
    engine_hz: float = 0.0
    work_ms: float = 0.0
    load: float = 0.0
    expected_ms: float = 0.0
    deadline_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingView:
    """What is written of all feeds.

    Attributes:
        state: `off` (not asked for), `on`, or `stopped`, where the disk leaves no room.
        reason: of `stopped`, in one line.
        used_bytes, quota_bytes: of all feeds together, and what they may take (`keep_gb`).
        free_bytes, reserve_bytes: of the disk, and what stays free (`reserve_gb`).
        deleted: folders deleted so far because they were too old, or too many.
    """

    state: str = "off"
    reason: str = ""
    used_bytes: int = 0
    quota_bytes: int = 0
    free_bytes: int = 0
    reserve_bytes: int = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WardView:
    """The whole ward.

    Attributes:
        feeds: in the order of `ward.toml`.
        up_s: seconds since it began.
        reloads: how often `ward.toml` was read again and taken.
        reload_error: why the last one was not taken; empty where it was.
    """

    feeds: tuple[FeedView, ...] = ()
    engine: EngineView = field(default_factory=lambda: EngineView(state=ProcessState.STARTING))
    capacity: CapacityView = field(default_factory=CapacityView)
    recording: RecordingView = field(default_factory=RecordingView)
    up_s: float = 0.0
    reloads: int = 0
    reload_error: str = ""


class WardStatus(Protocol):
    """What the wall is given: the state of the ward, at any time and from any thread."""

    @property
    def config(self) -> WardConfig:
        """What holds now: another object after a reload."""

    def view(self) -> WardView:
        """The state at this moment; cheap enough to be asked ten times a second."""
