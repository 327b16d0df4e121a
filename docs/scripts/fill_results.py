"""Fills the numbers of the documents from benchmarks/results.

    python docs/scripts/fill_results.py            # write
    python docs/scripts/fill_results.py --check    # exit code 1, and say which document is not current

A document says where a block goes by `<!-- results: NAME -->` and `<!-- /results -->`, each in a line of its own.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from result_files import LINK, RESULTS
from result_tables import blocks

REPOSITORY = RESULTS.parents[1]
BLOCK = re.compile(r"(<!-- results: ([a-z0-9-]+) -->\n).*?(<!-- /results -->)", flags=re.DOTALL)


def documents() -> list[Path]:
    """Every document that may hold numbers."""
    return [
        REPOSITORY / "README.md",
        *sorted((REPOSITORY / "docs").glob("*.md")),
        *sorted((REPOSITORY / "engines").rglob("*.md")),
    ]


def filled(document: Path) -> str:
    """The document's text with every block written anew.

    Raises:
        KeyError: The document names a block that there is not.
        FileNotFoundError: The result file of a block is not there: run its command, or take the block out.
    """
    made = blocks()
    link = Path(os.path.relpath(RESULTS, document.parent)).as_posix()

    def write(match: re.Match[str]) -> str:
        return f"{match[1]}\n{made[match[2]]().replace(LINK, link)}\n\n{match[3]}"

    return BLOCK.sub(write, document.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a document is not current")
    checked = parser.parse_args().check
    stale = [path for path in documents() if filled(path) != path.read_text(encoding="utf-8")]
    if checked and stale:
        names = ", ".join(path.relative_to(REPOSITORY).as_posix() for path in stale)
        sys.exit(f"not current: {names}; run python docs/scripts/fill_results.py")
    for path in stale:
        path.write_text(filled(path), encoding="utf-8")


if __name__ == "__main__":
    main()
