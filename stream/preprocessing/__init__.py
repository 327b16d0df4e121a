"""What each picture is before the network is asked: where its ultrasound is, if it is new, how large a pixel is."""

from stream.preprocessing.options import PreprocessingOptions, parse_sector, read_profile
from stream.preprocessing.preprocessor import FramePreprocessor, PreprocessorState

__all__ = ["FramePreprocessor", "PreprocessingOptions", "PreprocessorState", "parse_sector", "read_profile"]
