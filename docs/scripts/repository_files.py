"""MkDocs hook: files of the repository that pages link to become part of the site.

Pages name a file as it lies beside them, `../CHANGELOG.md` or `../benchmarks/results/live.json`, so that the same link
works where the repository itself is read. Here such a file is taken into the site at its own path, with the files it
links to in turn, and the links are written anew.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")
"""The path in a Markdown link to a file; addresses with a scheme and links within the page do not match."""


def path_of(uri: str) -> str:
    """Where a file of the site lies in the repository, `docs/replay.md`."""
    page = f"docs/{uri}"
    return page if (REPOSITORY / page).exists() else uri


def uri_of(path: str) -> str:
    """Where a file of the repository lies in the site, `replay.md`."""
    return path.removeprefix("docs/")


def linked_path(link: str, page: str) -> str:
    """The path in the repository of what a link on a page leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path_of(page)), link))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    waiting = [file.src_uri for file in files.documentation_pages()]
    while waiting:
        page = waiting.pop()
        for link in LINK.findall((REPOSITORY / path_of(page)).read_text(encoding="utf-8")):
            path = linked_path(link, page)
            uri = uri_of(path)
            if files.get_file_from_path(uri) is None and (REPOSITORY / path).is_file():
                files.append(File.generated(config, uri, abs_src_path=str(REPOSITORY / path)))
                waiting += [uri] if uri.endswith(".md") else []
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    here = page.file.src_uri

    def write(match: re.Match[str]) -> str:
        return posixpath.relpath(uri_of(linked_path(match[0], here)), posixpath.dirname(here) or ".")

    return LINK.sub(write, markdown)
