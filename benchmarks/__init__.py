"""How fast and how right, measured honestly."""
