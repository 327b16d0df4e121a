"""Networks in PyTorch, made of parts that a configuration names; no files, no training."""
