"""How right a model is on labelled frames: metrics, agreement, pictures, and the files of `partum evaluate`."""
