"""From a trained model to an engine that may be used: quantised, built, and accepted on real frames."""
