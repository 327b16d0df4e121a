"""What each picture is before the network is asked: where its ultrasound is, if it is new, how large a pixel is."""

from stream.preprocessing.options import WatchOptions, parse_sector, read_profile
from stream.preprocessing.preprocessor import Seen, Watch

__all__ = ["Seen", "Watch", "WatchOptions", "parse_sector", "read_profile"]
