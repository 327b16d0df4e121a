"""`partum doctor` and `partum sources`: what this machine can do, and how to mend what it cannot."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av

from engines.inventory import list_backends
from engines.registry import TENSORRT, default_choices
from engines.runtime import available_cores
from engines.tensorrt.cache import EngineCache
from stream.app.options.config_file import ConfigFile, check, places
from stream.common.errors import OptionError
from stream.inference.engine_trial import EngineTrial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import click

DECODERS = ("h264", "hevc", "mjpeg", "mpeg4", "vp9", "av1")
LEAST_CORES = 2
SLEEP_S, LATE_S = 0.002, 0.010
"""A sleep of 2 ms that ends more than 10 ms late says that the machine stalls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. `mend` is empty where all is well; nothing runs without what `is_needed`."""

    name: str
    found: str
    mend: str = ""
    is_needed: bool = False


def examine() -> list[Finding]:
    """Everything that a run depends on, in the order it would miss it."""
    return [finding for check in CHECKS for finding in check()]


def _machine() -> Iterator[Finding]:
    cores = available_cores()
    yield Finding(
        name="cores",
        found=f"{cores} for this process",
        mend="" if cores >= LEAST_CORES else "give the program two cores or more; on one it cannot keep up at 25 Hz",
    )
    if hasattr(os, "getloadavg"):
        load = os.getloadavg()[0]
        mend = "" if load < cores else "other programs keep the cores busy; end them before a live run"
        yield Finding(name="load", found=f"{load:.1f} over the last minute", mend=mend)


def _clock() -> Iterator[Finding]:
    late = []
    for _ in range(50):
        before = time.monotonic()
        time.sleep(SLEEP_S)
        late.append(time.monotonic() - before - SLEEP_S)
    worst = max(late)
    yield Finding(
        name="clock",
        found=f"wakes at most {worst * 1e3:.1f} ms late; resolution {time.get_clock_info('monotonic').resolution:g} s",
        mend="" if worst < LATE_S else "the machine stalls: results will come late; look for other work on it",
    )


def _decoders() -> Iterator[Finding]:
    missing = [name for name in DECODERS if name not in av.codecs_available]
    yield Finding(
        name="decoders",
        found=f"FFmpeg by PyAV {av.__version__}: {', '.join(name for name in DECODERS if name not in missing)}",
        mend=f"missing {', '.join(missing)}; pip install --force-reinstall av" if missing else "",
    )


def _engines() -> Iterator[Finding]:
    found = list_backends()
    usable = [entry.backend for entry in found if not entry.reason]
    yield Finding(
        name="engines",
        found=", ".join(usable) or "none",
        mend="" if usable else "; ".join(entry.reason for entry in found),
        is_needed=True,
    )
    yield from (
        Finding(name=TENSORRT, found=f"{entry.version}, not used: {entry.reason}")
        for entry in found
        if entry.backend == TENSORRT and entry.version and entry.reason
    )


def _choice() -> Iterator[Finding]:
    for use, choice in default_choices(EngineTrial()).items():
        if choice is None:
            yield Finding(name=f"taken for {use}", found="not measured yet: a second or a few at the first start")
            continue
        yield Finding(
            name=f"taken for {use}",
            found=choice.line,
            mend="" if choice.usable else "no engine is right on this CPU; install another back-end: partum engines",
        )


def _folders() -> Iterator[Finding]:
    for name, folder in (("results", Path.cwd()), ("engine cache", EngineCache().folder)):
        place = next(parent for parent in (folder, *folder.parents) if parent.exists())
        can = os.access(place, os.W_OK)
        mend = (
            ""
            if can
            else f"{place} cannot be written to; "
            + ("start in another folder, or give --out" if name == "results" else "set PARTUM_CACHE to another folder")
        )
        yield Finding(name=name, found=str(folder), mend=mend)


def _extras() -> Iterator[Finding]:
    for name, package, extra in (("web page", "uvicorn", "serve"), ("DICOM", "pydicom", "dicom")):
        there = importlib.util.find_spec(package) is not None
        yield Finding(
            name=name,
            found="installed" if there else "not installed",
            mend="" if there else f"where it is wanted: pip install 'partum[{extra}]'",
        )


def configuration(program: click.Group) -> list[Finding]:
    """The configuration files, and what is wrong with them: no command that reads them runs then."""
    found = []
    for path in places():
        if os.path.isfile(path):
            try:
                check(ConfigFile.read(path), program)
                mend = ""
            except OptionError as error:
                mend = str(error)
            found.append(Finding(name="configuration", found=str(path), mend=mend, is_needed=True))
    return found or [Finding(name="configuration", found=f"no {' and no '.join(map(str, places()))}")]


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _machine,
    _clock,
    _decoders,
    _engines,
    _choice,
    _folders,
    _extras,
)


def possible_sources() -> list[Finding]:
    """The live sources that `partum attach` can read here; `mend` says why not."""
    found = []
    devices = sorted(Path("/dev").glob("video*")) if Path("/dev").is_dir() else []
    for device in devices:
        can = os.access(device, os.R_OK)
        found.append(
            Finding(
                name=f"v4l2:{device}",
                found="a capture card or camera",
                mend="" if can else "may not be read; add this user to the group 'video'",
            )
        )
    if not devices:
        why = (
            "no /dev/video*: plug a capture card in"
            if sys.platform == "linux"
            else "V4L2 is Linux'; use rtsp:// or udp://"
        )
        found.append(Finding(name="v4l2:/dev/videoN", found="capture cards and cameras", mend=why))
    display = os.environ.get("DISPLAY", "")
    found.append(
        Finding(
            name=f"screen:{display}",
            found="an X11 display, or a region of it",
            mend="" if display else "DISPLAY is not set: there is no X11 display, or it is not this user's",
        )
    )
    for name, words in (
        ("rtsp://host/path", "a stream server or camera"),
        ("rtmp://host/path", "a stream server"),
        ("udp://@:5000", "MPEG-TS sent to this machine"),
        ("http://host/stream", "motion JPEG, and whatever FFmpeg takes"),
        ("igtl://host:18944/device", "OpenIGTLink: PLUS, 3D Slicer"),
    ):
        found.append(Finding(name=name, found=words))
    return found
