"""Fuzzing of every reader: no hang, no memory growth, no error outside the tree."""
