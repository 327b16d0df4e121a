"""What every test shares: the data beside the checkout, and the rule that no thread outlives a test."""

from __future__ import annotations

import faulthandler
import os
import re
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from engines.runtime import available_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engines.base import Engine

# The same examples in every run: a test that passed here passes on the next machine.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

REPOSITORY = Path(__file__).resolve().parent.parent
MOST_MORE = 4
"""Test processes beyond one a core."""
BYTES_OF_A_PROCESS = 2_000_000_000
"""A test process holds 1.4 GB, and what it starts holds more."""
MANY_PROCESSES = ("test_archive_cluster", "test_ward")
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """`-n auto`: more processes than cores, since many a test waits for a feed, a browser or another process."""
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None  # xdist's own answer
    return processes_for(available_cores(), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def processes_for(cores: int, memory_bytes: int) -> int:
    """How many: three on two cores, and none for which there is no memory."""
    return max(1, min(cores + min((cores + 1) // 2, MOST_MORE), memory_bytes // BYTES_OF_A_PROCESS))


@pytest.hookimpl(trylast=True)  # after pytest's own
def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False  # files are handed out in the order below
    if said := getattr(config, "workerinput", {}).get("last_words"):
        faulthandler.enable(Path(said).open("w"))  # noqa: SIM115 - open as long as the process lives


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """A test process writes where it was when it crashed to a file: what it writes to its stderr, nobody sees."""
    if said := last_words_of(node):
        node.workerinput["last_words"] = str(said)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    if error and (said := last_words_of(node)) and said.exists():
        node.config.get_terminal_writer().line(f"\n{node.gateway.id}:\n{said.read_text(errors='replace')}")


def last_words_of(node: Any) -> Path | None:
    """None where pytest keeps no cache (`-p no:cacheprovider`)."""
    cache = getattr(node.config, "cache", None)
    return cache.mkdir("last-words") / str(node.gateway.id) if cache else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no process is left alone with one when all the others are done.

    Those that keep many processes busy come before all, and those with a browser last among the slow ones: a screen
    that gets no processor for seconds takes its numbers off, as it must.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    browsers = {item.path for item in items if item.get_closest_marker("browser")}
    items.sort(key=lambda item: (item.path.stem not in MANY_PROCESSES, item.path not in slow, item.path in browsers))


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal (Linux)."""
    caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return caught is not None and bool(int(caught[1], 16) & 1 << number - 1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real frames beside the checkout; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs ../shared/data (real frames), which is not beside this checkout")
    return SHARED_DATA


@pytest.fixture(scope="session")
def short_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of the demonstration clip: off the plane, cut by the sector, and measured."""
    import av

    from stream.sources.demo import DEMO_CLIP
    from tests.samples.source_files import write_video

    with av.open(str(DEMO_CLIP)) as clip:
        frames = [frame for frame in clip.decode(video=0) if 220 <= round(float(frame.time or 0) * 24) < 300]
    path = tmp_path_factory.mktemp("demo") / "short.mp4"
    return write_video(path, frames, rate=24, options={"preset": "ultrafast", "crf": "4"})


@pytest.fixture(scope="session")
def loaded_engine() -> Iterator[Engine]:
    """The engine that `partum replay` runs here, loaded once for all tests that do not ask how it is loaded."""
    from stream.inference.engine_trial import load_judged_engine

    with load_judged_engine(throughput=True) as engine:
        yield engine


@pytest.fixture
def no_loading(loaded_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """`partum replay` in this process takes the loaded engine, and leaves it open."""
    from engines.sharing import BorrowedEngine

    monkeypatch.setattr("stream.app.session.load_judged_engine", lambda *_, **__: BorrowedEngine(loaded_engine))


@pytest.fixture
def gpu() -> None:
    """An NVIDIA GPU; without one the test is skipped, or fails where REQUIRE_GPU=1 says that there must be one."""
    from engines.errors import EngineError
    from engines.tensorrt.cuda import CudaRuntime

    try:
        CudaRuntime().device(0)
    except EngineError as error:
        if os.environ.get("REQUIRE_GPU") == "1":
            pytest.fail(f"REQUIRE_GPU=1, but {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="session", autouse=True)
def no_configuration_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is tested is what the tests say, whatever `partum.toml` of whoever runs them says."""
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="session", autouse=True)
def no_cache_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Which engine is the best here is measured once by all tests together, and the user's cache stays as it is."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # which all workers have
    (folder / "engines").mkdir(exist_ok=True)
    os.environ["PARTUM_CACHE"] = str(folder / "engines")


@pytest.fixture(autouse=True)
def no_thread_outlives_a_test() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [thread.name for thread in threading.enumerate() if thread not in before and not thread.daemon]
    assert not left, f"threads left running: {left}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, driven by playwright."""
    from tests.fakes.browser import ARGUMENTS

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    if path is None:
        pytest.skip("needs Chromium, which is not installed")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield running
        running.close()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch on one thread: small tensors gain nothing by more, and sums come out in one order."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
