"""Experiments, one command for each; results go to `benchmarks/results`."""
