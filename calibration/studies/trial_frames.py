"""Makes the stored trial of engines: real frames in one picture, and what the float32 model that ships says of them.

python -m calibration.studies.trial_frames --data DATA/psfhs     # the frames anew, and their answers
python -m calibration.studies.trial_frames                       # the answers alone: after a new model
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import cv2
import numpy as np

from calibration.data import open_dataset
from calibration.deployment.quantization.frames import choose_frames
from engines.backends.openvino import OpenVinoEngine
from engines.onnx.model_file import read_model_file
from engines.registry import DEFAULT_MODEL
from stream.inference.engine_trial import (
    ANSWERS,
    ANSWERS_SCHEMA,
    FRAMES,
    SIDE_PX,
    answers_of,
    frames_digest,
    stored_frames,
)
from stream.outputs.manifest import write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

COUNT, COLUMNS = 32, 8
JPEG_QUALITY = 90
SOURCE = (
    "frames of PSFHS (Chen et al., Sci Data 2024, doi 10.1038/s41597-024-03266-4; Zenodo 10.5281/zenodo.10969427,"
    " CC BY 4.0), resampled to 256 x 256 where they are not, and compressed as JPEG"
)


@click.command(help="Make the stored trial of engines.")
@click.option("--data", type=click.Path(path_type=Path, exists=True), help="PSFHS: take its frames anew.")
def main(data: Path | None) -> None:
    """See the help text above."""
    if data:
        chosen = choose_frames(open_dataset(data).frames(), COUNT)
        write_grid([frame.image for frame in chosen])
        stored_frames.cache_clear()
    with OpenVinoEngine(read_model_file(DEFAULT_MODEL), precision="fp32") as engine:
        answers = answers_of(engine, stored_frames())
        facts: dict[str, object] = {
            "schema": ANSWERS_SCHEMA,
            "source": SOURCE,
            "frames_sha256": frames_digest(),
            "model_sha256": engine.spec.sha256,
            "engine": engine.name,
            "answers": [{"aop_deg": each.aop_deg, "is_standard": each.is_standard} for each in answers],
        }
    write_json(ANSWERS, facts)
    click.echo(f"written: {ANSWERS}, {len(answers)} frames")


def write_grid(images: list[NDArray[np.uint8]]) -> None:
    """Writes pictures as one, in rows of `COLUMNS`."""
    tiles = np.stack([cv2.resize(each, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA) for each in images])
    rows = tiles.reshape(-1, COLUMNS, SIDE_PX, SIDE_PX).swapaxes(1, 2).reshape(-1, COLUMNS * SIDE_PX)
    cv2.imwrite(str(FRAMES), rows, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


if __name__ == "__main__":
    main()
