"""Writes down what the model that ships was trained on, from the data at hand; `partum train` did not do so then.

Run: python -m calibration.studies.shipped_training_frames DATA. Of PSFHS these are the frames of train as it was, 03744
to 04401, and of val. Which frames of the planes, the pelvic floor and the other clips were held out then cannot be told
from the data any more, since folds go by content now: all of them count as learned from.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.data import open_dataset
from calibration.data.groups import thumbnails
from calibration.data.training_frames import pack_signatures, unpack_signatures
from calibration.learning.frames import thin_out
from engines.onnx.training_frames import write_training_frames
from engines.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

FIRST_NEW = "04402"
"""PSFHS frames from this one on came later."""
PER_CLIP = 24


def learned_frames(data: Path) -> Iterator[NDArray[np.uint8]]:
    """The frames that the model that ships has learned from, as far as that is known.

    Raises:
        DataSetError: one of the data sets cannot be read.
    """
    for frame in open_dataset(data / "psfhs").frames():
        if frame.split == "val" or frame.name < FIRST_NEW:
            yield frame.image
    for name in ("planes", "pelvic_floor"):
        for frame in open_dataset(data / name).frames():
            yield frame.image
    for frame in thin_out(open_dataset(data / "clips").frames(), PER_CLIP):
        yield frame.image


def main(data: Path) -> None:
    """Writes the file beside the model that ships."""
    signatures = pack_signatures(thumbnails(learned_frames(data)))
    path = write_training_frames(DEFAULT_MODEL, signatures, frames=len(unpack_signatures(signatures)))
    sys.stdout.write(f"{path}: {len(unpack_signatures(signatures))} frames, {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m calibration.studies.shipped_training_frames DATA")
    main(Path(sys.argv[1]))
