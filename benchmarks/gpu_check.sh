#!/usr/bin/env bash
# What can only be known on an NVIDIA GPU, in under ten minutes: buffers, streams and CUDA graphs proved; torch, TensorRT
# and ONNX Runtime accepted in degrees and timed; what was aimed at beside what was reached.
#
#     bash benchmarks/gpu_check.sh                    # writes $OUT/gpu.json, or benchmarks/results/gpu.json: commit it
#     bash benchmarks/gpu_check.sh --rehearse         # on the CPU, to find slips before a GPU is at hand
#
# Python 3.11 with numpy, OpenCV, onnx, torch or ONNX Runtime, and cuda-bindings are enough; what else is missing leaves
# out the step that needs it. Each step runs in a process of its own with a deadline, and the file is written after each.
# Exit code 1: no GPU, or a step failed. PYTHON names another interpreter. The tests marked `gpu` are pytest's:
# REQUIRE_GPU=1 python -m pytest -m gpu
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" -m benchmarks.experiments.gpu "$@"
