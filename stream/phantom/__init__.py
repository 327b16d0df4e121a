"""The simulator of the transperineal view, with exact ground truth; never used on real recordings."""
