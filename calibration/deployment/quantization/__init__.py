"""INT8 by calibration: which frames, which ranges, which layers are left alone, and the threshold.

ONNX Runtime's quantiser does the arithmetic; what is decided here is what it is given, and whether its answer
will do.
"""
