"""Cache of built engines on disk, each valid only for the facts it was built with.

    NAME-PRECISION-DIGEST.engine     what the runtime serialised
    NAME-PRECISION-DIGEST.json       its key, the model's facts, its own hash, and the acceptance report
    NAME-PRECISION-DIGEST.npz        a few frames and what it answered when it was accepted (`engines.tensorrt.retrial`)
    NAME-PRECISION-DIGEST.kernels    what TensorRT-RTX compiled of it for this GPU

A file has its final name only when it is whole. Nothing is built while a live stream runs: see `live_stream`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sys
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.atomic_file import atomic_path
from engines.base import ModelSpec
from engines.errors import BuildError, EngineMissing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCHEMA = "partum.engine/1"
FOLDER_VARIABLE = "PARTUM_CACHE"
"""Environment variable that names another folder for built engines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKey:
    """All that a built engine depends on. Two engines are interchangeable only if every field agrees.

    The driver is no part of it: an engine outlives its updates. Under which one it was accepted is in its report.

    Attributes:
        model_sha256: of the ONNX file it was built from.
        runtime, runtime_version: `tensorrt` or `tensorrt_rtx`, and its version.
        device: name and compute capability, `NVIDIA H100 sm90`; of one built from afar the capability alone, `sm89`.
        precision: fp32, fp16, bf16, int8 or fp8.
        batch: least, usual and greatest batch size.
        flags: of the build, in order.
    """

    model_sha256: str
    runtime: str
    runtime_version: str
    device: str
    precision: str
    batch: tuple[int, int, int]
    flags: tuple[str, ...] = ()

    @property
    def is_from_afar(self) -> bool:
        """Whether it was built for a capability, without a device."""
        return is_capability(self.device)

    def from_afar(self) -> EngineKey:
        """The key of the same engine built without its device."""
        return replace(self, device=capability_of(self.device))

    @property
    def digest(self) -> str:
        """A short name for the whole key."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def differences(self, stored: Mapping[str, Any]) -> list[str]:
        """In which facts a stored key differs: `runtime_version 10.3, here 11.4`."""
        mine = json.loads(json.dumps(asdict(self)))
        return [f"{name} {stored.get(name)}, here {value}" for name, value in mine.items() if stored.get(name) != value]


@dataclass(frozen=True, slots=True)
class StoredEngine:
    """A built engine found in the cache: its bytes, checked against their hash, and the facts beside them."""

    path: Path
    content: bytes = field(repr=False)
    facts: Mapping[str, Any] = field(repr=False)

    @property
    def spec(self) -> ModelSpec | None:
        """The facts of the model it was built from, which may be a quantised form of the one that is asked for."""
        kept = self.facts.get("model")
        return (
            ModelSpec.from_metadata(kept, origin=str(self.path), sha256=self.facts["key"]["model_sha256"])
            if kept
            else None
        )

    @property
    def report(self) -> Mapping[str, Any] | None:
        """The acceptance report; None where the engine has not been judged yet."""
        found: Mapping[str, Any] | None = self.facts.get("acceptance")
        return found


class EngineCache:
    """A folder of built engines.

    Args:
        folder: None takes the one `PARTUM_CACHE` names, else the user's cache folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder()

    def path_of(self, key: EngineKey, name: str) -> Path:
        """Where the engine of that key lies, or would."""
        return self.folder / f"{name}-{key.precision}-{key.digest}.engine"

    def find(self, key: EngineKey, name: str) -> StoredEngine:
        """The engine built for exactly this key.

        Raises:
            EngineMissing: there is none, or it is damaged; names the nearest one and why it will not do.
        """
        path = self.path_of(key, name)
        if _facts_beside(path) is None or not path.is_file():
            raise EngineMissing(f"{self._nearest(key)}; make it with: partum build")
        return self.find_path(path)

    def find_path(self, path: Path) -> StoredEngine:
        """The engine of a file of this folder, checked.

        Raises:
            EngineMissing: there is none there, or it is damaged.
        """
        facts = _facts_beside(path)
        if facts is None or not path.is_file():
            raise EngineMissing(f"{path}: no built engine with its facts; partum build --rebuild")
        return _checked(path, facts)

    def best(self, key: EngineKey, *, precision: str | None = None) -> StoredEngine:
        """The engine to run where precision and batch sizes may be any: the one that ran fastest when it was accepted.

        Those made of a quantised form of the same model count too.

        Args:
            key: precision and batch are not looked at.
            precision: the only one; None takes any.

        Raises:
            EngineMissing: there is none for this model, runtime and device, or none was accepted here; says why.
        """
        found = [
            (path, facts)
            for path, facts in self.entries()
            if not _unusable(key, facts) and precision in (None, facts["key"]["precision"])
        ]
        if not found:
            raise EngineMissing(f"{self._nearest(key)}; make it with: partum build")
        found.sort(key=lambda entry: (bool(rejection_reason(entry[1], key.device)), _order(entry[1])))
        broken: EngineMissing | None = None
        for path, facts in found:
            try:
                if why := rejection_reason(facts, key.device):
                    raise EngineMissing(f"{path}: {why}")
                return _checked(path, facts)
            except EngineMissing as error:  # the next one may be whole
                broken = broken or error
        raise broken or EngineMissing(self._nearest(key))

    def store(self, key: EngineKey, name: str, content: bytes, **facts: Any) -> Path:
        """Writes an engine and its facts; the facts come last, and without them the engine does not exist.

        Raises:
            BuildError: the folder cannot be written to.
        """
        path = self.path_of(key, name)
        facts = {
            "schema": SCHEMA,
            "key": asdict(key),
            "engine_sha256": hashlib.sha256(content).hexdigest(),
            "engine_bytes": len(content),
            "acceptance": None,
            **facts,
        }
        with suppress(OSError):  # what cannot be removed cannot be written either, which says so
            path.with_suffix(".json").unlink(missing_ok=True)
        write_whole(path, content)
        write_whole(path.with_suffix(".json"), _as_json(facts))
        return path

    def keep(self, path: Path, content: bytes) -> None:
        """Writes another file of this folder, whole or not at all."""
        write_whole(path, content)

    def set_report(self, stored: StoredEngine, report: Mapping[str, Any], *, forced: bool) -> None:
        """Keeps an engine's acceptance report beside it; `forced` lets a refused engine run, marked."""
        facts = {**stored.facts, "acceptance": {**report, "forced": forced}}
        write_whole(stored.path.with_suffix(".json"), _as_json(facts))

    def note(self, stored: StoredEngine, **facts: Any) -> None:
        """Changes some facts of an acceptance report that is there."""
        report = {**(stored.report or {}), **facts}
        write_whole(stored.path.with_suffix(".json"), _as_json({**stored.facts, "acceptance": report}))

    def entries(self) -> list[tuple[Path, Mapping[str, Any]]]:
        """Every whole engine with its facts, by name."""
        paths = sorted(self.folder.glob("*.engine")) if self.folder.is_dir() else []
        return [(path, facts) for path in paths if (facts := _facts_beside(path)) is not None]

    def _nearest(self, key: EngineKey) -> str:
        """Why no engine in the cache will do, by the one that differs in fewest facts."""
        differences = [key.differences(facts["key"]) for _, facts in self.entries()]
        if not differences:
            return f"no built engine in {self.folder}"
        nearest = "; ".join(sorted(differences, key=len)[0])
        return f"no engine for this model and machine: the nearest has {nearest}"


def rejection_reason(facts: Mapping[str, Any], device: str = "") -> str:
    """Why an engine with these facts may not run on that device (of a key; empty: any); empty where it may."""
    report = facts.get("acceptance")
    if report is None:
        return "it has not been compared with its float32 reference yet; run partum build on this machine"
    if not (report["accepted"] or report["forced"]):
        return f"it was refused ({'; '.join(report['refusals'])}); partum build --force runs it all the same, marked"
    if device and report.get("device", device) != device:
        return f"it was accepted on {report['device']}, and this is {device}; run partum build on this machine"
    return ""


def warning_of(facts: Mapping[str, Any]) -> str:
    """What every output must say of an engine with these facts; empty for an accepted one."""
    report = facts.get("acceptance")
    return "" if report is None or report["accepted"] else f"engine not accepted: {'; '.join(report['refusals'])}"


def cache_folder() -> Path:
    """The folder `PARTUM_CACHE` names, else `partum/engines` in the user's cache folder."""
    if named := os.environ.get(FOLDER_VARIABLE):
        return Path(named)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "partum" / "engines"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "partum" / "engines"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "partum" / "engines"


@contextmanager
def live_stream(folder: Path | None = None) -> Iterator[None]:
    """Held while frames of a scanner are measured: no engine is built meanwhile, in any process of this user.

    A build would take the device for minutes. Without file locks (Windows), or where the folder cannot be written to,
    this does nothing.
    """
    with _locked(folder or cache_folder(), shared=True, may_fail=True):
        yield


@contextmanager
def no_live_stream(folder: Path | None = None) -> Iterator[None]:
    """Held while an engine is built.

    Raises:
        BuildError: a live stream runs, or another build.
    """
    with _locked(folder or cache_folder(), shared=False, may_fail=False):
        yield


@contextmanager
def _locked(folder: Path, *, shared: bool, may_fail: bool) -> Iterator[None]:
    try:
        import fcntl

        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "live.lock").open("a")
    except (ImportError, OSError) as error:
        if may_fail or isinstance(error, ImportError):
            yield
            return
        raise BuildError(
            f"{folder}: cannot be written to ({error}); set {FOLDER_VARIABLE} to another folder"
        ) from error
    with file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            if not may_fail:
                raise BuildError("a live stream or another build is running; end it, then build") from error
        yield  # closing the file lets go of the lock


def damage_of(path: Path, facts: Mapping[str, Any]) -> str:
    """What is wrong with an engine's file; empty where it is as it was built."""
    try:
        _checked(path, facts)
    except EngineMissing as error:
        return str(error).removeprefix(f"{path}: ")
    return ""


def _checked(path: Path, facts: Mapping[str, Any]) -> StoredEngine:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EngineMissing(f"{path}: cannot be read ({error.strerror}); partum build --rebuild") from error
    if hashlib.sha256(content).hexdigest() != facts.get("engine_sha256"):
        raise EngineMissing(f"{path}: damaged (its bytes are not those that were built); partum build --rebuild")
    return StoredEngine(path, content, facts)


def is_capability(device: str) -> bool:
    """Whether a key's device is a bare compute capability, `sm89`."""
    return re.fullmatch(r"sm\d{2,3}", device) is not None


def capability_of(device: str) -> str:
    """The compute capability in a key's device: `sm90` of `NVIDIA H100 sm90`."""
    return device.rsplit(" ", 1)[-1]


def _unusable(key: EngineKey, facts: Mapping[str, Any]) -> bool:
    """Whether an engine with these facts cannot run where `key` was made; precision and batch aside."""
    stored = facts["key"]
    if key.model_sha256 not in (stored.get("model_sha256"), facts.get("made_from")):
        return True
    if any(stored.get(name) != getattr(key, name) for name in ("runtime", "runtime_version")):
        return True
    if stored.get("flags") != list(key.flags):
        return True
    return stored.get("device") not in (key.device, capability_of(key.device))


def _order(facts: Mapping[str, Any]) -> tuple[float, int]:
    """The fastest measured first; those never measured last, by precision."""
    report = facts.get("acceptance") or {}
    return (
        report.get("latency_ms") or math.inf,
        ("fp8", "int8", "fp16", "bf16", "fp32").index(facts["key"]["precision"]),
    )


def _facts_beside(path: Path) -> Mapping[str, Any] | None:
    try:
        facts: Mapping[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
        return None
    key = facts.get("key")
    return facts if isinstance(key, dict) and {each.name for each in fields(EngineKey)} <= key.keys() else None


def _as_json(facts: Mapping[str, Any]) -> bytes:
    return (json.dumps(facts, indent=2, allow_nan=False) + "\n").encode()


def write_whole(path: Path, content: bytes) -> None:
    """Writes beside `path`, to the disk, then renames."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path, unique=True) as partial, partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise BuildError(
            f"{path}: cannot be written ({error.strerror}); set {FOLDER_VARIABLE} to another folder"
        ) from error
