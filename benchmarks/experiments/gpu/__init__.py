"""What can only be known on an NVIDIA GPU, in one run of under ten minutes: see `benchmarks/gpu_check.sh`."""
