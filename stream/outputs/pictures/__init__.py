"""Measurements drawn on images: overlay video, trend, text; nothing interactive."""
