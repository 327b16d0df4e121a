"""What an operator installs to run a receiver as a service."""

from __future__ import annotations

from pathlib import Path

DEPLOY = Path(__file__).parent
FILES = {"partum-receive.service": "the unit of systemd", "receive.env": "its options, to begin with"}
"""Name, and what it is."""
