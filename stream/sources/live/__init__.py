"""Feeds that come and go: network video, OpenIGTLink, capture cards, the screen; no recordings."""
