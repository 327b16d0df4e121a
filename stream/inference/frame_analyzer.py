"""From the network's prediction to one frame's biometry, in pixels of that frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Self

import numpy as np

from engines.base import check_answer
from engines.errors import ModelMismatch
from engines.postprocess import class_labels
from engines.preprocess import Letterbox
from stream.frames.frame import SegmentCause
from stream.frames.reason import Reason
from stream.frames.regions import Point
from stream.frames.segments import SegmentCounter
from stream.inference.label_grid import (
    FrameMask,
    LabelGrid,
    biometry_in_frame,
    network_grid,
    outlines_of,
    resample_labels,
    resample_logits,
    square_of,
)
from stream.measurement.absolute_interval import AbsoluteInterval
from stream.measurement.biometry import Biometry, MoveEnds, Orientation, Outlines
from stream.measurement.convexity import convex_labels, unchanged_share
from stream.measurement.expected_error import ErrorModel, error_features, ps_peak
from stream.measurement.orientation_memory import OrientationMemory
from stream.measurement.protocols import check_orientation, find_protocol, measure
from stream.measurement.symphysis_axis import PS, Fusion, Symphysis

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engines.base import Engine, ModelSpec, Prediction
    from stream.frames.frame import Frame


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FrameAnalysis:
    """Analysis of one frame by itself: `biometry` in pixels of the frame (isotropic ones for lengths).

    `frame` is the one that was read, with the segment it belongs to: the display may be found to have been flipped.
    """

    frame: Frame
    plane_probability: float
    biometry: Biometry
    outlines: Outlines
    mask: FrameMask


def needs_logits(protocol: str) -> bool:
    """Whether a protocol measures on another grid than the network's, to which logits must be resampled."""
    return find_protocol(protocol).is_squeezed


def letterbox_for(frame: Frame, spec: ModelSpec) -> Letterbox:
    """How a frame is fitted into a model's input; frames of one size and pixel aspect share one letterbox."""
    return _letterbox(*frame.image.shape, spec.height, spec.width, frame.aspect)


def infer_frame(engine: Engine, frame: Frame) -> tuple[Letterbox, Prediction]:
    """The engine's answer to one frame, a batch of one, and how the frame was fitted in.

    A standard plane that the network calls mirrored is asked for again the normal way round, so that a picture and its
    mirror image are measured alike. Mirrored displays are rare, and cost the network twice.

    Raises:
        InferenceError: the engine failed, or answered something else.
    """
    letterbox = letterbox_for(frame, engine.spec)
    images = letterbox.apply(frame.image)[None, None]
    prediction = _infer(engine, images)
    if _looks_mirrored(prediction) and prediction.plane_logit[0] >= engine.spec.plane_logit_threshold:
        turned = _infer(engine, np.ascontiguousarray(images[..., ::-1]))
        if not _looks_mirrored(turned):
            prediction = turned.mirrored(images)
    return letterbox, prediction


def _infer(engine: Engine, images: NDArray[np.uint8]) -> Prediction:
    prediction = engine.infer(images)
    check_answer(prediction, images, engine=engine.name)
    return prediction


def _looks_mirrored(prediction: Prediction) -> bool:
    return prediction.normal_logit is not None and bool(prediction.normal_logit[0] < 0)


@lru_cache(maxsize=8)
def _letterbox(image_height: int, image_width: int, height: int, width: int, aspect: float) -> Letterbox:
    return Letterbox(
        image_height=image_height, image_width=image_width, height=height, width=width, pixel_aspect=aspect
    )


def field_in_network(frame: Frame, letterbox: Letterbox) -> NDArray[np.bool_]:
    """Where the network's input shows ultrasound: not the black around the frame, nor what the sector leaves out.

    (height, width) of the network. Frames of one segment share one.
    """
    if frame.field_of_view is None:
        return letterbox.field_of_view
    return _field_in_network(_ById(frame.field_of_view), letterbox)


class _ById:
    """An array by its identity, which is what frames of one segment share."""

    def __init__(self, array: NDArray[np.uint8]) -> None:
        self.array = array

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and other.array is self.array

    def __hash__(self) -> int:
        return id(self.array)


@lru_cache(maxsize=8)
def _field_in_network(field: _ById, letterbox: Letterbox) -> NDArray[np.bool_]:
    return letterbox.field_of_view & (letterbox.apply(field.array) > 127)


def labels_in_frame(frame: Frame, letterbox: Letterbox, prediction: Prediction) -> NDArray[np.uint8]:
    """The likeliest class of every pixel of the frame, (H, W) uint8, 1 = PS, 2 = FH; a prediction for a batch of one.

    Convention: logits are interpolated once, straight onto the frame's pixel centres, and compared there; PS and FH
    are made one convex piece each, as they are measured. Pixels are the frame's own, square or not.
    """
    height, width = frame.image.shape
    return convex_labels(class_labels(logits_in_frame(frame, letterbox, prediction), height, width))


def logits_in_frame(frame: Frame, letterbox: Letterbox, prediction: Prediction) -> NDArray[np.float32]:
    """The logits at every pixel of the frame, (3, H, W), as `labels_in_frame` compares them.

    Raises:
        ModelMismatch: the engine was loaded to answer labels.
    """
    height, width = frame.image.shape
    if not prediction.class_logits.size:
        raise ModelMismatch("the engine answers labels, and logits are needed here; load it without labels")
    own = LabelGrid(width=width, height=height, scale_x=1.0, scale_y=1.0)
    return resample_logits(prediction.class_logits[0], network_grid(letterbox), own)


class FrameAnalyzer:
    """Gates frames by their plane probability and measures them by one protocol.

    Args:
        protocol: a name in `stream.measurement.protocols.PROTOCOLS`.
        plane_threshold: least plane probability of a frame that is measured.
        orientation: whether pictures are mirrored; `AUTO` finds out from the frames read so far. The challenge
            protocols presume normal ones.
        fusion: shares of the second look, where the model takes one; None takes halves.
        errors: what says a frame's quality; None leaves it to the shape of the mask.
        absolute: the absolute interval of this protocol's AoP, which takes `errors`; None where it is not known.
    """

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        *,
        protocol: str,
        orientation: Orientation = Orientation.AUTO,
        plane_threshold: float | None = None,
    ) -> Self:
        """An analyzer for the predictions of a model.

        Args:
            spec: the model's facts.
            protocol: see above.
            orientation: see above.
            plane_threshold: None takes the model's.

        Raises:
            ModelMismatch: its facts of fusion or quality cannot be used, or the protocol needs logits and the engine
                answers labels.
        """
        if spec.answers_labels and needs_logits(protocol):
            raise ModelMismatch(f"{protocol} needs logits, and the engine answers labels; load it without labels")
        fusion, errors, absolute = _facts_of(spec, protocol)
        threshold = spec.plane_threshold if plane_threshold is None else plane_threshold
        return cls(
            protocol=protocol,
            plane_threshold=threshold,
            orientation=orientation,
            fusion=fusion,
            errors=errors,
            absolute=absolute,
        )

    def __init__(
        self,
        *,
        protocol: str,
        plane_threshold: float,
        orientation: Orientation = Orientation.AUTO,
        fusion: Fusion | None = None,
        errors: ErrorModel | None = None,
        absolute: AbsoluteInterval | None = None,
    ) -> None:
        self._side_px = check_orientation(protocol, orientation).side_px
        self._protocol, self._plane_threshold = protocol, plane_threshold
        self._fusion, self._errors, self._absolute = fusion or Fusion(), errors, absolute
        self._orientation = OrientationMemory(orientation)
        self._segments = SegmentCounter()

    def use(self, spec: ModelSpec) -> None:
        """Goes on with predictions of another engine, whose model has facts of its own; orientation and segments stay.

        Raises:
            ModelMismatch: its facts of fusion or quality cannot be used.
        """
        fusion, self._errors, self._absolute = _facts_of(spec, self._protocol)
        self._fusion, self._plane_threshold = fusion, spec.plane_threshold

    def assign_segment(self, frame: Frame) -> Frame:
        """The frame with the segment it belongs to; to be asked of every frame, in order, also of those not read."""
        if self._segments.take(frame):
            self._orientation.begin(frame.segment_cause)
        return self._segments.numbered(frame)

    def analyze(self, frame: Frame, letterbox: Letterbox, prediction: Prediction) -> FrameAnalysis:
        """Returns the analysis of a frame from a prediction for a batch of one."""
        self.assign_segment(frame)
        probability = float(prediction.plane_probability[0])
        drawn = _drawn_labels(prediction, letterbox)
        labels = convex_labels(drawn)
        network = network_grid(letterbox)
        if probability < self._plane_threshold:
            biometry = Biometry(protocol=self._protocol, reason=Reason.NOT_STANDARD_PLANE)
        elif not frame.has_known_shape and not self._side_px:
            biometry = Biometry(protocol=self._protocol, reason=Reason.UNCALIBRATED)
        elif side := self._side_px:
            if self._is_normal(_normal_log_odds(prediction)):
                square = square_of(frame, side)
                symphysis = _symphysis(labels, prediction, Orientation.NORMAL)
                squeezed = resample_labels(prediction.class_logits[0], network, square)
                move_ends = self._correction(symphysis, network, square)
                biometry = biometry_in_frame(measure(squeezed, protocol=self._protocol, move_ends=move_ends), square)
                biometry = self._judged(biometry, symphysis, labels, prediction)
            else:
                biometry = Biometry(protocol=self._protocol, reason=Reason.AXIS_AMBIGUOUS)
        else:
            biometry = biometry_in_frame(self._measure(frame, labels, letterbox, prediction), network)
            biometry = replace(biometry, quality=biometry.quality * unchanged_share(drawn, labels))
        mask = FrameMask(labels=labels, grid=network)
        numbered = self._segments.numbered(frame)
        return FrameAnalysis(
            frame=numbered,
            plane_probability=probability,
            biometry=biometry,
            outlines=outlines_of(mask),
            mask=mask,
        )

    def _measure(
        self, frame: Frame, labels: NDArray[np.uint8], letterbox: Letterbox, prediction: Prediction
    ) -> Biometry:
        """Measures by the orientation known so far, this frame's evidence included, and by the fused axis.

        The network's word on the orientation goes before the mask's own cues. Its second look counts where it presumed
        that same orientation.
        """
        scale_x, scale_y = letterbox.scale
        before = self._orientation.orientation
        measure_as = partial(
            measure,
            labels,
            protocol=self._protocol,
            pixel_size=(frame.aspect / scale_x, 1.0 / scale_y),
            field_of_view=field_in_network(frame, letterbox),
        )
        found = measure_as(orientation=before or Orientation.AUTO) if prediction.normal_logit is None else None
        self._add_evidence(found.orientation_log_odds if found else _normal_log_odds(prediction))
        now = self._orientation.orientation
        if now is None:
            found = found or measure_as(orientation=before or Orientation.AUTO)
            return found if found.reason else Biometry(protocol=self._protocol, reason=Reason.AXIS_AMBIGUOUS)
        symphysis = _symphysis(labels, prediction, now)
        network = network_grid(letterbox)
        move_ends = self._correction(symphysis, network, network)
        if found is None or move_ends is not None or now is not before:
            found = measure_as(orientation=now, move_ends=move_ends)
        return self._judged(found, symphysis, labels, prediction)

    def _correction(self, symphysis: Symphysis | None, network: LabelGrid, target: LabelGrid) -> MoveEnds | None:
        """How the second look moves the ends of an axis, in pixels of a grid over the frame; None without one."""
        if symphysis is None or symphysis.look is None:
            return None

        def move_ends(superior: Point, inferior: Point) -> tuple[Point, Point]:
            own = [network.from_frame(target.to_frame(end)) for end in (superior, inferior)]
            moved = self._fusion.correct(own[0], own[1], symphysis)
            return target.from_frame(network.to_frame(moved[0])), target.from_frame(network.to_frame(moved[1]))

        return move_ends

    def _judged(
        self, biometry: Biometry, symphysis: Symphysis | None, labels: NDArray[np.uint8], prediction: Prediction
    ) -> Biometry:
        """The measurement with its expected error, and what that makes of its quality and its absolute interval."""
        if self._errors is None or biometry.reason is not None:
            return biometry
        features = None if symphysis is None else features_of(symphysis, labels, prediction)
        expected_deg = self._errors.expected_deg(features)
        return replace(
            biometry,
            quality=biometry.quality * self._errors.quality(expected_deg),
            expected_error_deg=expected_deg,
            absolute_half_deg=self._half_width_deg(biometry.aop_deg, expected_deg),
        )

    def _half_width_deg(self, aop_deg: float | None, expected_deg: float) -> float | None:
        if self._absolute is None or aop_deg is None:
            return None
        return self._absolute.half_width_deg(aop_deg, expected_deg)

    def _is_normal(self, orientation_log_odds: float) -> bool:
        """Whether a challenge protocol may presume a normal picture: not where the display is known to be flipped."""
        if not self._orientation.is_flipped:
            return True
        self._add_evidence(orientation_log_odds)
        return self._orientation.orientation is Orientation.NORMAL

    def _add_evidence(self, orientation_log_odds: float) -> None:
        if self._orientation.add(orientation_log_odds):
            self._segments.begin(SegmentCause.ORIENTATION)
            self._orientation.begin(SegmentCause.ORIENTATION)
            self._orientation.add(orientation_log_odds)


def _facts_of(spec: ModelSpec, protocol: str) -> tuple[Fusion, ErrorModel | None, AbsoluteInterval | None]:
    """How a model's second look is fused, what foretells a frame's error, and its absolute interval by a protocol.

    Raises:
        ModelMismatch: they are broken.
    """
    try:
        errors = ErrorModel.of(spec.quality) if spec.quality else None
        absolute = AbsoluteInterval.of(spec.absolute[protocol]) if errors and protocol in spec.absolute else None
        return Fusion.of(spec.fusion), errors, absolute
    except (TypeError, ValueError) as error:
        raise ModelMismatch(f"{spec.name}: its facts cannot be used ({error}); export the model again") from error


def _drawn_labels(prediction: Prediction, letterbox: Letterbox) -> NDArray[np.uint8]:
    """Labels of the network's input size: the engine's own, which are not to be written to, or those of its logits."""
    if prediction.labels is None:
        return class_labels(prediction.class_logits[0], letterbox.height, letterbox.width)
    labels: NDArray[np.uint8] = prediction.labels[0]
    return labels


def features_of(symphysis: Symphysis, labels: NDArray[np.uint8], prediction: Prediction) -> NDArray[np.float64]:
    """Features of a frame's expected error (`error_features`), of labels (S, S) and a prediction for a batch of one."""
    head = prediction.plane_logit if prediction.plane_head is None else prediction.plane_head
    return error_features(
        symphysis,
        side=labels.shape[1],
        area=float(np.mean(labels == PS)),
        peak=ps_peak(prediction.class_logits[0]) if prediction.ps_peak is None else float(prediction.ps_peak[0]),
        plane_head=float(head[0]),
    )


def _symphysis(labels: NDArray[np.uint8], prediction: Prediction, read_as: Orientation) -> Symphysis | None:
    """Both readings of the PS; the second look's only where it presumed the orientation that the frame is read as."""
    if prediction.ps_axis is None:
        return None
    presumed = Orientation.MIRRORED if _normal_log_odds(prediction) < 0 else Orientation.NORMAL
    views = prediction.ps_axis[0] if presumed is read_as else None
    return Symphysis.read(labels, views, mirrored=read_as is Orientation.MIRRORED)


def _normal_log_odds(prediction: Prediction) -> float:
    """The network's own word on the orientation; 0 where it has none."""
    return 0.0 if prediction.normal_logit is None else float(prediction.normal_logit[0])
