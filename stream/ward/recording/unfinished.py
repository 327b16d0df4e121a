"""Parts whose process was killed, or had no time left for hashes at its end: they are finished as what they are.

`run.json` says `running` of a part whose process could not say how it ended, and readers would take it for one that is
being written. Here it becomes `interrupted`, at the time of its last line, and its log gets the files as they are.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from stream.outputs.manifest import write_json
from stream.outputs.run_log import LOG_NAME, seal_log

if TYPE_CHECKING:
    from pathlib import Path

RUNNING = "running"
CUT_OFF = "its process was killed; what was written by then is here"
_TAIL_BYTES = 4096
"""The last entry of a log is shorter."""


def finish_part(folder: Path) -> bool:
    """Finishes a part that nobody writes any more.

    Returns:
        Whether its process was killed: of a part that says how it ended nothing but the end of its log was missing, if
        that.

    Raises:
        OutputError, OSError, ValueError: it cannot be: it has no manifest, or one that was cut off, or the disk fails.
    """
    path = folder / "run.json"
    manifest = json.loads(path.read_bytes())
    was_killed = manifest["status"] == RUNNING
    if was_killed:
        ended = datetime.fromtimestamp(_last_written_s(folder), UTC).isoformat(timespec="seconds")
        write_json(path, manifest | {"status": "interrupted", "error": CUT_OFF, "finished_utc": ended})
    if not _is_sealed(folder):
        seal_log(folder, "interrupted" if was_killed else manifest["status"], source=None)
    return bool(was_killed)


def _last_written_s(folder: Path) -> float:
    """Seconds since 1970."""
    return max(each.stat().st_mtime for each in (folder / "measurements.jsonl", folder / "run.json") if each.exists())


def _is_sealed(folder: Path) -> bool:
    """Whether the log's last entry is that of the end, or of a file that was added later."""
    with (folder / LOG_NAME).open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - _TAIL_BYTES))
        return any(b'"event": "end"' in line for line in file.read().splitlines())
