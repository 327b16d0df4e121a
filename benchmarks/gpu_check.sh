#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU: the tests of the device, then every precision built, tried and measured.
#
#     bash benchmarks/gpu_check.sh [DATA/psfhs DATA/planes]
#
# Writes benchmarks/results/gpu.json; commit it. Without a GPU it fails at once.
set -euo pipefail
cd "$(dirname "$0")/.."
REQUIRE_GPU=1 python -m pytest -m gpu -q
python -m benchmarks.experiments.gpu "$@"
