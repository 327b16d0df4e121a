"""A model as a file: its ONNX graph, its facts, and what makes it ready for a runtime; runs nothing.

Functions that change a graph take the bytes of a model file and give the bytes of another one with the same
facts, so that what comes out is read by `engines.onnx.model_file` like any model. They need `onnx`.
"""
