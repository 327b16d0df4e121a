"""How many processes `-n auto` starts."""

from __future__ import annotations

import pytest

from tests.conftest import processes_for

GB = 10**9


@pytest.mark.parametrize(
    ("cores", "memory_gb", "expected"),
    [(1, 16, 2), (2, 8, 3), (2, 16, 3), (4, 8, 4), (4, 16, 6), (64, 512, 68), (64, 64, 32), (2, 1, 1)],
)
def test_there_are_some_more_than_cores_where_memory_allows(cores: int, memory_gb: int, expected: int) -> None:
    assert processes_for(cores, memory_gb * GB) == expected
