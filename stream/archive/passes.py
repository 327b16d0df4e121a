"""Puts inputs through workers on a Ray cluster, by Ray Data: a pool of actors that hold an engine each.

A pass gives every input to a worker once. What comes back is an `Outcome`; an input whose worker died has none, and the
caller gives it to another pass. Ray itself repeats nothing: it would repeat a file that kills its worker for ever.
"""

from __future__ import annotations

import pickle
import queue
import threading
import warnings
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engines.errors import PartumError
from stream.archive.cluster import ClusterUnavailable, HeadWatch, Workers, import_ray
from stream.archive.measuring import ArchiveWorker, load_archive_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stream.archive.inputs import ArchiveInput
    from stream.archive.measuring import ArchiveJob, Outcome

MOST_AT_ONCE = 2_000
"""Inputs that Ray is given at a time: it keeps a list of them. The pool is made anew for each such part."""
LEAST_A_WORKER = 200
"""Unless there are so many workers that each would get fewer than this."""

STEP_S, WAIT_S = 0.5, 3.0
"""While a worker is waited for: how often it is asked whether to give up, and after how long it is said."""

ASK_S, END_S = 10.0, 5.0

ON_THE_HEAD: dict[str, Any] = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}
"""Where an actor lives that must outlive every other node."""


class Ledger:
    """Who has which content in hand, and how often each input was begun; one for each pass."""

    def __init__(self) -> None:
        self._claims: dict[str, str] = {}
        self._begun: Counter[str] = Counter()
        self._failure: PartumError | None = None

    def begin(self, key: str) -> None:
        """An input is being looked at."""
        self._begun[key] += 1

    def claim(self, sha256: str, key: str) -> bool:
        """Whether this input may measure the content: no other one in this pass does."""
        return self._claims.setdefault(sha256, key) == key

    def begun(self) -> dict[str, int]:
        """How often each input was begun."""
        return dict(self._begun)

    def fail(self, error: PartumError) -> None:
        """A worker cannot begin."""
        self._failure = self._failure or error

    def failure(self) -> PartumError | None:
        """Why the first worker that could not begin could not; None where all could."""
        return self._failure


class _RemoteClaims:
    """A `stream.archive.measuring.Claims` that asks the actor."""

    def __init__(self, ledger: Any) -> None:
        import ray

        self._ray, self._ledger = ray, ledger

    def begin(self, key: str) -> None:
        self._ray.get(self._ledger.begin.remote(key))

    def claim(self, sha256: str, key: str) -> bool:
        return bool(self._ray.get(self._ledger.claim.remote(sha256, key)))


class MeasureActor:
    """What Ray Data makes an actor of: loads an engine, then measures an input a row.

    Args:
        job: what all workers share.
        ledger: a handle of the actor.
    """

    def __init__(self, job: ArchiveJob, ledger: Any) -> None:
        import ray

        try:
            engine = load_archive_engine(job)
        except PartumError as error:
            wait: Any = ray.get
            wait(ledger.fail.remote(error))  # Ray would tell it as the end of an actor
            raise
        self._worker = ArchiveWorker(job, engine, _RemoteClaims(ledger))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        outcome = self._worker.measure(pickle.loads(row["unit"]))
        return {"outcome": pickle.dumps(outcome)}


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What a worker's engine is."""

    engine: str
    model: str
    sha256: str


def try_engine(
    job: ArchiveJob,
    workers: Workers,
    *,
    say: Callable[[str], None] = lambda line: None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> EngineFacts | None:
    """Loads the engine once on a node of the cluster; None where it is stopped meanwhile.

    Args:
        job: what all workers share.
        workers: what each needs.
        say: told what is waited for, where that takes long.
        is_stopped: whether to give up.

    Raises:
        OptionError: no node has room for a worker, or another version than this.
        EngineError: no network runs there.
        ClusterUnavailable: the worker died.
    """
    ray = import_ray()
    workers.room_in(ray)
    task = ray.remote(**{name: value for name, value in workers.remote.items() if value}, max_retries=1)(_tried)
    lack, asked = workers.lack_in(ray), task.remote(job)
    try:
        while not ray.wait([asked], timeout=WAIT_S if lack else STEP_S)[0]:
            if is_stopped():
                ray.cancel(asked, force=True)
                return None
            if lack:
                say(lack)
                lack = ""
        found = ray.get(asked)
    except ray.exceptions.RayError as error:
        said = " ".join(str(error).split())[:300]
        raise ClusterUnavailable(
            f"a worker could not be started ({said}); is Partum installed on all nodes?"
        ) from error
    if isinstance(found, PartumError):
        raise found
    assert isinstance(found, EngineFacts)
    return found


def _tried(job: ArchiveJob) -> EngineFacts | PartumError:
    try:
        engine = load_archive_engine(job)
    except PartumError as error:
        return error
    with engine:
        return EngineFacts(engine.name, engine.spec.name, engine.spec.sha256)


class Pass:
    """A pass in a thread of its own, whose outcomes are taken from a queue.

    Runs where the cluster's Python is: in this process, or, with `ray://`, in an actor of the cluster.
    """

    def __init__(self) -> None:
        self._outcomes: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()
        self._ledger: Any = None
        self._cancelled = threading.Event()
        self._head: HeadWatch | None = None
        self._thread: threading.Thread | None = None
        self._running: deque[Any] = deque(maxlen=1)

    def start(self, units: Sequence[ArchiveInput], job: ArchiveJob, workers: Workers) -> None:
        """Begins; returns at once."""
        ray = import_ray()
        self._head = HeadWatch(ray.get_runtime_context().gcs_address)
        self._ledger = ray.remote(**ON_THE_HEAD)(Ledger).remote()
        arguments = list(units), job, workers
        self._thread = threading.Thread(target=self._run, args=arguments, name="partum-pass", daemon=True)
        self._thread.start()

    def take(self, timeout_s: float) -> tuple[list[Outcome], bool]:
        """What has come since, at most `timeout_s` later, and whether all has.

        Raises:
            ClusterUnavailable: the cluster is gone.
        """
        found: list[Outcome] = []
        try:
            while True:
                each = self._outcomes.get(timeout=0 if found else timeout_s)
                if isinstance(each, BaseException):
                    raise each
                if each is None:
                    return found, True
                found.append(each)
        except queue.Empty:
            if not found and self._head is not None:
                self._head.check()
            return found, False

    def cancel(self) -> None:
        """Gives nothing more to the cluster, and ends what is under way.

        A thread that is still in Ray when the cluster goes would end the process before it has said a word.
        """
        self._cancelled.set()
        for dataset in list(self._running):
            executor: Any = getattr(dataset, "_current_executor", None)  # Ray has no public way to end what it executes
            with suppress(Exception):
                executor.shutdown(force=True)
        if self._thread is not None:
            self._thread.join(END_S)

    def begun(self) -> dict[str, int]:
        """How often each input was begun."""
        ray = import_ray()
        try:
            counts: dict[str, int] = ray.get(self._ledger.begun.remote())
        except ray.exceptions.RayError as error:
            raise ClusterUnavailable("the head of the cluster went away; go on with --resume") from error
        return counts

    def _run(self, units: list[ArchiveInput], job: ArchiveJob, workers: Workers) -> None:
        ray = import_ray()
        try:
            start = 0
            while start < len(units):
                jobs = workers.room_in(ray)
                some = units[start : start + max(MOST_AT_ONCE, LEAST_A_WORKER * jobs)]
                dataset = _measured(ray, some, job, workers, min(jobs, len(some)), self._ledger)
                self._running.append(dataset)
                for row in dataset.iter_rows():
                    self._outcomes.put(pickle.loads(row["outcome"]))
                    if self._cancelled.is_set():
                        return
                start += len(some)
        except PartumError as error:
            self._outcomes.put(error)
        except Exception as error:  # noqa: BLE001 - the thread's end: it is told to the one who waits
            if (failure := self._failure(ray)) is not None:
                self._outcomes.put(failure)
                return
            said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            self._outcomes.put(ClusterUnavailable(f"the cluster fails ({said}); go on with --resume"))
        else:
            self._outcomes.put(None)

    def _failure(self, ray: Any) -> PartumError | None:
        """Why a worker could not begin, where that ended the pass."""
        with suppress(Exception):
            failure: PartumError | None = ray.get(self._ledger.failure.remote(), timeout=ASK_S)
            return failure
        return None


def _measured(
    ray: Any, units: Sequence[ArchiveInput], job: ArchiveJob, workers: Workers, jobs: int, ledger: Any
) -> Any:
    """A Ray dataset of the outcomes of these inputs, as they come; without those whose worker died."""
    with warnings.catch_warnings():
        # Of its own use of what it gives up, and of the two words that keep it from repeating, which have no successor.
        warnings.simplefilter("ignore", DeprecationWarning)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.max_errored_blocks = -1  # an input whose worker died: the caller sees that it is missing
        rows = [{"unit": pickle.dumps(unit)} for unit in units]
        return ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            MeasureActor,
            fn_constructor_args=(job, ledger),
            compute=ray.data.ActorPoolStrategy(size=jobs, max_tasks_in_flight_per_actor=1),
            **{name: value for name, value in workers.remote.items() if value},
            max_restarts=-1,
            max_task_retries=0,
        )


def new_pass(address: str | None) -> Any:
    """A `Pass`, here, or on the cluster where the command is only its client; called alike."""
    if not (address or "").startswith("ray://"):
        return Pass()
    ray = import_ray()
    return _Elsewhere(ray, ray.remote(**ON_THE_HEAD, max_concurrency=4)(Pass).remote())


class _Elsewhere:
    """A `Pass` that is an actor."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor

    def start(self, units: Sequence[ArchiveInput], job: ArchiveJob, workers: Workers) -> None:
        self._get(self._actor.start.remote(units, job, workers))

    def take(self, timeout_s: float) -> tuple[list[Outcome], bool]:
        found: tuple[list[Outcome], bool] = self._get(self._actor.take.remote(timeout_s))
        return found

    def cancel(self) -> None:
        self._get(self._actor.cancel.remote())

    def begun(self) -> dict[str, int]:
        found: dict[str, int] = self._get(self._actor.begun.remote())
        return found

    def _get(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, PartumError) else None
            raise cause or ClusterUnavailable(f"the cluster fails ({type(error.cause).__name__})") from error
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            raise ClusterUnavailable("the cluster went away; go on with --resume") from error
