"""Confidence of the predicted masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def mask_confidence(class_logits: NDArray[np.float32]) -> float:
    """The mean probability of a structure over the pixels it was given, for PS or FH, whichever is less.

    Convention: [0, 1]; logits (3, h, w) of background, PS and FH as the network gives them, softmax per pixel, a pixel
    given to its likeliest class. 0 where a structure is missing. A thin rim of unsure pixels lowers it, most in the
    PS, which is all rim; sure and wrong stays high. Worked value: PS given one pixel with probability 0.9, FH two
    with 0.7 and 0.9: 0.8.
    """
    shifted = np.exp(class_logits - class_logits.max(axis=0))
    probability = shifted / shifted.sum(axis=0)
    given = probability.argmax(axis=0)
    means = [float(probability[code][given == code].mean()) if (given == code).any() else 0.0 for code in (1, 2)]
    return min(means)
