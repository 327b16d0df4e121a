"""The recording that ships with the package."""

from __future__ import annotations

from pathlib import Path

DEMO_CLIP = Path(__file__).parents[1] / "demo" / "demo.mp4"
"""A real frame brought to motion by warps of a known AoP course; see `calibration/studies/demo_clip.py`."""
