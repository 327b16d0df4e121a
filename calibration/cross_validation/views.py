"""The second look as it ships: the network's own crops and views, on frames whose logits are there already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from engines.network.second_look import VIEWS, SecondLook

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from engines.network.refinement import RefinementNetwork

_CHUNK = 16


@torch.inference_mode()
def run_second_look(
    network: RefinementNetwork,
    images: NDArray[np.uint8],
    class_logits: NDArray[np.float32],
    *,
    views: Sequence[Sequence[float]] = VIEWS,
) -> NDArray[np.float64]:
    """The answers of every view of the crops around the PS that the logits show: (n, V, 7), in pixels of the square.

    Args:
        network: in evaluation mode.
        images: (n, S, S) uint8 of normal pictures.
        class_logits: (n, 3, h, w); a frame without a PS has zeros.
        views: see `engines.network.second_look.VIEWS`.
    """
    second_look = SecondLook(network, size=images.shape[-1], views=views).eval()
    answers = []
    for start in range(0, len(images), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        answers.append(
            second_look(torch.from_numpy(images[chunk])[:, None], torch.from_numpy(class_logits[chunk]), None)
        )
    found: NDArray[np.float64] = torch.cat(answers).double().numpy()
    return found
