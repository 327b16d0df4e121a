"""Constants of the stream fitted to data or simulation: filter noise, thresholds, orientation, sector."""
