"""One module for each runtime that runs a model; a runtime is imported here and nowhere else."""
