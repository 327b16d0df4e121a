"""Files that are replaced whole: at every moment what has the name is a whole one."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def atomic_path(path: Path, *, unique: bool = False) -> Iterator[Path]:
    """A path beside `path` to write to, which takes its place where the block ends well.

    Where it does not, what was written is removed and what had the name before is still there.

    Args:
        path: of the file.
        unique: several processes may write it at one time.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.part" if unique else f"{path.name}.part")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
