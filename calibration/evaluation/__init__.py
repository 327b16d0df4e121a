"""Accuracy of a model on labelled frames: metrics, agreement, pictures and result files; fits nothing."""
