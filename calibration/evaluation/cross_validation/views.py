"""The second look as it is used: a few views of each crop, their answers brought back to the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from calibration.learning.refinement.crops import cropped
from engines.network.second_look import FIELD_SHARE
from stream.measurement.protocols.fhps2023 import ellipse_through, ellipse_vertices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engines.network.refinement import RefinementNetwork

VIEWS = ((0.0, 1.0), (12.0, 1.0), (-12.0, 1.0), (0.0, 1.15))
"""Turn in degrees and magnification of each view; their spread tells how sure the answer is."""


@torch.inference_mode()
def look_again(network: RefinementNetwork, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The answers for every view of the crops around the found PS: (n, V, 7), in pixels of the square.

    Args:
        network: in evaluation mode.
        images: (n, S, S) uint8.
        labels: (n, S, S) uint8, 1 = PS; a frame without a PS to which an ellipse can be fitted has NaN.
    """
    side = images.shape[-1]
    half = FIELD_SHARE * side / 2
    answers = np.full((len(images), len(VIEWS), 7), np.nan)
    for row, (image, found) in enumerate(zip(images, labels, strict=True)):
        vertices = ellipse_vertices(found == 1)
        ellipse = None if vertices is None else ellipse_through(vertices)
        if ellipse is None:
            continue
        affine = view_maps()
        centre = np.array(ellipse.center)
        tensor = torch.from_numpy(image)[None, None].float().expand(len(VIEWS), -1, -1, -1)
        centres = torch.from_numpy(centre).float().expand(len(VIEWS), 2)
        crops = cropped(tensor, centres, torch.from_numpy(affine).float(), side=network.side)
        said = network(crops).double().numpy()
        direction = np.einsum("vij,vj->vi", affine, said[:, :2])
        direction /= np.linalg.norm(direction, axis=1, keepdims=True).clip(1e-9)
        ends = [centre + np.einsum("vij,vj->vi", affine, said[:, at : at + 2]) * half for at in (2, 4)]
        answers[row] = np.concatenate((direction, *ends, said[:, 6:7]), axis=1)
    return answers


def view_maps() -> NDArray[np.float64]:
    """The maps (V, 2, 2) from each view's crop to the picture."""
    maps = []
    for turn, magnification in VIEWS:
        cos, sin = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
        maps.append(np.array([[cos, -sin], [sin, cos]]) / magnification)
    return np.stack(maps)
