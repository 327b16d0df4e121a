"""What is measured, one command for each; results go to `benchmarks/results`."""
