"""Archives of a batch: what is damaged in one costs itself, and nothing of one can do harm."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

import pytest

from stream.batch.finding import Finder, Found
from stream.batch.intake import MOST_UNPACKED, InputIntake, WatchingIntake
from stream.batch.recordings import Form
from stream.common.clock import ManualClock
from stream.common.errors import OutputError, SourceUnreadable
from stream.sources.files import unpacking
from stream.sources.files.unpacking import place_below, unpack
from tests.samples.source_files import CLOCK, waves, write_images, write_waves

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_waves(tmp_path_factory.mktemp("loop") / "loop.mp4", 3).read_bytes()


def zipped(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def harmed(path: Path, name: str, *, encrypt: bool = False) -> None:
    """Turns a byte of a member round, or marks it as encrypted."""
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(name)
        table = archive.start_dir
    content = bytearray(path.read_bytes())
    if encrypt:
        entry = content.index(b"PK\x01\x02", table)
        while content[entry + 46 : entry + 46 + len(name)] != name.encode():
            entry = content.index(b"PK\x01\x02", entry + 4)
        content[entry + 8] |= 1
        content[member.header_offset + 6] |= 1
    else:
        content[member.header_offset + 30 + len(name) + member.file_size // 2] ^= 0xFF
    path.write_bytes(content)


def folders_in(tmp_path: Path) -> Callable[[str], Path]:
    def new_folder(name: str) -> Path:
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        (tmp_path / name).mkdir()
        return tmp_path / name

    return new_folder


def looked_into(tmp_path: Path, archive: Path) -> tuple[Found, InputIntake]:
    intake = InputIntake([str(archive)], Finder(), folders_in(tmp_path))
    return intake.poll(), intake


def names(found: Found, archive: Path) -> list[str]:
    return [each.source.replace(f"{archive}/", "") for each in found.recordings]


def errors(found: Found, archive: Path) -> dict[str, str]:
    return {each.source.replace(f"{archive}/", ""): each.error.rpartition(": ")[2] for each in found.bad}


def test_a_damaged_or_encrypted_member_costs_itself(tmp_path: Path, loop: bytes) -> None:
    archive = zipped(tmp_path / "study.zip", {f"{name}.mp4": loop for name in ("sound", "damaged", "locked", "other")})
    harmed(archive, "damaged.mp4")
    harmed(archive, "locked.mp4", encrypt=True)
    found, _ = looked_into(tmp_path, archive)
    assert names(found, archive) == ["other.mp4", "sound.mp4"]
    assert errors(found, archive) == {
        "damaged.mp4": "cannot be unpacked (damaged)",
        "locked.mp4": "cannot be unpacked (encrypted)",
    }


def test_a_damaged_picture_of_a_film_keeps_its_place_and_none_of_its_bytes_is_shown(tmp_path: Path) -> None:
    images = write_images(tmp_path / "film", waves(4))
    archive = zipped(tmp_path / "film.zip", {f"film/{path.name}": path.read_bytes() for path in images.iterdir()})
    harmed(archive, "film/image2.png")
    found, _ = looked_into(tmp_path, archive)
    (film,) = found.recordings
    assert (film.form, len(film.files)) == (Form.IMAGES, 4)
    assert errors(found, archive) == {"film/image2.png": "cannot be unpacked (damaged)"}
    with film.open(clock=CLOCK, spacing=None) as source:
        assert [frame.refusal is None for frame in source] == [True, True, False, True]


def test_names_lead_nowhere_else_and_no_two_files_share_one(tmp_path: Path, loop: bytes) -> None:
    inside = {"../../up.mp4": loop, "/etc/root.mp4": loop, "windows\\one\\x.mp4": loop, "windows\\two\\x.mp4": loop}
    inside |= {"twice/a.mp4": loop, "./twice/a.mp4": loop, "x" * 300 + ".mp4": loop}
    inside |= {"file": b"words", "file/a.mp4": loop}
    (tmp_path / "odd").mkdir()
    archive = zipped(tmp_path / "odd" / "study.zip", inside)
    found, _ = looked_into(tmp_path / "odd", archive)
    assert set(names(found, archive)) == {"up.mp4", "etc/root.mp4", "windows/one/x.mp4", "windows/two/x.mp4"}
    assert set(errors(found, archive).values()) == {
        "cannot be unpacked (2 files have this name)",
        "cannot be unpacked (File name too long)",
        "cannot be unpacked (File exists)",
    }
    assert not (tmp_path / "up.mp4").exists()
    assert not Path("/etc/root.mp4").exists()


def test_a_name_with_a_drive_leads_nowhere_else_on_windows_either() -> None:
    folder = PureWindowsPath("D:/results")
    for parts in (("C:", "x.mp4"), ("C:x.mp4",), ("a", "C:", "x.mp4")):
        assert place_below(folder, parts) is None
    assert place_below(folder, ("a", "x.mp4")) == folder / "a" / "x.mp4"


def test_a_file_whose_place_is_taken_leaves_what_is_there(tmp_path: Path, loop: bytes) -> None:
    archive = zipped(tmp_path / "study.zip", {"a.mp4": b"other", "b.mp4": loop})
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.mp4").write_bytes(loop)  # as `A.mp4` is, where upper and lower case are the same
    assert [each.why for each in unpack(archive, tmp_path / "folder")] == ["File exists"]
    assert (tmp_path / "folder" / "a.mp4").read_bytes() == loop


def test_links_and_what_systems_leave_are_passed_over(tmp_path: Path, loop: bytes) -> None:
    left = {"__MACOSX/._a.mp4": b"x", ".DS_Store": b"x", "folder/": b""}
    archive = zipped(tmp_path / "study.zip", {"a.mp4": loop, **left})
    link = zipfile.ZipInfo("link.mp4")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(link, "/etc/passwd")
    found, _ = looked_into(tmp_path, archive)
    assert (names(found, archive), found.bad) == (["a.mp4"], [])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04 and no more", "cannot be unpacked (damaged or cut off)"),
        (b"", "the file is empty"),
    ],
)
def test_an_archive_without_its_table_is_one_bad_input(tmp_path: Path, content: bytes, said: str) -> None:
    archive = tmp_path / "study.zip"
    archive.write_bytes(content)
    found, intake = looked_into(tmp_path, archive)
    assert not found.recordings
    (bad,) = found.bad
    assert bad.source == str(archive)
    assert said in bad.error
    assert intake.is_exhausted


def test_an_archive_of_which_nothing_can_be_had_is_told_in_one_line(tmp_path: Path, loop: bytes) -> None:
    archive = zipped(tmp_path / "study.zip", {"a.mp4": loop, "b.mp4": loop})
    for name in ("a.mp4", "b.mp4"):
        harmed(archive, name, encrypt=True)
    found, _ = looked_into(tmp_path, archive)
    assert [each.error for each in found.bad] == [
        f"{archive}: none of its files can be unpacked (encrypted); unpack it by hand"
    ]


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.mp4", bytes(1 << 20))
    monkeypatch.setattr(unpacking, "_SPARE_BYTES", 0)
    (tmp_path / "folder").mkdir()
    with pytest.raises(SourceUnreadable, match="more than is taken"):
        unpack(archive, tmp_path / "folder")
    assert not list((tmp_path / "folder").iterdir())


def test_few_archives_lie_unpacked_at_a_time(tmp_path: Path, loop: bytes) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()
    for number in range(5):
        zipped(inbox / f"{number}.zip", {"loop.mp4": loop + bytes([number])})
    zipped(inbox / "9.zip", {"letter.txt": b"words"})
    intake = InputIntake([str(inbox)], Finder(), folders_in(tmp_path))
    seen = []
    while not intake.is_exhausted:
        found = intake.poll()
        assert len(list(tmp_path.glob("archive-*"))) <= MOST_UNPACKED
        assert (intake.bytes_to_come > 0) is not intake.is_exhausted
        seen += found.recordings
        for recording in found.recordings:
            assert Path(recording.path).is_file()
            intake.ended(recording)
    assert [Path(each.source).parent.name for each in seen] == ["0.zip", "1.zip", "2.zip", "3.zip", "4.zip"]
    assert [each.source for each in found.bad] == [str(inbox / "9.zip")]
    assert not list(tmp_path.glob("archive-*"))


def test_one_archive_more_is_unpacked_for_a_worker_that_waits(tmp_path: Path, loop: bytes) -> None:
    paths = [zipped(tmp_path / f"{number}.zip", {"loop.mp4": loop + bytes([number])}) for number in range(4)]
    intake = InputIntake([str(path) for path in paths], Finder(), folders_in(tmp_path))
    counts = [len(intake.poll(is_idle=is_idle).recordings) for is_idle in (False, False, True, False, True, True)]
    assert counts == [MOST_UNPACKED, 0, 1, 0, 1, 0]


def test_an_archive_waits_for_the_room_that_another_one_takes(
    tmp_path: Path, loop: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [zipped(tmp_path / f"{number}.zip", {"loop.mp4": loop}) for number in range(2)]
    intake = InputIntake([str(path) for path in paths], Finder(), folders_in(tmp_path))
    usage, free = shutil.disk_usage(tmp_path), [len(loop), 0, 0, len(loop)]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=free.pop(0) if free else 0))
    (first,) = intake.poll().recordings
    assert not intake.poll().recordings
    intake.ended(first)
    (second,) = intake.poll().recordings
    assert second.source == f"{paths[1]}/loop.mp4"
    assert intake.is_exhausted
    full = InputIntake([str(paths[0])], Finder(), folders_in(tmp_path))
    with pytest.raises(OutputError, match="No space left"):
        full.poll()


def test_what_was_bad_in_a_watched_archive_is_over_when_it_is_mended_or_gone(tmp_path: Path, loop: bytes) -> None:
    inbox, clock = tmp_path / "in", ManualClock()
    inbox.mkdir()
    archive = zipped(inbox / "study.zip", {"a.mp4": loop, "b.mp4": loop})
    whole = archive.read_bytes()
    intake = WatchingIntake([str(inbox)], Finder(), folders_in(tmp_path), clock=clock, settle_s=1)

    def look() -> Found:
        found = Found()
        for _ in range(4):
            clock.advance(SECOND)
            found.add(intake.poll())
        for recording in found.recordings:
            intake.ended(recording)
        return found

    harmed(archive, "b.mp4")
    first = look()
    assert (names(first, archive), list(errors(first, archive))) == (["a.mp4"], ["b.mp4"])
    assert not look().recordings
    archive.write_bytes(whole)
    mended = look()
    assert (names(mended, archive), mended.bad, mended.gone) == (["a.mp4", "b.mp4"], [], [f"{archive}/b.mp4"])
    archive.write_bytes(whole[:100])
    broken = look()
    assert [each.source for each in broken.bad] == [str(archive)]
    archive.unlink()
    assert set(look().gone) == {str(archive)}
