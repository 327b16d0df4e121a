"""Execution contexts of a built engine: one for each batch size, those of a lane on one piece of device memory.

What a context sets up for a shape is part of its state, and what a CUDA graph replays was recorded under it, so no
context ever changes its batch size.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from engines.closing import close_after, close_all
from engines.errors import OutOfDeviceMemory

if TYPE_CHECKING:
    from engines.tensorrt.cuda import Cuda
    from engines.tensorrt.runtime import TensorRt


def batch_sizes(least: int, usual: int, most: int) -> tuple[int, ...]:
    """The batch sizes that an engine is run in: the three it was built for, and the powers of two between them.

    A batch of another size is filled up to the next of these, so that there are few contexts and graphs, and all of
    them are ready before the first frame.
    """
    powers = (1 << exponent for exponent in range(most.bit_length()))
    return tuple(sorted({least, usual, most, *(size for size in powers if least < size < most)}))


class ExecutionContexts:
    """Makes the contexts of an engine.

    Those of a lane share the memory for activations, because they run one after the other on one stream.

    Args:
        engine: deserialised.
        tensorrt: that made it.
        cuda: the CUDA runtime; the engine's GPU is the chosen one.
        lanes: streams that contexts run on at the same time.
        use_graph: lets TensorRT-RTX record its own CUDA graphs.
        runtime_cache: of TensorRT-RTX, kernels it compiled for this GPU before; what is of another machine is not used.

    Raises:
        OutOfDeviceMemory: the activations do not fit.
    """

    def __init__(
        self,
        engine: Any,
        tensorrt: TensorRt,
        cuda: Cuda,
        *,
        lanes: int = 1,
        use_graph: bool = True,
        runtime_cache: bytes = b"",
    ) -> None:
        self._engine, self._tensorrt, self._cuda = engine, tensorrt, cuda
        self._use_graph = use_graph
        self._runtime_cache: Any = None
        self._how = self._user_managed(runtime_cache)
        self._size = int(engine.device_memory_size_v2)
        self._memory: list[int] = []
        try:
            self._memory += (cuda.allocate(self._size) for _ in range(lanes if self._size else 0))
        except BaseException as error:
            close_after(error, self.close)
            raise

    @property
    def records_itself(self) -> bool:
        """TensorRT-RTX records its own CUDA graphs: it may swap kernels, which a graph of ours would not hear of."""
        return hasattr(self._tensorrt.module, "CudaGraphStrategy")

    def new(self, lane: int = 0) -> Any:
        """Another context, of that lane.

        Raises:
            OutOfDeviceMemory: TensorRT makes none: it says no reason, and has no other that is known.
        """
        context = self._engine.create_execution_context(self._how)
        if context is None:
            raise OutOfDeviceMemory(f"{self._tensorrt.name} makes no execution context; is the GPU's memory full?")
        if self._memory:
            context.set_device_memory(self._memory[lane], self._size)
        return context

    def compiled_kernels(self) -> bytes:
        """What TensorRT-RTX has compiled so far, for the next start on this machine; empty for full TensorRT."""
        return b"" if self._runtime_cache is None else bytes(self._runtime_cache.serialize())

    def close(self) -> None:
        """Gives the memory back; the contexts are gone by then. Closing twice is harmless."""
        memory, self._memory = self._memory, []
        self._how = self._runtime_cache = self._engine = None
        close_all(*(partial(self._cuda.free, each) for each in memory))

    def _user_managed(self, runtime_cache: bytes) -> Any:
        """How contexts are made: their memory is ours; TensorRT-RTX compiles for each shape before it runs it."""
        trt = self._tensorrt.module
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if not self.records_itself:
            return strategy
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(strategy)
        config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        if self._use_graph:
            config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        else:
            config.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED
        self._runtime_cache = config.create_runtime_cache()
        if runtime_cache:
            self._runtime_cache.deserialize(runtime_cache)  # says no to another driver's or GPU's, and starts empty
        config.set_runtime_cache(self._runtime_cache)
        return config
