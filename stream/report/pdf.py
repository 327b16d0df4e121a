"""A report as PDF, printed by the browser that is installed: Chromium, Chrome or Edge.

A page printed by the engine that shows it is the page that was looked at. Such a browser is on nearly every desktop,
and one package away elsewhere; libraries that lay out HTML by themselves need system libraries that are on few.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from stream.common.atomic_file import write_atomic
from stream.common.errors import ExtraMissing, OutputError

NAMES = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
    *("microsoft-edge", "microsoft-edge-stable", "msedge", "brave-browser"),
)
PLACES = {
    "darwin": (
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    ),
    "win32": (
        r"C:\Program Files\Google\Chrome\Application\chrome.exe",
        r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
        r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
        r"C:\Program Files\Microsoft\Edge\Application\msedge.exe",
    ),
}
"""Where it is installed on systems that do not put it on the path."""
TIMEOUT_S = 180.0
MISSING = (
    "--pdf: no Chromium, Chrome or Edge is installed here, which print it; install one (Debian, Ubuntu:"
    " apt install chromium), or leave --pdf out, open the report in any browser and print it"
)


def find_browser() -> str:
    """The browser that prints.

    Raises:
        ExtraMissing: there is none.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    found = found or next((place for place in PLACES.get(sys.platform, ()) if Path(place).is_file()), None)
    if found is None:
        raise ExtraMissing(MISSING)
    return found


def print_pdf(html: str, path: Path, *, timeout_s: float = TIMEOUT_S) -> None:
    """Prints a page as A4.

    Args:
        html: self-contained.
        path: of the PDF.
        timeout_s: a browser that takes longer is stopped.

    Raises:
        ExtraMissing: there is no browser.
        OutputError: it does not print, or the file cannot be written.
    """
    browser = find_browser()
    with tempfile.TemporaryDirectory(prefix="partum-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        page, printed = folder / "report.html", folder / "report.pdf"
        page.write_text(html, encoding="utf-8")
        words = [
            *(browser, "--headless=new", "--disable-gpu", "--no-first-run", "--disable-extensions"),
            *("--no-pdf-header-footer", f"--user-data-dir={folder / 'profile'}", f"--print-to-pdf={printed}"),
            *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),  # its sandbox refuses root
            page.as_uri(),
        ]
        try:
            said = subprocess.run(words, capture_output=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise _failed(browser, f"it did not end within {timeout_s:.0f} s") from error
        except OSError as error:
            raise _failed(browser, str(error.strerror)) from error
        data = printed.read_bytes() if printed.is_file() else b""
        if not data.startswith(b"%PDF"):
            last = said.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
            raise _failed(browser, last[0] if last else f"exit code {said.returncode}")
    write_atomic(path, data)


def _failed(browser: str, why: str) -> OutputError:
    return OutputError(
        f"--pdf: {browser} does not print the report ({' '.join(why.split())[:200]}); leave --pdf out, open the report"
        " in a browser and print it"
    )
