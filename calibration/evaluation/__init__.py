"""How right a model is on labelled frames: metrics, agreement, pictures and result files; fits nothing."""
