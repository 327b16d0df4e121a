"""Coded pictures into grey images, and whether each is whole; no files and no connections."""
