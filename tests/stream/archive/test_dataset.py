"""The dataset of an archive, its inputs and its texts, without a cluster."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stream.archive.dataset import ArchiveDataset, frames_location, parts_location
from stream.archive.inputs import InputFinder
from stream.archive.locations import Location, is_object_uri, without_secrets
from stream.archive.measuring import SCRATCH, clear_scratch, without_names
from stream.batch.recordings import Form, Recording
from stream.common.errors import OptionError, OutputError
from stream.pipeline.record_fields import RECORD_FIELDS
from tests.samples.source_files import write_waves

pq = pytest.importorskip("pyarrow.parquet", reason="needs the package pyarrow")

MODEL = {"name": "net", "sha256": "m" * 64}
ASKED = {"protocol": "robust"}


def opened(folder: Path, *, resume: bool = True, **asked: Any) -> ArchiveDataset:
    return ArchiveDataset(Location.parse(str(folder)), asked={**ASKED, **asked}, resume=resume)


def row_of(digit: str, **facts: Any) -> dict[str, Any]:
    return {"state": "complete", "sha256": digit * 64, "model_sha256": "m" * 64, "partum": "0", "frames": 3, **facts}


def loops(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "loops").to_pylist()
    return rows


@pytest.mark.parametrize("uri", ["s3://key:secret@bucket/x", "s3://bucket/x?secret_key=secret", "s3:///secret"])
def test_credentials_in_a_uri_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(OptionError) as caught:
        Location.parse(uri)
    assert "secret" not in str(caught.value)


def test_what_is_an_object_and_what_a_feed() -> None:
    assert [is_object_uri(text) for text in ("s3://b/x", "gs://b", "rtsp://h/live", "a/b.mp4", "phantom:?seed=1")] == [
        *(True, True),
        *(False, False, False),
    ]
    assert str(Location.parse("s3://bucket/a/") / "b") == "s3://bucket/a/b"
    assert Location.parse("file:///data/x").path == "/data/x"


def test_no_message_holds_a_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "abcSECRET")
    assert without_secrets("denied for abcSECRET here") == "denied for *** here"


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    location = Location.parse(str(tmp_path / "deep" / "file"))
    assert location.read() is None
    location.put(b"one")
    location.put(b"two")
    assert location.read() == b"two"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]
    with pytest.raises(OutputError, match="cannot be written"):
        (location / "below a file").put(b"x")


def test_rows_that_were_not_written_are_read_from_the_frames(tmp_path: Path) -> None:
    from stream.archive.frames_table import frames_file

    with opened(tmp_path) as dataset:
        dataset.begin(MODEL)
        for digit in "ab":
            frames_location(dataset.location, "m" * 64, digit * 64).put(frames_file(tmp_path / "none", row_of(digit)))
        dataset.add(row_of("a"))
        dataset.note_input("key", ["a" * 64], None)
        dataset.write([{"state": "failed", "error": "gone"}])
    half = tmp_path / f"frames/model={'m' * 16}/shard=cc/.c.parquet.part"
    half.parent.mkdir()
    half.write_bytes(b"half")
    assert sorted(row["state"] for row in loops(tmp_path)) == ["complete", "failed"]
    with opened(tmp_path) as dataset:
        dataset.begin(MODEL)
        assert set(dataset.rows) == {"a" * 64, "b" * 64}
        assert dataset.contents_of("key") == ("a" * 64,)
        dataset.write()
    assert sorted(row["sha256"][0] for row in loops(tmp_path)) == ["a", "b"]
    assert not half.exists()
    with opened(tmp_path) as dataset:
        dataset.begin(MODEL)
        dataset.write()
    assert len(loops(tmp_path)) == 2, "each content once, however often it goes on"


def test_a_dataset_that_was_removed_is_not_begun_anew_without_its_frames(tmp_path: Path) -> None:
    with opened(tmp_path / "out") as dataset:
        dataset.begin(MODEL)
        dataset.add(row_of("a"))
        shutil.move(tmp_path / "out", tmp_path / "elsewhere")
        with pytest.raises(OutputError, match=r"out: is gone; put it back"):
            dataset.write()
        assert not (tmp_path / "out").exists()
        shutil.move(tmp_path / "elsewhere", tmp_path / "out")
        dataset.write()
    assert len(loops(tmp_path / "out")) == 1


def test_parts_that_nobody_waits_for_are_removed(tmp_path: Path) -> None:
    with opened(tmp_path) as dataset:
        dataset.begin(MODEL)
        for digit in "ab":
            for name in ("plan.json", "000-100.log"):
                (parts_location(dataset.location, "m" * 64, digit * 64) / name).put(b"{}")
        dataset.clear_parts(keep={"b" * 64})
    assert {path.parent.name[0] for path in tmp_path.glob("_parts/*/*/*")} == {"b"}
    assert len(list(tmp_path.glob("_parts/*/*"))) == 1, "nor is its folder left"


def test_results_are_not_mixed_with_others(tmp_path: Path) -> None:
    with opened(tmp_path) as dataset:
        dataset.begin(MODEL)
        with pytest.raises(OutputError, match="another process"), opened(tmp_path):
            pass
    with pytest.raises(OptionError, match="--resume"), opened(tmp_path, resume=False):
        pass
    with pytest.raises(OptionError, match="protocol robust"), opened(tmp_path, protocol="fhps2023"):
        pass
    with opened(tmp_path) as dataset, pytest.raises(OptionError, match="of the model mmmmmmmm"):
        dataset.begin({"name": "net", "sha256": "n" * 64})


def test_every_partition_says_its_version_and_model_and_every_column_has_a_type(tmp_path: Path) -> None:
    from stream.archive.frames_table import frames_file, frames_schema

    with opened(tmp_path) as dataset:
        dataset.begin(MODEL)
        dataset.add(row_of("a"))
        dataset.write()
        frames_location(dataset.location, "m" * 64, "a" * 64).put(frames_file(tmp_path / "none", row_of("a")))
    for path in [*tmp_path.glob("frames/*/*/*.parquet"), *tmp_path.glob("loops/*/*.parquet")]:
        facts = pq.read_metadata(path).metadata
        assert facts[b"partum.model_sha256"] == b"m" * 64
        assert facts[b"partum.version"]
        assert b"Research use only" in facts[b"partum.notice"]
        assert f"model={'m' * 16}" in str(path)
    assert len(frames_schema()) == 3 + sum(len(field.columns) or 1 for field in RECORD_FIELDS)
    assert str(frames_schema().field("mirrored").type) == "bool"
    assert str(frames_schema().field("index").type) == "int64"
    assert str(frames_schema().field("aop_deg").type) == "double"
    assert json.loads((tmp_path / "archive.json").read_text())["model"] == MODEL


def test_a_row_names_nobody(tmp_path: Path) -> None:
    path = write_waves(tmp_path / "SMITH_JOHN.mp4", 2)
    recording = Recording(str(path), str(path))
    row = {"name": "0f3a", "source": str(path), "error": f"{path}: cut off; SMITH_JOHN.mp4 again", "frames": 2}
    told = without_names(row, recording)
    assert told == {"name": "0f3a", "error": "0f3a: cut off; 0f3a again", "frames": 2}
    series = Recording(f"{path} (series)", str(tmp_path), Form.DICOM_SERIES, (path,))
    assert "SMITH" not in json.dumps(without_names(row | {"source": series.source}, series))


def test_objects_of_a_store_are_found_by_their_names() -> None:
    fsspec = pytest.importorskip("fsspec", reason="needs the package fsspec")
    store = fsspec.filesystem("memory")
    for name in (
        "a/loop2.mp4",
        "a/loop10.mp4",
        "a/deep/x.dcm",
        "a/film/1.png",
        "a/film/2.png",
        "a/z.zip",
        "a/note.txt",
    ):
        store.pipe(f"/bucket/{name}", b"x")
    try:
        units, bad, found = InputFinder().inputs(["memory://bucket/a"])
        names = {unit.recording.source.removeprefix("memory://bucket/a/"): unit for unit in units}
        assert set(names) == {"loop2.mp4", "loop10.mp4", "deep/x.dcm", "film", "z.zip"}
        assert names["film"].recording.form is Form.IMAGES
        assert [uri.rpartition("/")[2] for uri in names["film"].objects] == ["1.png", "2.png"]
        assert [name for name, unit in names.items() if unit.is_archive] == ["z.zip"]
        assert (bad, dict(found.passed_over)) == ([], {".txt": 1})
        globbed, _, _ = InputFinder().inputs(["memory://bucket/**/loop*.mp4"])
        assert len(globbed) == 2
        assert len(InputFinder(stills=True).inputs(["memory://bucket/a/film"])[0]) == 2
        _, (nothing,), _ = InputFinder().inputs(["memory://bucket/nowhere"])
        assert "names no object" in nothing.error
    finally:
        store.rm("/bucket", recursive=True)


def test_what_a_dead_worker_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for pid in (1, 2):
        (tmp_path / f"{SCRATCH}{pid}-x").mkdir()
    clear_scratch(lambda pid: pid == 1)
    assert [path.name for path in tmp_path.iterdir()] == [f"{SCRATCH}1-x"]
