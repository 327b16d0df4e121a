"""A model's ONNX graph made ready for a runtime: folded, in another precision, with fixed batch, with an early exit.

Every function takes the bytes of a model file and gives the bytes of another one with the same facts, so that what
comes out is read by `engines.model_file` like any model. Needs `onnx`.
"""
