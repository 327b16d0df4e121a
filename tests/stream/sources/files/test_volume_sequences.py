"""Sequences in MetaImage and NRRD: times, index values, per-picture fields, counts."""

from __future__ import annotations

import gzip
import itertools
import zlib
from typing import TYPE_CHECKING

import nrrd
import numpy as np
import pytest

from stream.common.errors import SourceTruncated
from stream.frames.frame import PixelSpacing, SegmentCause
from stream.frames.reason import Reason
from stream.sources.files.volumes import pixels as stack_pixels
from tests.samples.source_files import (
    frames_of,
    frames_to_error,
    pictures_of,
    write_metaimage,
    write_nrrd,
)
from tests.stream.sources.files.test_volume_headers import COUNT, PICTURES, facts, opened

if TYPE_CHECKING:
    from pathlib import Path


def plus(**of_frames: dict[int, str]) -> dict[str, str]:
    """Fields of a PLUS sequence: `plus(ImageStatus={3: "INVALID"})`."""
    return {f"Seq_Frame{index:04d}_{name}": value for name, by in of_frames.items() for index, value in by.items()}


def test_invalid_pictures_are_refused_and_keep_their_place(tmp_path: Path) -> None:
    status = {index: "INVALID" if index in (3, 7) else "OK" for index in range(COUNT)}
    fields = plus(ImageStatus=status, Timestamp={index: str(index * 0.05) for index in range(COUNT)})
    for path in (
        write_metaimage(tmp_path / "a.mha", PICTURES, fields=fields),
        write_nrrd(tmp_path / "a.nrrd", PICTURES, pairs=fields),
    ):
        frames = frames_of(opened(path))
        assert [frame.index for frame in frames if frame.refusal is Reason.INVALID] == [3, 7]
        assert [frame.index for frame in frames if frame.refusal is None] == [0, 1, 2, 4, 5, 6, 8, 9, 10, 11]
        assert frames[-1].pts_s == pytest.approx(0.55)


def test_a_picture_may_have_its_own_scale(tmp_path: Path) -> None:
    fields = {
        "ElementSpacing": "0.4 0.4 1",
        **plus(ElementSpacing={index: "0.2 0.3 1" if index < 5 else "9000 9000 1" for index in range(1, 8)}),
    }
    source = opened(write_metaimage(tmp_path / "a.mha", PICTURES, fields=fields))
    assert "9000 x 9000 mm per pixel" in source.info.note
    frames = frames_of(source)
    own, whole = PixelSpacing(0.2, 0.3), PixelSpacing(0.4, 0.4)
    assert [frame.spacing for frame in frames] == [whole, *[own] * 4, *[None] * 3, *[whole] * 4]
    assert [frame.segment for frame in frames] == [0, *[1] * 4, *[2] * 3, *[3] * 4]
    assert frames[3].segment_cause is SegmentCause.ASPECT
    fields["UltrasoundImageOrientation"] = "FM"
    assert frames_of(opened(write_metaimage(tmp_path / "a.mha", PICTURES, fields=fields)))[1].spacing == own.__class__(
        0.3, 0.2
    )


TIMES_S = np.cumsum([0.0] + [0.033, 0.066] * 5 + [0.033])


def slicer(path: Path, *, axis: int, encoding: str = "gzip", **more: str) -> Path:
    """A sequence as 3D Slicer writes it: times along the first axis until 5.8, along the last since."""
    is_first = axis == 0
    stored = np.ascontiguousarray(np.moveaxis(PICTURES[:, None], 0, -1)) if is_first else PICTURES[:, None]
    directions = ["(0.3,0,0)", "(0,0.2,0)", "(0,0,1)"]
    kinds = ["domain"] * 3
    for texts, text in ((directions, "none"), (kinds, "list")):
        texts.insert(0 if is_first else 3, text)
    fields = {"kinds": " ".join(kinds), "space": "left-posterior-superior", "space directions": " ".join(directions)}
    pairs = {f"axis {axis} index type": "numeric", f"axis {axis} index values": " ".join(f"{t:g}" for t in TIMES_S)}
    return write_nrrd(path, stored, encoding=encoding, fields=fields, pairs=pairs | more)


@pytest.mark.parametrize("axis", [0, 3])
@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_a_slicer_sequence_with_its_times(tmp_path: Path, axis: int, encoding: str) -> None:
    source = opened(slicer(tmp_path / "a.seq.nrrd", axis=axis, encoding=encoding))
    assert (source.info.frame_count, source.info.spacing, source.info.note) == (COUNT, PixelSpacing(0.3, 0.2), "")
    frames = frames_of(source)
    np.testing.assert_array_equal([frame.image for frame in frames], PICTURES)
    assert [frame.pts_s for frame in frames] == pytest.approx(list(TIMES_S))
    read, _ = nrrd.read(str(tmp_path / "a.seq.nrrd"), index_order="C")
    np.testing.assert_array_equal(np.moveaxis(read, 3, 0)[:, 0] if axis == 0 else read[:, 0], PICTURES)


def test_interleaved_pictures_are_gathered_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_pixels, "_GROUP_BYTES", 5 * 64 * 96)
    monkeypatch.setattr(stack_pixels, "_CHUNK_BYTES", 1000)
    path = slicer(tmp_path / "a.seq.nrrd", axis=0)
    np.testing.assert_array_equal(pictures_of(opened(path)), PICTURES)
    path.write_bytes(path.read_bytes()[:-3000])
    frames, error = frames_to_error(opened(path))
    assert not frames
    assert isinstance(error, SourceTruncated)


@pytest.mark.parametrize(
    ("pairs", "last_s", "words"),
    [
        (
            {"axis 3 index values": " ".join(f"{t:g}" for t in TIMES_S[:-1])},
            0.495 + 0.0495,
            "12 frames, 11 index values",
        ),
        ({"axis 3 index values": " ".join(str(index) for index in range(20))}, 11.0, "12 frames, 20 index values"),
        ({"axis 3 index type": "text"}, 0.44, "25 frames/s assumed"),
        ({"axis 3 index values": " ".join(["nan"] * 12)}, 0.44, "25 frames/s assumed"),
        ({"axis 3 index values": " ".join(["7"] * 12)}, 0.44, "do not move forward: 25 frames/s assumed"),
    ],
)
def test_index_values_that_are_no_times(tmp_path: Path, pairs: dict[str, str], last_s: float, words: str) -> None:
    source = opened(slicer(tmp_path / "a.nrrd", axis=3, **pairs))
    assert words in source.info.note
    assert frames_of(source)[-1].pts_s == pytest.approx(last_s)


@pytest.mark.parametrize(
    ("fields", "rate_hz", "last_s"),
    [
        ({"units": '"" "" "" "ms"', "spacings": "1 1 1 1"}, 30.303, 0.000528),
        ({"labels": '"" "" "" "position"'}, 25, 0.44),
        ({"units": '"" "" "" "mm"', "spacings": "1 1 1 1"}, 25, 0.44),
    ],
)
def test_the_unit_and_the_label_of_index_values_count(
    tmp_path: Path, fields: dict[str, str], rate_hz: float, last_s: float
) -> None:
    path = slicer(tmp_path / "a.nrrd", axis=3, encoding="raw")
    text = "".join(f"{key}: {value}\n" for key, value in fields.items())
    path.write_bytes(path.read_bytes().replace(b"encoding", f"{text}encoding".encode(), 1))
    if "ms" in str(fields):  # the values are in milliseconds: 0.033 ms apart is no film
        assert "not plausible" in facts(path).note
        return
    source = opened(path)
    assert source.info.frame_rate_hz == pytest.approx(rate_hz)
    assert frames_of(source)[-1].pts_s == pytest.approx(last_s)


def test_the_step_of_an_axis_with_a_unit_of_time(tmp_path: Path) -> None:
    fields = {"spacings": "0.3 0.3 0.066", "units": '"mm" "mm" "s"'}
    source = opened(write_nrrd(tmp_path / "a.nrrd", PICTURES, fields=fields))
    assert source.info.note == ""
    assert frames_of(source)[-1].pts_s == pytest.approx(11 * 0.066)
    fields["spacings"] = "0.3 0.3 100000"
    assert (
        "100000 s from frame to frame is not plausible"
        in facts(write_nrrd(tmp_path / "a.nrrd", PICTURES, fields=fields)).note
    )


@pytest.mark.parametrize(
    ("stamps", "words"),
    [
        (["nan"] * COUNT, "25 frames/s assumed"),
        (["0", "inf", *[f"{0.04 * index}" for index in range(2, COUNT)]], "1 of 12 time stamps are no numbers"),
        (["5.0"] * COUNT, "do not move forward"),
        ([f"{5 - 0.04 * index}" for index in range(COUNT)], "do not move forward"),
        ([str(40_000 * index) for index in range(COUNT)], "40000 s apart are not plausible"),
        ([str(40 * index) for index in range(COUNT)], "40 s apart are not plausible"),
        ([f"{1_700_000_000 + 0.04 * index:.6f}" for index in range(COUNT)], ""),
    ],
)
def test_stamps_of_a_sequence_that_cannot_be(tmp_path: Path, stamps: list[str], words: str) -> None:
    fields = plus(Timestamp=dict(enumerate(stamps)))
    source = opened(write_metaimage(tmp_path / "a.mha", PICTURES, fields=fields))
    assert words in source.info.note
    assert source.info.frame_rate_hz == 25
    assert [frame.pts_s for frame in frames_of(source)] == pytest.approx([index / 25 for index in range(COUNT)])


def test_fields_of_pictures_that_are_not_there_are_counted(tmp_path: Path) -> None:
    fields = plus(Timestamp={index: str(index * 0.04) for index in range(20)})
    path = write_metaimage(tmp_path / "a.mha", PICTURES, fields=fields)
    assert "12 pictures, fields of 20" in facts(path).note


def test_all_pictures_are_played_where_fewer_are_declared(tmp_path: Path) -> None:
    source = opened(write_metaimage(tmp_path / "a.mha", PICTURES, sizes=(96, 64, 5)))
    assert "12 frames stored, 5 declared" in source.info.note
    np.testing.assert_array_equal(pictures_of(source), PICTURES)
    path = write_nrrd(tmp_path / "a.nrrd", PICTURES, fields={"sizes": "96 64 5"})
    np.testing.assert_array_equal(pictures_of(opened(path)), PICTURES)


@pytest.mark.parametrize("kind", ["mha", "nrrd"])
def test_compressed_pixels_behind_the_last_declared_picture_are_an_error(tmp_path: Path, kind: str) -> None:
    if kind == "mha":
        path = write_metaimage(tmp_path / "a.mha", PICTURES, sizes=(96, 64, 5), compressed=True)
    else:
        path = write_nrrd(tmp_path / "a.nrrd", PICTURES, fields={"sizes": "96 64 5"}, encoding="gzip")
    frames, error = frames_to_error(opened(path))
    assert len(frames) == 5
    assert "holds more than the 5 frames that its header declares" in str(error)


def test_gzip_of_several_members_is_one_stream(tmp_path: Path) -> None:
    data = PICTURES.tobytes()
    header = f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 96 64 {COUNT}\nencoding: gzip\n\n".encode()
    path = tmp_path / "a.nrrd"
    for cuts in ((30_000,), (0, 1, 2, 40_000), (len(data),)):
        edges = [0, *cuts, len(data)]
        members = b"".join(gzip.compress(data[a:b]) for a, b in itertools.pairwise(edges))
        path.write_bytes(header + members)
        np.testing.assert_array_equal(pictures_of(opened(path)), PICTURES)
    path.write_bytes(header + gzip.compress(data) + b"\0" * 100)  # padding behind
    np.testing.assert_array_equal(pictures_of(opened(path)), PICTURES)
    path.write_bytes(header + gzip.compress(data[:30_000]) + gzip.compress(data[30_000:])[:-2000])
    assert isinstance(frames_to_error(opened(path))[1], SourceTruncated)
    path.write_bytes(header + zlib.compress(data))
    np.testing.assert_array_equal(pictures_of(opened(path)), PICTURES)


def test_a_count_beyond_reason_takes_no_memory(tmp_path: Path) -> None:
    pairs = {"axis 2 index values": "0 0.1 0.2 0.3"}
    path = write_nrrd(tmp_path / "a.nrrd", PICTURES, pairs=pairs, fields={"sizes": "96 64 2147483648"})
    frames, error = frames_to_error(opened(path))
    assert len(frames) == COUNT
    assert "after 12 of 2147483648 frames" in str(error)
