"""The interface of an engine: grey images in, logits out."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from engines.errors import InferenceError, ModelMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

METADATA_SCHEMA = "partum.model/1"
"""Version of the facts a model file carries; a file with another version is refused."""
AXIS_VALUES = 7
"""Numbers that each view of the second look says, see `Prediction.ps_axis`."""
MOST_CHANNELS = 4
"""An array whose last side is no longer than this holds channels of one colour picture, not columns of a batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """The facts of a model, read from its own file and from nowhere else.

    The input is grey `uint8` of shape (B, 1, `height`, `width`); normalisation happens inside the graph.
    """

    name: str
    height: int
    width: int
    output_height: int
    output_width: int
    classes: tuple[str, ...]
    plane_threshold: float
    """A frame is taken for a standard plane from this probability on, in [0, 1]; see `Prediction.plane_probability`."""
    architecture: Mapping[str, object]
    """Keyword arguments that rebuild the torch network (`engines.network.build.make_network`)."""
    training_data: str
    licence: str
    fusion: Mapping[str, float] = field(default_factory=dict)
    """Of the second look in the fused axis (`stream.measurement.symphysis_axis.Fusion`); empty takes halves."""
    quality: Mapping[str, object] = field(default_factory=dict)
    """What a frame's expected error is made of (`stream.measurement.expected_error.ErrorModel`); empty: not known."""
    absolute: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By protocol, what its absolute interval of AoP is made of
    (`stream.measurement.absolute_interval.AbsoluteInterval`); one that is not there is not known."""
    exit_logit: float | None = None
    """Of a model whose gate joins the plane head with other evidence: a frame whose plane head says less is no standard
    plane, whatever the rest may show, so that an early exit need not decode it. None: nothing is known of it."""
    precision: str = "fp32"
    """Of the encoder and decoder in this file: fp32, fp16, bf16, or int8 (with explicit Q/DQ)."""
    made_from: str = ""
    """Of an int8 model: sha256 of the float32 file it was made from."""
    answers_labels: bool = False
    """The graph answers labels of the input's size in the place of class logits (`engines.onnx.labelled`)."""
    warning: str = ""
    """What every output must say of results of this file; empty for an engine that passed its acceptance."""
    sha256: str = ""
    """Of the model file; filled by the loader."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """The graph's outputs in their order."""
        return tuple(self.output_shapes)

    @property
    def output_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The graph's outputs in their order, with their shapes for one frame; `answer_type` has their types."""
        masks = self.architecture.get("masks")
        has_orientation = (self.architecture if masks is None else masks).get("orientation_head")  # type: ignore[attr-defined]
        normal: dict[str, tuple[int, ...]] = {"normal_logit": ()} if has_orientation else {}
        if not self.decodes:
            return {"plane_logit" if masks is None else "plane_head": (), **normal}
        shapes: dict[str, tuple[int, ...]] = {"class_logits": (3, self.output_height, self.output_width)}
        if self.answers_labels:
            shapes = {"labels": (self.height, self.width)}
        shapes |= {"plane_logit": (), **normal}
        if masks is not None:
            shapes["plane_head"] = ()
        if self.views:
            shapes["ps_axis"] = (self.views, AXIS_VALUES)
        return shapes | ({"ps_peak": (), "mean_logit": ()} if self.answers_labels else {})

    @property
    def views(self) -> int:
        """How many views of the symphysis the second look takes; 0 without one."""
        if not self.architecture.get("refinement"):
            return 0
        return len(self.architecture["views"])  # type: ignore[arg-type]

    @property
    def decodes(self) -> bool:
        """Whether there is a decoder; a model without one (output size 0 x 0) decides planes alone."""
        return self.output_height > 0

    @property
    def plane_logit_threshold(self) -> float:
        """`plane_threshold` as a logit: log(p / (1 - p)), infinite at 0 and 1."""
        threshold = self.plane_threshold
        if not 0.0 < threshold < 1.0:
            return math.inf if threshold >= 1.0 else -math.inf
        return math.log(threshold / (1.0 - threshold))

    def to_metadata(self) -> dict[str, str]:
        """Returns the facts as the string pairs that ride in the ONNX file."""
        facts = asdict(self)
        facts.pop("sha256")
        facts["mark"] = facts.pop("warning")  # its name in files
        if not self.answers_labels:
            del facts["answers_labels"]  # so that older versions read a file that needs nothing of it
        return {"partum.schema": METADATA_SCHEMA, "partum.spec": json.dumps(facts, sort_keys=True)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], *, origin: str, sha256: str = "") -> Self:
        """Reads the facts back from a model file's metadata.

        Raises:
            ModelMismatch: the file carries no facts of ours, another version of them, or broken ones.
        """
        schema = metadata.get("partum.schema")
        if schema != METADATA_SCHEMA:
            raise ModelMismatch(
                f"{origin}: not a Partum model (metadata 'partum.schema' is {schema!r}, expected"
                f" {METADATA_SCHEMA!r}); export one with: partum export"
            )
        try:
            facts = json.loads(metadata["partum.spec"])
            facts["classes"] = tuple(facts["classes"])
            facts["warning"] = facts.pop("mark", "")
            return cls(**facts, sha256=sha256)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelMismatch(
                f"{origin}: its metadata 'partum.spec' cannot be read ({error}); export the model again"
            ) from error


ANSWERS = ("class_logits", "labels", "plane_logit", "normal_logit", "plane_head", "ps_axis", "ps_peak")
"""The arrays of a `Prediction`, all with one row for each image."""


def answer_type(name: str) -> np.dtype[Any]:
    """The type of a graph's output by its name: labels are uint8, all others float32."""
    return np.dtype(np.uint8 if name == "labels" else np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Outputs of the network for a batch, in network coordinates. The arrays belong to the caller.

    Attributes:
        class_logits: (B, 3, h, w) float32; channels background, PS, FH; h, w are the spec's output size, and 0 where
            the engine answers labels. Of a frame that an early exit did not decode, 1 for background and 0 for PS and
            FH everywhere.
        plane_logit: (B,) float32; above 0 means more likely than not a standard plane.
        normal_logit: (B,) float32, the log odds that the picture is not mirrored; None where the model does not tell.
        plane_head: (B,) float32, the logit of the plane head alone, of a model whose `plane_logit` joins it with what
            the masks show; None of other models.
        ps_axis: (B, V, 7) float32, what each view of the second look says of the symphysis: direction from its superior
            to its inferior end (cos, sin; any length), inferior end (x, y), superior end (x, y), and the logarithm of
            the direction's expected absolute error in radians. Pixels of the network's input, x right, y down, centres
            at integers. All 0 where there is no PS to look at, or the frame was not decoded. The look presumes a
            mirrored picture where `normal_logit` is below 0. None of a model without a second look.
        images: the very array that was given to `infer`, by which an answer is known to be the caller's own
            (`check_answer`); None of an engine that does not say.
        engine: who answered, of an engine that may be replaced while it runs (`engines.selection.failover`); None:
            the one that was asked.
        labels: (B, H, W) uint8 of the network's input size, 1 = PS, 2 = FH, as `engines.postprocess.class_labels` has
            them; None of an engine that answers logits.
        ps_peak: (B,) float32 in logits, how clearly a PS is seen (`engines.network.gate`); None likewise.
    """

    class_logits: NDArray[np.float32]
    plane_logit: NDArray[np.float32]
    normal_logit: NDArray[np.float32] | None = None
    plane_head: NDArray[np.float32] | None = None
    ps_axis: NDArray[np.float32] | None = None
    images: NDArray[np.uint8] | None = None
    engine: AnsweringEngine | None = None
    labels: NDArray[np.uint8] | None = None
    ps_peak: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, outputs: Mapping[str, NDArray[Any]], images: NDArray[np.uint8]) -> Self:
        """A prediction from a graph's outputs by name; of a graph without a decoder the plane head is the logit.

        Args:
            outputs: by the names of `ModelSpec.output_names`.
            images: see above.
        """
        head = outputs.get("plane_head")
        return cls(
            class_logits=outputs.get("class_logits", np.empty((len(images), 3, 0, 0), np.float32)),
            plane_logit=outputs.get("plane_logit", head),  # type: ignore[arg-type]
            normal_logit=outputs.get("normal_logit"),
            plane_head=head,
            ps_axis=outputs.get("ps_axis"),
            labels=outputs.get("labels"),
            ps_peak=outputs.get("ps_peak"),
            images=images,
        )

    def rows(self, chosen: slice, images: NDArray[np.uint8]) -> Self:
        """The answers to some of the images, copied; `images` are those, as they were given by whoever asked."""
        return type(self)(
            **{name: array[chosen].copy() for name, array in self.arrays.items()},
            images=images,
            engine=self.engine,
        )

    def put(self, chosen: NDArray[np.bool_], answers: Self) -> None:
        """Writes the answers of some images over what stands there, in every array that both have."""
        given = answers.arrays
        for name, array in self.arrays.items():
            if name in given:
                array[chosen] = given[name]

    def mirrored(self, images: NDArray[np.uint8]) -> Self:
        """What these answers are of, seen in a mirror: answers to the mirrored images, as answers to `images`.

        Convention: x becomes `width - 1 - x`, the cosine of a direction and the orientation's log odds change sign.

        Args:
            images: (B, 1, H, W), each the mirror image of one that was answered.
        """
        turned = {name: array.copy() for name, array in self.arrays.items()}
        for name, array in turned.items():
            if name == "ps_axis":
                is_read = np.abs(array).max(axis=2) > 0  # where there was nothing to look at all is 0, and stays so
                array[..., 0] *= -1
                array[..., 2:6:2] = np.where(is_read[..., None], images.shape[-1] - 1 - array[..., 2:6:2], 0)
            elif name == "normal_logit":
                turned[name] = -array
            elif array.ndim > 1:
                turned[name] = np.ascontiguousarray(array[..., ::-1])
        return type(self)(**turned, images=images, engine=self.engine)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All outputs, by name: one row for each image."""
        every = {name: getattr(self, name) for name in ANSWERS}
        return {name: array for name, array in every.items() if array is not None}

    @property
    def plane_probability(self) -> NDArray[np.float32]:
        """Probability that each frame is a standard plane, (B,), in [0, 1]: sigmoid of the plane logit.

        Of a model with a gate (`plane_head` is not None) it is calibrated on frames that no part of it had learned
        from, for half standard planes and half others; of other models it is the plane head's own.
        """
        clipped = np.clip(self.plane_logit, -60.0, 60.0)
        return (1.0 / (1.0 + np.exp(-clipped))).astype(np.float32)

    def __repr__(self) -> str:
        return f"Prediction(class_logits={self.class_logits.shape}, plane_logit={self.plane_logit.shape})"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDescription:
    """What runs a model, and how.

    Attributes:
        backend: the runtime: `openvino`, `onnxruntime`, `torch`, `tensorrt`, `tensorrt_rtx` or `triton`.
        precision: what the network's convolutions really compute in, as the runtime says: fp32, fp16, bf16 or int8.
        device: the processor, the GPU's name, or the server's address.
        compiled: by `torch.compile`.
        early_exit: only frames that may be standard planes are decoded (`engines.early_exit`).
        shared: several streams ask it (`engines.sharing`).
        parallel: calls of `infer` that it runs side by side, from a thread each; a further one waits. More than 1 makes
            more frames a second, and each of them takes longer.
        threads: CPU cores that it may keep busy; another number sums in another order, so last digits may differ. None
            where the network runs elsewhere than on this CPU.
    """

    backend: str
    precision: str
    device: str
    compiled: bool = False
    early_exit: bool = False
    shared: bool = False
    parallel: int = 1
    threads: int | None = None

    @property
    def name(self) -> str:
        """For people: `openvino fp32 CPU`."""
        backend = f"{self.backend} compiled" if self.compiled else self.backend
        ways = f"{' early exit' if self.early_exit else ''}{', shared' if self.shared else ''}"
        return f"{backend} {self.precision} {self.device}{ways}"


@dataclass(frozen=True, slots=True)
class AnsweringEngine:
    """Who gave an answer: what ran, the facts of its model, and what it replaces.

    Attributes:
        replaced: in one line, which engine ran before it and how that one failed; empty of the first.
    """

    description: EngineDescription
    spec: ModelSpec
    replaced: str = ""


class Engine(Protocol):
    """A loaded model on a device. One that exists is warm and ready. Derive from it: the display name comes with it."""

    @property
    def description(self) -> EngineDescription: ...

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def name(self) -> str:
        """The description, for people; nobody reads facts out of it."""
        return self.description.name

    @property
    def notices(self) -> tuple[str, ...]:
        """What a person should know of how it came to run, a line each: which back-ends were passed over, and why."""
        return ()

    def infer(self, images: NDArray[np.uint8]) -> Prediction:
        """Runs (B, 1, H, W) grey images through the network; the answer names them in its `images`.

        Raises:
            ModelMismatch: dtype or shape differ from the spec (both are named).
            InferenceError: the runtime failed. No later answer is one of this call's.
        """

    def predict(self, pictures: NDArray[np.uint8], *, pixel_aspect: float = 1.0) -> Prediction:
        """Fits grey pictures of any size into the network and runs them.

        Args:
            pictures: (H, W) uint8, or a batch of one size, (B, H, W); a plain picture gives a batch of one. A last
                side of 4 or less is refused: those are channels of a colour picture.
            pixel_aspect: width of one of their pixels over its height.

        Returns:
            The answer in network coordinates; `engines.preprocess.Letterbox` maps points to those of the pictures.

        Raises:
            ModelMismatch: they are of another type or shape.
            InferenceError: the runtime failed.
        """
        from engines.preprocess import Letterbox  # OpenCV, which a list of engines needs not wait for

        if fault := grey_fault(pictures, may_be_batch=True):
            raise ModelMismatch(f"pictures are grey, uint8 of shape (H, W) or (B, H, W), {fault}")
        batch = pictures[None] if pictures.ndim == 2 else pictures
        spec, (height, width) = self.spec, batch.shape[1:]
        letterbox = Letterbox(
            image_height=height, image_width=width, height=spec.height, width=spec.width, pixel_aspect=pixel_aspect
        )
        return self.infer(np.stack([letterbox.apply(picture) for picture in batch])[:, None])

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name}>"

    def close(self) -> None:
        """Frees the device. Closing twice is harmless; `infer` after it raises InferenceError."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def grey_fault(given: object, *, may_be_batch: bool = False) -> str | None:
    """What keeps an object from being a grey array (H, W) of uint8 with pixels in it, and how to mend it.

    Args:
        given: whatever a caller gave.
        may_be_batch: (B, H, W) is taken too.

    Returns:
        One clause, `got uint8 of shape (480, 640, 3), a colour picture; ...`; None where nothing is wrong.
    """
    if not isinstance(given, np.ndarray):
        mend = "np.asarray(picture.convert('L'))" if hasattr(given, "convert") else "np.asarray(picture, np.uint8)"
        return f"got {type(given).__name__}; make it an array: {mend}"
    found = f"got {given.dtype} of shape {given.shape}"
    if given.ndim == 3 and given.shape[-1] <= MOST_CHANNELS and given.size:
        return f"{found}, a colour picture; take one channel, picture[..., 0], or convert it with cv2.cvtColor"
    if given.dtype != np.uint8 or given.ndim not in ((2, 3) if may_be_batch else (2,)) or not given.size:
        return f"{found}; convert it first"
    return None


def describe(given: object) -> str:
    """The type and shape of an array, or the type of what is none."""
    return f"{given.dtype} of shape {given.shape}" if isinstance(given, np.ndarray) else type(given).__name__


def check_images(images: NDArray[np.uint8], spec: ModelSpec) -> None:
    """Raises ModelMismatch unless `images` is (B, 1, H, W) uint8 of the spec's size, B >= 1."""
    expected = (1, spec.height, spec.width)
    is_batch = isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.ndim == 4
    if not is_batch or images.shape[1:] != expected or len(images) < 1:
        raise ModelMismatch(
            f"{spec.name} takes uint8 of shape (B, 1, {spec.height}, {spec.width}),"
            f" got {describe(images)}; resize with engines.preprocess.Letterbox"
        )


def check_answer(answer: Prediction, images: NDArray[np.uint8], *, engine: str) -> None:
    """Raises InferenceError where an answer is not the one to `images`, or has not one row for each of them."""
    if answer.images is not None and answer.images is not images:
        raise InferenceError(f"{engine}: the answer to another request came back; start the program again")
    rows = {len(array) for array in answer.arrays.values()}
    if rows != {len(images)}:
        counts = " and ".join(map(str, sorted(rows)))
        raise InferenceError(f"{engine}: {counts} answers to {len(images)} images; start the program again")
