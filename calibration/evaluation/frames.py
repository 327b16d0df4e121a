"""Evaluates single frames by the pipeline's own code, beside their annotation."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from calibration.evaluation.confidence import mask_confidence
from calibration.evaluation.metrics import score_labels
from stream.frames.frame import Frame
from stream.frames.reason import Reason
from stream.inference.frame_analyzer import FrameAnalyzer, infer_frame, labels_in_frame
from stream.measurement.biometry import Biometry, Orientation
from stream.measurement.folder_orientation import FolderOrientation
from stream.measurement.protocols import PROTOCOLS, measure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from calibration.data.base import LabelledFrame
    from calibration.data.training_frames import TrainingFrames
    from calibration.evaluation.metrics import RegionScore
    from engines.base import Engine

NEVER_GATED = 0.0
"""A plane threshold that every frame reaches."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FrameResult:
    """All that is kept of one frame.

    Attributes:
        plane: the label; None where there is none.
        is_called_standard: whether `plane_probability` reaches the model's threshold.
        confidence: of the mask, see `mask_confidence`.
        found: by protocol, measured on the predicted mask whatever the plane gate says.
        scores: by region of `REGIONS`; empty where the frame has no annotated mask.
        truth: by protocol, measured on the annotated mask; likewise.
        was_trained_on: whether the model has learned from this frame or one nearly the same; None where not known.
    """

    name: str
    group: str
    split: str
    look: str
    width: int
    height: int
    plane: bool | None
    plane_logit: float
    plane_probability: float
    is_called_standard: bool
    confidence: float
    found: Mapping[str, Biometry]
    scores: Mapping[str, RegionScore]
    truth: Mapping[str, Biometry]
    was_trained_on: bool | None = None
    drawn: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def mean_dice(self) -> float | None:
        """The mean of the Dice of PS and FH; None unless the annotation shows both."""
        values = [score.dice for name in ("ps", "fh") if (score := self.scores.get(name)) and score.dice is not None]
        return sum(values) / 2 if len(values) == 2 else None

    def gated(self, protocol: str) -> Biometry:
        """What the pipeline gives for the frame: `found`, or the plane gate's refusal."""
        if self.is_called_standard:
            return self.found[protocol]
        return Biometry(protocol=protocol, reason=Reason.NOT_STANDARD_PLANE)


def protocols_for(orientation: Orientation) -> tuple[str, ...]:
    """The protocols that can measure pictures of that orientation: the challenges' presume normal ones."""
    return tuple(
        name
        for name, protocol in PROTOCOLS.items()
        if orientation is not Orientation.MIRRORED or not protocol.is_squeezed
    )


def evaluate_frames(
    frames: Iterable[LabelledFrame],
    engine: Engine,
    *,
    orientation: Orientation = Orientation.AUTO,
    truth: FolderOrientation | None = None,
    learned: TrainingFrames | None = None,
) -> Iterator[tuple[FrameResult, NDArray[np.uint8]]]:
    """Yields each frame's result and its predicted labels, (H, W) uint8 at the frame's own size, one frame at a time.

    Every frame is read as the first of a stream: nothing, the picture's orientation neither, is remembered from the
    frames before it. Under `AUTO` a predicted mask whose orientation is not clear is refused, as in the pipeline; an
    annotated one is read as all of the data set are (`truth`), and without that it is read alone. Frames that the model
    has `learned` from are marked.
    """
    for index, labelled in enumerate(frames):
        frame = Frame(image=labelled.image, index=index, pts=index, time_base=Fraction(1, 25), captured_ns=0)
        letterbox, prediction = infer_frame(engine, frame)
        labels = labels_in_frame(frame, letterbox, prediction)
        found = {}
        for protocol in protocols_for(orientation):
            analyzer = FrameAnalyzer.of(
                engine.spec, protocol=protocol, plane_threshold=NEVER_GATED, orientation=orientation
            )
            found[protocol] = analyzer.analyze(frame, letterbox, prediction).biometry
        probability = float(prediction.plane_probability[0])
        height, width = frame.image.shape
        result = FrameResult(
            name=labelled.name,
            group=labelled.group,
            split=labelled.split,
            look=labelled.look,
            width=width,
            height=height,
            plane=labelled.plane,
            plane_logit=float(prediction.plane_logit[0]),
            plane_probability=probability,
            is_called_standard=probability >= engine.spec.plane_threshold,
            confidence=mask_confidence(prediction.class_logits[0]),
            found=found,
            scores={} if labelled.mask is None else score_labels(labels, labelled.mask),
            truth={} if labelled.mask is None else measure_truth(labelled.mask, orientation=orientation, found=truth),
            drawn=labelled.landmarks,
            was_trained_on=learned.holds(labelled.image) if learned else None,
        )
        yield result, labels


def measure_truth(
    mask: NDArray[np.uint8], *, orientation: Orientation, found: FolderOrientation | None = None
) -> dict[str, Biometry]:
    """An annotated mask measured by every protocol that can measure pictures of that orientation."""
    if found and orientation is Orientation.AUTO:
        return {name: found.measured(mask, protocol=name) for name in protocols_for(orientation)}
    return {name: measure(mask, protocol=name, orientation=orientation) for name in protocols_for(orientation)}


def orientation_of_truth(frames: Iterable[LabelledFrame]) -> FolderOrientation:
    """Which way round the annotated masks of a data set are, all together."""
    found = FolderOrientation()
    for frame in frames:
        if frame.mask is not None:
            found.add(frame.mask)
    return found
