"""A Ray cluster: one on this machine, started and ended here, or one that is there already."""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import shutil
import socket
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.runtime import available_cores
from stream.common.clock import MonotonicClock
from stream.common.errors import ExtraMissing, OptionError, StreamError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream.common.clock import Clock

HEAD_EVERY_S, HEAD_S = 2.0, 15.0
"""How often the head of a cluster is asked whether it is there, and how long it may not answer."""
CLIENT_TRIES = 3
STORE_BYTES = 128 << 20
"""Of Ray's object store on this machine: only rows and lists of inputs go through it, never pictures."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a worker without GPUs sees none
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # what goes wrong is said here, in one line
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a thread that is left over when a run ends connects to nothing
}


class ClusterUnavailable(StreamError, RuntimeError):
    """No Ray cluster answers at that address, or it went away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """What each worker needs, and how many there are to be.

    Attributes:
        jobs: how many; None takes as many as the cluster has room for.
        cpus: cores of each.
        gpus: of each; 0.25 lets four share one.
        memory_bytes: that Ray reserves for each; None reserves none.
    """

    jobs: int | None = None
    cpus: int = 1
    gpus: float = 0.0
    memory_bytes: int | None = None

    @property
    def remote(self) -> dict[str, Any]:
        """As Ray takes it."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus or None, "memory": self.memory_bytes}

    def room_in(self, ray: Any) -> int:
        """How many the nodes that are alive have room for, up to `jobs`.

        Raises:
            OptionError: no node has room for one.
        """
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        room = sum(self._room_on(resources) for resources in alive)
        if not room:
            most = {name: max((each.get(name, 0) for each in alive), default=0) for name in ("CPU", "GPU")}
            raise OptionError(
                f"a worker asks for {self.cpus} cores and {self.gpus:g} GPUs, and no node has more than"
                f" {most['CPU']:g} and {most['GPU']:g}; ask for less by --cpus and --num-gpus"
            )
        return min(room, self.jobs or room)

    def lack_in(self, ray: Any) -> str:
        """Why a worker that is asked for now has to wait, and how to mend it, in one line; "" where it need not."""
        free = ray.available_resources()
        if self._room_on(free):
            return ""
        memory = f" and {self.memory_bytes / 1e9:g} GB" if self.memory_bytes else ""
        cores, gpus, free_gb = (free.get(name, 0.0) for name in ("CPU", "GPU", "memory"))
        return (
            f"waiting for room on the cluster: a worker needs {self.cpus} cores and {self.gpus:g} GPUs{memory}, and"
            f" {cores:g} cores, {gpus:g} GPUs and {free_gb / 1e9:.1f} GB are free;"
            " end what else runs there, add a node, or ask for less by --cpus, --num-gpus and --memory-gb"
        )

    def _room_on(self, resources: dict[str, float]) -> int:
        asked = {"CPU": float(self.cpus), "GPU": self.gpus, "memory": float(self.memory_bytes or 0)}
        return int(min(resources.get(name, 0.0) / amount for name, amount in asked.items() if amount))


class HeadWatch:
    """Sees that the head of the cluster is gone; Ray itself waits for a minute, and then ends the process in silence.

    Args:
        address: of it, `host:port`.
        clock: for the time in between.
    """

    def __init__(self, address: str, *, clock: Clock | None = None) -> None:
        self._host, _, self._port = address.rpartition(":")
        self._clock = clock or MonotonicClock()
        self._asked_ns = self._clock.now_ns()
        self._silent_ns: int | None = None  # since when it has not answered

    def check(self) -> None:
        """To be called often: asks now and then.

        Raises:
            ClusterUnavailable: it has been asked for `HEAD_S`, and has not answered.
        """
        now_ns = self._clock.now_ns()
        if now_ns - self._asked_ns < HEAD_EVERY_S * 1e9:
            return
        self._asked_ns = now_ns
        try:
            socket.create_connection((self._host.strip("[]"), int(self._port)), timeout=HEAD_EVERY_S).close()
        except OSError as error:
            self._silent_ns = now_ns if self._silent_ns is None else self._silent_ns
            if now_ns - self._silent_ns > HEAD_S * 1e9:
                raise ClusterUnavailable("the head of the cluster went away; go on with --resume") from error
        else:
            self._silent_ns = None


@contextmanager
def connected(address: str | None, workers: Workers) -> Iterator[Any]:
    """Ray, connected; a connection that is there already is used and left.

    Args:
        address: None starts a cluster on this machine and ends it; `auto` finds the one that this machine belongs to,
            `host:port` and `ray://host:port` name one.
        workers: that it must have room for, where it is started here.

    Raises:
        ExtraMissing: Ray is not installed.
        ClusterUnavailable: nothing answers there.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    is_there = True
    started, held = None if address else _Started(workers), ExitStack()
    try:
        try:
            with _native_messages_hidden():
                _connect(ray, started.options if started else {"address": address})
            held.enter_context(_node_messages_hidden())
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip(" ^~\t")]
            said = " ".join((lines or [type(error).__name__])[-1].split())[:200]  # of a server's traceback the last one
            raise ClusterUnavailable(
                f"--address {address or 'local'}: no Ray cluster can be used there ({said}); start one by:"
                " ray start --head, and where it asks for a token set RAY_AUTH_MODE=token"
            ) from error
        yield ray
    except ClusterUnavailable:
        atexit.unregister(ray.shutdown)  # it would wait for what is gone, and end the process before a word is said
        is_there = False
        raise
    finally:
        with suppress(Exception), held:
            if is_there:
                ray.shutdown()
        if started:
            started.clear()


def import_ray() -> Any:
    """Ray, told to keep to itself.

    Raises:
        ExtraMissing: it is not installed.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data  # takes pyarrow
    except ImportError as error:
        raise ExtraMissing(f"{error.name} is not installed; run: pip install 'partum[archive]'") from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return ray


_SILENT = {"log_to_driver": False, "logging_level": logging.CRITICAL}


def _connect(ray: Any, options: dict[str, Any]) -> None:
    """By Ray's client once more: its server gives each client a process, and on a busy machine gives up on that."""
    tries = CLIENT_TRIES if str(options["address"]).startswith("ray://") else 1
    for left in reversed(range(tries)):
        try:
            ray.init(**options, **_SILENT)
        except (ConnectionError, RuntimeError):
            if not left:
                raise
            ray.shutdown()
        else:
            return


@contextmanager
def _native_messages_hidden() -> Iterator[None]:
    """Ray's C++ says on stderr how much it is going to say; its errors come as exceptions."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _node_messages_hidden() -> Iterator[None]:
    """Of a node that died Ray prints the end of its log, whatever it was told of logging; here it is one line."""
    from ray._private import worker

    printing = getattr(worker, "print_to_stdstream", None)
    if printing is None:  # another version
        yield
        return
    worker.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        worker.print_to_stdstream = printing


@cache
def _token() -> str:
    """One for all clusters of this process: Ray reads it once, and would bring the first to the second."""
    return secrets.token_hex(32)


class _Started:
    """A cluster of this machine: its files lie in one folder, which goes with it, and so does the token it asks for.

    Left to itself Ray would make a token in the user's home, and leave it there.
    """

    def __init__(self, workers: Workers) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="partum-ray-", dir="/tmp" if os.name == "posix" else None))
        token = self._folder / "token"
        token.touch(mode=0o600)
        token.write_text(_token(), encoding="ascii")
        (self._folder / "ray").mkdir()
        own = {
            "RAY_TMPDIR": str(self._folder),
            "RAY_AUTH_TOKEN_PATH": str(token),
        }
        self._before = {name: os.environ.get(name) for name in (*own, "RAY_AUTH_TOKEN", "RAY_AUTH_MODE")}
        os.environ.pop("RAY_AUTH_TOKEN", None)
        os.environ.update(own)
        cores = max(available_cores(), (workers.jobs or 1) * workers.cpus)
        self.options = {
            "address": "local",
            "num_cpus": cores,
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
        }

    def clear(self) -> None:
        """Removes what Ray wrote."""
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(self._folder, ignore_errors=True)
