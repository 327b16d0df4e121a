"""`partum archive` on a Ray cluster of two nodes, with an object store: what dies in between costs nothing."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stream.app.options.session_options import SessionOptions
from stream.archive.cluster import Workers, _Started, import_ray
from stream.archive.locations import Location
from stream.archive.passes import EngineFacts
from stream.archive.run import ArchiveOptions, run_archive
from stream.batch.content import hash_of, stamp_of
from stream.batch.measuring import measure_job
from stream.batch.recordings import Job, Recording
from stream.batch.run import BatchFailed
from stream.batch.summary import COLUMNS
from stream.common.errors import OptionError
from stream.pipeline.record_fields import CLOCK_FIELDS, flatten
from tests.conftest import REPOSITORY
from tests.fakes.dicom.dcmtk import free_port
from tests.samples.source_files import waves, write_images, write_waves
from tests.stream.archive.long_film import write_long_film
from tests.stream.archive.mischief import GREEDY, HUNGRY, POISON, MischievousActor, spoiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytest.importorskip("ray.data", reason="needs the package ray[data]")
ds = pytest.importorskip("pyarrow.dataset", reason="needs the package pyarrow")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*"),
    # Ray leaves the files open that its client server writes its log to.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in.*ray_client_server:pytest.PytestUnraisableExceptionWarning"
    ),
]
PHANTOM = "phantom:?seed={}&duration=0.5"
LONG_FRAMES = 62
ROOM_KB = 3 << 20
"""A worker may take so much before Ray's monitor ends it."""
KEY, SECRET = "PARTUMTESTKEY", "partum-test-secret"
NAMES = {"name", "source", "same_content"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where Ray and the store keep their files, and what its nodes and their workers inherit."""
    folder = Path(f"/tmp/ptm-{os.getpid()}")  # Ray's sockets need a short path
    (folder / "ray").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("AWS_ACCESS_KEY_ID", KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def store(environment: Path) -> Iterator[str | None]:
    """An S3-compatible server; None where moto is not installed."""
    port = free_port()
    where = os.pathsep.join([os.environ.get("PARTUM_TEST_MOTO", ""), str(REPOSITORY)])
    command = [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)]
    with (environment / "moto.log").open("wb") as log:
        server = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": where}, stdout=log, stderr=log)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    server.kill()
    server.wait()


@pytest.fixture(scope="module")
def cluster(environment: Path, store: str | None) -> Iterator[Any]:
    """Two nodes of one core each; this process is connected to the first."""
    import_ray()
    import ray
    from ray.cluster_utils import Cluster

    quick = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
    two: Any = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "include_dashboard": False,
            "object_store_memory": 100 << 20,
            "ray_client_server_port": free_port(),
            "_system_config": quick,
        },
    )
    two.add_node(num_cpus=1, object_store_memory=100 << 20)
    ray.init(address=two.address, log_to_driver=False, logging_level=logging.CRITICAL)
    yield two
    disconnect: Any = ray.shutdown
    disconnect()
    two.shutdown()


@pytest.fixture(scope="module")
def exams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound and broken recordings, one of them twice, and their names must not be told."""
    folder = tmp_path_factory.mktemp("exams")
    spoiled(write_long_film(folder / "SMITH_long.mp4", count=LONG_FRAMES), HUNGRY)
    write_waves(folder / "SMITH_loop.mp4", 4)
    shutil.copy(folder / "SMITH_loop.mp4", folder / "SMITH_again.mp4")
    write_images(folder / "film", waves(3))
    whole = write_waves(folder / "SMITH_cut.mp4", 40, container="avi").read_bytes()
    (folder / "SMITH_cut.mp4").write_bytes(whole[: len(whole) * 3 // 4])
    return folder


def archive(out: Path | str, *inputs: Path | str, **more: Any) -> None:
    session = SessionOptions(backend="openvino")
    run_archive(ArchiveOptions(inputs=[str(each) for each in inputs], session=session, out=str(out), **more))


def table(out: Path | str, part: str) -> list[dict[str, Any]]:
    from stream.archive.locations import _system

    location = Location.parse(f"{out}/{part}")
    rows: list[dict[str, Any]] = (
        ds.dataset(location._full, filesystem=_system(location.store), format="parquet", partitioning="hive")
        .to_table()
        .to_pylist()
    )
    return rows


def by_content(out: Path | str) -> dict[str, dict[str, Any]]:
    rows = table(out, "loops")
    found = {row["sha256"]: row for row in rows if row["sha256"]}
    assert len(found) == sum(row["sha256"] is not None for row in rows), "each content once"
    return found


def as_batch(recording: Recording, folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Row and frames as `partum batch` makes them."""
    from stream.inference.engine_trial import load_judged_engine

    folder.mkdir()
    job = Job(recording, hash_of(recording), stamp_of(recording), folder)
    with load_judged_engine(None, "openvino", threads=1) as engine:
        row = measure_job(job, options=SessionOptions(tables_only=True), engine=engine, threads=1)
    lines = (folder / "measurements.jsonl").read_text().splitlines()
    return row, [flatten(json.loads(line)) for line in lines]


def same(ours: dict[str, Any], theirs: dict[str, Any], names: set[str]) -> None:
    for name in names:
        assert ours.get(name) == theirs.get(name), name


@pytest.fixture(scope="module")
def done(cluster: Any, exams: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An archive of files of which one kills its worker always, and one the first time; and a node dies on the way."""
    spoiled(write_waves(exams / "poison.mp4", 5), POISON)
    spoiled(write_waves(exams / "hungry.mp4", 6), HUNGRY)
    out, said = tmp_path_factory.mktemp("archive") / "dataset", []  # type: Path, list[str]
    busy = [hold(cluster) for _ in range(2)]

    def kill() -> None:
        wait_for(lambda: any("waiting for room" in line for line in said))
        for each in busy:
            each.__ray_terminate__.remote()
        wait_for(lambda: list(out.glob("frames/*/*/*.parquet")))
        cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("stream.archive.passes.MeasureActor", MischievousActor)
            patch.setattr("stream.archive.passes.WAIT_S", 0.1)
            patch.setattr("stream.archive.run.BatchProgress.say", lambda progress, line: said.append(line))
            with pytest.raises(BatchFailed) as caught:
                archive(out, exams, PHANTOM.format(1), PHANTOM.format(2), workers=Workers(jobs=2), part_s=0.5)
    finally:
        killer.join()
    return out, "\n".join([*said, str(caught.value)])


def hold(cluster: Any) -> Any:
    """An actor that keeps a core of the cluster."""
    import ray

    class Holder:
        def is_there(self) -> bool:
            return True

    made: Any = ray.remote(num_cpus=1)(Holder)
    holder = made.remote()
    wait: Any = ray.get
    assert wait(holder.is_there.remote())
    return holder


def test_rows_and_frames_are_those_of_a_batch(done: tuple[Path, str], exams: Path, tmp_path: Path) -> None:
    rows, frames = by_content(done[0]), table(done[0], "frames")
    for number, path in enumerate([PHANTOM.format(1), exams / "SMITH_loop.mp4", exams / "SMITH_long.mp4"]):
        row, records = as_batch(Recording(str(path), str(path)), tmp_path / str(number))
        same(rows[row["sha256"]], row, set(COLUMNS) - NAMES)
        own = sorted((each for each in frames if each["sha256"] == row["sha256"]), key=lambda each: each["index"])
        assert len(own) == len(records) == row["frames"]
        for ours, theirs in zip(own, records, strict=True):
            same(ours, theirs, set(theirs) - set(CLOCK_FIELDS))
    assert rows[hash_of(Recording("", str(exams / "SMITH_cut.mp4")))]["state"] == "failed"
    assert any(each["aop_deg"] is not None for each in frames)


def test_what_kills_its_worker_costs_itself_and_a_node_that_dies_nothing(
    cluster: Any, done: tuple[Path, str], exams: Path
) -> None:
    out, told = done
    assert len(cluster.list_all_nodes()) == 1
    rows = table(out, "loops")
    (poison,) = [row for row in rows if "the process that measured it ended" in (row["error"] or "")]
    assert (poison["state"], poison["sha256"]) == ("failed", None)
    assert by_content(out)[hash_of(Recording("", str(exams / "hungry.mp4")))]["state"] == "complete"
    assert sum(row["state"] == "complete" for row in rows) == 6
    assert "failed" in told
    assert "a worker needs 1 cores and 0 GPUs, and 0 cores" in told


def test_a_long_recording_whose_worker_died_at_a_part_is_one_file(done: tuple[Path, str], exams: Path) -> None:
    out, sha256 = done[0], hash_of(Recording("", str(exams / "SMITH_long.mp4")))
    assert (exams / "SMITH_long.fed").exists(), "a worker died"
    assert by_content(out)[sha256]["frames"] == LONG_FRAMES
    (file,) = out.rglob(f"{sha256}.parquet")
    assert not list(out.rglob("_parts/**/*.*"))
    assert file.parent.parent.parent == out / "frames"


def test_nothing_in_the_dataset_names_a_recording(done: tuple[Path, str]) -> None:
    files = [path for path in done[0].rglob("*") if path.is_file()]
    assert len(files) > 6
    for path in files:
        assert "SMITH" not in str(path)
        assert path.suffix in (".parquet", ".json")
        assert not path.name.startswith(".")
    for row in [*table(done[0], "loops"), *table(done[0], "frames")]:
        assert "SMITH" not in str(row)
    assert b"SMITH" not in b"".join(path.read_bytes() for path in files)


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> None:
    give_up = time.monotonic() + 240
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < give_up
        time.sleep(0.01)


def objects(out: str) -> dict[str, int]:
    return {entry.location.name: entry.stamp for entry in Location.parse(f"{out}/frames").entries()}


def test_a_worker_that_takes_all_memory_is_ended_by_the_monitor_and_is_a_row(cluster: Any, tmp_path: Path) -> None:
    memory = {line.split(":")[0]: int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines()}
    share = 1 - (memory["MemAvailable"] - ROOM_KB) / memory["MemTotal"]
    if memory["MemAvailable"] < 2 * ROOM_KB:
        pytest.skip(f"needs {2 * ROOM_KB >> 20} GB of free memory")
    if is_limited(memory["MemTotal"] << 10):
        pytest.skip("in a container with a limit of its own, Ray's monitor counts by that")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_memory_usage_threshold", f"{share:.3f}")
        patch.setenv("RAY_memory_monitor_refresh_ms", "50")
        node = cluster.add_node(num_cpus=2, object_store_memory=100 << 20)
        patch.setattr("stream.archive.passes.MeasureActor", MischievousActor)
        patch.setattr("stream.archive.run.MOST_CRASHES", 1)
        greedy = spoiled(write_waves(tmp_path / "greedy.mp4", 5), GREEDY)
        with pytest.raises(BatchFailed):
            archive(tmp_path / "out", greedy, workers=Workers(jobs=1, cpus=2))
    cluster.remove_node(node, allow_graceful=False)  # it would end others too, once the machine has less
    (row,) = table(tmp_path / "out", "loops")
    assert "out of memory" in row["error"]
    assert not grown(greedy), "nobody ended it"


def test_a_node_with_another_model_ends_the_run_in_one_line(cluster: Any, exams: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stream.archive.run.try_engine", lambda *_, **__: EngineFacts("engine", "model", "0" * 64))
        with pytest.raises(OptionError, match=r"^node \S+ has the model [0-9a-f]{8}, and another one 00000000$"):
            archive(tmp_path / "out", exams / "SMITH_loop.mp4", workers=Workers(jobs=1))


def is_limited(total: int) -> bool:
    """Whether this container may hold less than the machine."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        path = Path("/sys/fs/cgroup") / name
        said = path.read_text().strip() if path.exists() else "max"
        if said.isdecimal() and int(said) < total:
            return True
    return False


def grown(path: Path) -> bool:
    return path.with_suffix(".grown").exists()


def test_an_object_store_and_a_command_that_is_killed(cluster: Any, store: str | None, environment: Path) -> None:
    from pyarrow import fs

    try:
        wait_for(lambda: "Running on" in (environment / "moto.log").read_text())
    except AssertionError:
        pytest.skip("needs the package moto: pip install 'moto[s3]' flask flask-cors")
    made = fs.S3FileSystem(endpoint_override=str(store).partition("://")[2], scheme="http", allow_bucket_creation=True)
    made.create_dir("scans")
    made.create_dir("results")
    clip = write_waves(environment / "clip.mp4", 3).read_bytes()
    for number in range(4):
        Location.parse(f"s3://scans/day/SMITH{number}.mp4").put(clip + bytes([number]))
    out = "s3://results/dataset"
    address = f"ray://127.0.0.1:{cluster.head_node._ray_params.ray_client_server_port}"
    words = [sys.executable, "-m", "partum", "archive", "s3://scans/day", "-o", out, "--address", address]
    words += ["--backend", "openvino", "--jobs", "1"]
    run: dict[str, Any] = {"cwd": REPOSITORY, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    first = subprocess.Popen(words, **run)
    wait_for(lambda: objects(out), first)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    before = objects(out)
    assert 1 <= len(before) < 4
    second = subprocess.run([*words, "--resume"], check=False, timeout=120, **run)
    assert second.returncode == 0, second.stderr
    after = objects(out)
    assert {name: after[name] for name in before} == before, "what was done is not done again"
    assert [row["state"] for row in by_content(out).values()] == ["complete"] * 4
    everything = b"".join(entry.location.read() or b"" for entry in Location.parse(out).entries())
    for text in (second.stdout, second.stderr, everything.decode("latin-1")):
        assert KEY not in text
        assert SECRET not in text
    assert b"SMITH" not in everything
    assert "4 of 4 recordings measured" in second.stdout


def test_clusters_of_one_process_ask_for_one_token() -> None:
    """Ray reads the token once in a process: a second cluster with another one would turn it away."""
    tokens = []
    for _ in range(2):
        started = _Started(Workers(jobs=1, cpus=1))
        tokens.append(Path(os.environ["RAY_AUTH_TOKEN_PATH"]).read_text(encoding="ascii"))
        started.clear()
    assert tokens[0] == tokens[1]
    assert len(tokens[0]) == 64
