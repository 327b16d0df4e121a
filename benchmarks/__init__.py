"""Benchmarks of speed and accuracy; imported by nothing that users run but `partum bench`."""
