"""A torch network as CUDA graphs: one for each batch size, copies included, so that a batch is one launch."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.base import answer_type

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engines.base import ModelSpec

READY_BATCHES = (1, 2, 4, 8, 16)
"""Batch sizes that are recorded at the start; what several streams share never asks for more."""
MOST_BATCH = 64
"""Larger batches are run in parts, two at a time."""
LANES = 2
"""Parts under way: while one's kernels run, the other's images go up and its answers come down."""
_RUNS_BEFORE_RECORDING = 3
"""In which kernels are chosen and memory is taken."""


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A recorded batch size: its page-locked memory on the host, what computes, and when it is done."""

    graph: Any
    done: Any
    images: NDArray[np.uint8]
    outputs: tuple[NDArray[Any], ...]
    kept: tuple[Any, ...]
    """Tensors that the graph reads and writes."""


class GraphedNetwork:
    """Runs batches of a network on a GPU; a size that was not recorded is filled up with black frames to one that is.

    Args:
        torch: the package.
        network: on the device; its answers are those of the spec, in any float type.
        spec: of the network.
        device: `cuda`, or one of several.
        size: height and width of what it is given; None takes the spec's.
    """

    def __init__(
        self, torch: Any, network: Any, spec: ModelSpec, *, device: str = "cuda", size: tuple[int, int] | None = None
    ) -> None:
        self._torch, self._network, self._spec = torch, network, spec
        self._size = size or (spec.height, spec.width)
        self._device = torch.device(device)
        self._names = tuple(spec.output_shapes)
        self._recorded: dict[tuple[int, int], _Recorded] = {}
        with torch.cuda.device(self._device):
            self._streams = [torch.cuda.Stream() for _ in range(LANES)]
        for batch in READY_BATCHES:
            self._of_size(0, batch)

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[Any], ...]:
        """The answers to (B, 1, H, W) images, fresh arrays in the order of the spec's outputs."""
        shapes = self._spec.output_shapes.items()
        outputs = tuple(np.empty((len(images), *shape), answer_type(name)) for name, shape in shapes)
        under_way: deque[tuple[_Recorded, slice]] = deque()
        for number, start in enumerate(range(0, len(images), MOST_BATCH)):
            if len(under_way) == LANES:
                _collect(outputs, *under_way.popleft())
            place = slice(start, min(start + MOST_BATCH, len(images)))
            under_way.append((self._start(number % LANES, images[place]), place))
        while under_way:
            _collect(outputs, *under_way.popleft())
        return outputs

    def device_ms(self, batch: int, *, runs: int = 100) -> float:
        """What the GPU itself needs for a batch of a recorded size, copies included, in ms: the mean of many runs."""
        torch, stream = self._torch, self._streams[0]
        with torch.cuda.device(self._device), torch.cuda.stream(stream):
            recorded = self._of_size(0, batch)
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(runs):
                recorded.graph.replay()
            end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / runs

    def _start(self, lane: int, images: NDArray[np.uint8]) -> _Recorded:
        """Starts one batch on a lane, which must have none under way."""
        torch, count = self._torch, len(images)
        with torch.cuda.device(self._device), torch.cuda.stream(self._streams[lane]):
            recorded = self._of_size(lane, 1 << (count - 1).bit_length())
            recorded.images[:count] = images
            recorded.images[count:] = 0
            for output in recorded.outputs:
                if output.dtype != np.uint8:
                    output[:count].reshape(-1)[-1] = np.nan  # so that what never came is no answer
            recorded.graph.replay()
            recorded.done.record()
        return recorded

    def _of_size(self, lane: int, size: int) -> _Recorded:
        if (lane, size) not in self._recorded:
            torch, stream = self._torch, self._streams[lane]
            with torch.inference_mode(), torch.cuda.device(self._device), torch.cuda.stream(stream):
                self._recorded[lane, size] = self._record(size, stream)
        return self._recorded[lane, size]

    def _record(self, size: int, stream: Any) -> _Recorded:
        torch = self._torch
        given = torch.zeros((size, 1, *self._size), dtype=torch.uint8).pin_memory()
        images = given.to(self._device)
        for _ in range(_RUNS_BEFORE_RECORDING):
            found = self._answers(images)
        answers = [torch.empty(each.shape, dtype=each.dtype).pin_memory() for each in found]
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            images.copy_(given, non_blocking=True)
            found = self._answers(images)
            for target, each in zip(answers, found, strict=True):
                target.copy_(each, non_blocking=True)
        # The waiting thread sleeps instead of spinning: other stages need the core.
        done = torch.cuda.Event(blocking=True)
        arrays = tuple(target.numpy() for target in answers)
        return _Recorded(graph, done, given.numpy(), arrays, (given, images, *answers, *found))

    def _answers(self, images: Any) -> tuple[Any, ...]:
        """In the types of `answer_type`."""
        torch = self._torch
        with torch.autocast("cuda", torch.float16):
            found = self._network(images)
        return tuple(each if name == "labels" else each.float() for name, each in zip(self._names, found, strict=True))


def _collect(outputs: tuple[NDArray[Any], ...], recorded: _Recorded, place: slice) -> None:
    """Waits for a batch, and writes its answers to their place."""
    recorded.done.synchronize()
    for target, found in zip(outputs, recorded.outputs, strict=True):
        target[place] = found[: place.stop - place.start]
