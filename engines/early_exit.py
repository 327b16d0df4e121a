"""Early exit: planes are decided from the encoder; the decoder runs only for frames that may be standard planes.

Two engines of one model share the work: the whole network, and its encoder with the heads alone. Video stays in a plane
or out of it for many frames, so the frame before says which of the two to ask first; on a change of plane one frame
pays for both.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from engines.base import Engine, Prediction, answer_type, check_answer, check_images
from engines.closing import close_all
from engines.errors import InferenceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engines.base import EngineDescription, ModelSpec

MARGIN = 0.1
"""Logits by which the exit lies below what it must not stop: two builds of one encoder differ by rounding."""


def exit_logit(spec: ModelSpec) -> float:
    """The plane head's logit below which a frame of a model need not be decoded.

    Of a model whose gate is its plane head, the gate's threshold less `MARGIN`. Of one whose gate joins it with other
    evidence, what was found out of fold (`ModelSpec.exit_logit`), less `MARGIN`; -inf, never, where that is not known.
    """
    gate = spec.plane_logit_threshold
    if "masks" not in spec.architecture or gate == -math.inf:
        return gate - MARGIN
    return -math.inf if spec.exit_logit is None else spec.exit_logit - MARGIN


class EarlyExitEngine(Engine):
    """An `engines.base.Engine` that decodes only what may be a standard plane.

    Convention: a frame whose plane head reaches `exit_logit` gets exactly the logits of the whole network, and, where
    it passes the gate, exactly its masks. A frame that does not pass has background, (1, 0, 0), for `class_logits`, 0
    for `labels` and `ps_axis`; one that does not reach the exit has the plane head's logit, no higher than the gate's
    threshold less `MARGIN`, for a plane logit. This holds whether or not the decoder happened to run: an answer does
    not depend on the frame before it, but for the rounding between the two engines.

    Args:
        whole: the network; closed by this engine.
        heads: the same model without its decoder (`engines.onnx.heads_only`); likewise.
    """

    def __init__(self, whole: Engine, heads: Engine) -> None:
        if heads.spec.decodes or not whole.spec.decodes:
            raise ValueError("an early exit takes a whole network and one without a decoder, in that order")
        self._whole, self._heads = whole, heads
        self._exit_below = exit_logit(whole.spec)
        self._was_plane = True
        self._open = True

    @property
    def description(self) -> EngineDescription:
        return replace(self._whole.description, early_exit=True)

    @property
    def spec(self) -> ModelSpec:
        return self._whole.spec

    def infer(self, images: NDArray[np.uint8]) -> Prediction:
        """Runs (B, 1, H, W) grey images; see `engines.base.Engine`."""
        if not self._open:
            raise InferenceError(f"{self.name}: closed already; load the engine again")
        check_images(images, self.spec)
        found = _asked(self._whole, images) if self._was_plane else self._gated(images)
        head = _head_of(found)
        exits = head < self._exit_below
        gate = self.spec.plane_logit_threshold
        found.plane_logit[exits] = np.minimum(head[exits], np.float32(gate - MARGIN))
        passes = ~exits & (found.plane_logit >= gate)
        found.class_logits[~passes] = np.array([1, 0, 0], np.float32)[:, None, None]
        for array, empty in ((found.ps_axis, 0), (found.labels, 0), (found.ps_peak, -1)):
            if array is not None:
                array[~passes] = empty
        self._was_plane = bool(passes[-1])
        return found

    def _gated(self, images: NDArray[np.uint8]) -> Prediction:
        """Heads first, then the whole network for the frames that may pass."""
        first = _asked(self._heads, images)
        may_pass = _head_of(first) >= self._exit_below
        spec = self.spec
        shapes = spec.output_shapes.items()
        outputs = {name: np.zeros((len(images), *shape), answer_type(name)) for name, shape in shapes}
        said = {name: array.copy() for name, array in first.arrays.items() if name != "class_logits"}
        answers = Prediction.of(outputs | said, images)
        if may_pass.any():
            answers.put(may_pass, _asked(self._whole, np.ascontiguousarray(images[may_pass])))
        return answers

    def close(self) -> None:
        """Closes both engines, the second also where the first fails; raises the first error."""
        self._open = False
        close_all(self._whole.close, self._heads.close)


def _head_of(answer: Prediction) -> NDArray[np.float32]:
    """The plane head's own logits (B,)."""
    return answer.plane_logit if answer.plane_head is None else answer.plane_head


def _asked(engine: Engine, images: NDArray[np.uint8]) -> Prediction:
    """The engine's answer to these images."""
    answer = engine.infer(images)
    check_answer(answer, images, engine=engine.name)
    return answer
