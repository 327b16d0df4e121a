"""What an operator installs beside the program, written out by a command: unit, configuration, rules, dashboard."""

from __future__ import annotations

from pathlib import Path

from stream.common.operator_files import write_operator_files

DEPLOY = Path(__file__).parent
FILES = {
    "ward.toml": "a configuration to begin with",
    "partum-ward.service": "the unit of systemd",
    "prometheus.yml": "what Prometheus needs to scrape the ward",
    "partum-rules.yml": "rules for Prometheus",
    "grafana-dashboard.json": "a dashboard for Grafana",
}
"""Name, and what it is."""


def write_files(folder: Path) -> list[Path]:
    """Writes all files into a folder, which is made where it is not there; none that is there is replaced.

    Raises:
        OutputError: a file is there already, or cannot be written.
    """
    return write_operator_files(folder, DEPLOY, FILES)
