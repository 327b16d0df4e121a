"""The masks that a finished run kept, by the index of their frames."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.common.errors import RunUnreadable
from stream.labour.run_table import check_schema
from stream.outputs.masks import MASKS_NAME, MASKS_SCHEMA, read_mask_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream.inference.label_grid import FrameMask
    from stream.labour.recorded_run import RecordedRun


class RunMasks:
    """Masks of a run by frame index, read from its file one at a time.

    Args:
        run: that was run with --masks.

    Raises:
        RunUnreadable: it kept none, or its file is damaged.
    """

    def __init__(self, run: RecordedRun) -> None:
        self._path = run.folder / MASKS_NAME
        self._offsets: dict[int, int] = {}
        offset, number = 0, 0
        try:
            with self._path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if not line.endswith(b"\n"):
                        break
                    facts = json.loads(line)
                    if number == 1:
                        check_schema(facts.get("schema"), MASKS_SCHEMA)
                    else:
                        self._offsets[int(facts["index"])] = offset
                    offset += len(line)
        except FileNotFoundError:
            raise RunUnreadable(f"{run.folder}: kept no masks; run it again with --masks") from None
        except OSError as error:
            raise RunUnreadable(f"{self._path}: cannot be read ({error.strerror})") from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise RunUnreadable(f"{self._path}: line {number} is no mask ({error})") from error

    def __contains__(self, index: int) -> bool:
        return index in self._offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> FrameMask:
        """The mask of a frame.

        Raises:
            KeyError: the network did not segment it.
            RunUnreadable: the file has changed, or is damaged.
        """
        offset = self._offsets[index]
        try:
            with self._path.open("rb") as file:
                file.seek(offset)
                return read_mask_line(json.loads(file.readline()))
        except (OSError, ValueError) as error:
            raise RunUnreadable(f"{self._path}: the mask of frame {index} cannot be read ({error})") from error


def mask_in_frame(mask: FrameMask, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """The labels at every pixel of a frame of `shape` (H, W): 1 = PS, 2 = FH.

    Each class is interpolated linearly between the raster's pixels, and the likelier one wins, so that outlines are not
    stepped; points beyond the raster are background.
    """
    grid = mask.grid
    to_mask = np.array(
        [
            [grid.scale_x, 0.0, 0.5 * grid.scale_x + grid.left - 0.5],
            [0.0, grid.scale_y, 0.5 * grid.scale_y + grid.top - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    shares = [
        cv2.warpAffine((mask.labels == code).astype(np.float32), to_mask, (shape[1], shape[0]), flags=flags)
        for code in (1, 2)
    ]
    background = 1.0 - shares[0] - shares[1]
    labels: NDArray[np.uint8] = np.argmax(np.stack([background, *shares]), axis=0).astype(np.uint8)
    return labels
