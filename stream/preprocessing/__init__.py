"""What is found out about a picture before inference: sector, text, duplicates, contact, scale; measures nothing."""

from stream.preprocessing.options import PreprocessingOptions, parse_sector, read_profile
from stream.preprocessing.preprocessor import FramePreprocessor, PreprocessorState

__all__ = ["FramePreprocessor", "PreprocessingOptions", "PreprocessorState", "parse_sector", "read_profile"]
