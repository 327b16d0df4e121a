"""The TensorRT back-end: built engines, their cache, and the calls to CUDA; no other runtime."""
