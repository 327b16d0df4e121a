"""Files that are replaced whole, or stay as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engines.atomic_file import atomic_path

if TYPE_CHECKING:
    from pathlib import Path


def write_half(path: Path, error: BaseException) -> None:
    with atomic_path(path) as partial:
        partial.write_text("half")
        raise error


@pytest.mark.parametrize("unique", [False, True])
def test_a_file_is_replaced_where_the_block_ends_well(tmp_path: Path, *, unique: bool) -> None:
    path = tmp_path / "file.json"
    path.write_text("before")
    with atomic_path(path, unique=unique) as partial:
        partial.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert [each.name for each in tmp_path.iterdir()] == ["file.json"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_file_stays_where_the_block_fails(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file.json"
    path.write_text("before")
    with pytest.raises(type(error)):
        write_half(path, error)
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["file.json"]


def test_a_block_that_writes_nothing_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("before")
    with pytest.raises(FileNotFoundError), atomic_path(path):
        pass
    assert path.read_text() == "before"
