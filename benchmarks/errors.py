"""The errors of benchmarks."""

from __future__ import annotations

from engines.errors import PartumError


class BenchError(PartumError, ValueError):
    """A result that cannot be used, or a run that would measure nothing."""
