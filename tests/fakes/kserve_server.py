"""A server that speaks the KServe v2 protocol over gRPC as Triton does, and can be made to answer wrongly.

It runs in the test's own process, on a port of this machine, and needs nothing but the client's library.
"""

from __future__ import annotations

import importlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from engines.base import Engine

MAX_BATCH = 4


class KServeServer:
    """Serves an engine.

    Args:
        engine: what it answers with; not closed.

    Attributes:
        fault: called with each request's number (from 0), the answer, and gRPC's context, before the answer is sent.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.requests = 0
        self.fault: Callable[[int, Any, Any], None] = lambda number, answer, context: None
        grpc: Any = importlib.import_module("grpc")
        self._messages: Any = importlib.import_module("tritonclient.grpc.service_pb2")
        service: Any = importlib.import_module("tritonclient.grpc.service_pb2_grpc")
        self._server = grpc.server(ThreadPoolExecutor(max_workers=2))
        names = ("ServerLive", "ModelReady", "ModelConfig", "ModelInfer")
        calls = {name: getattr(self, f"_{name}") for name in names}
        servicer = type("Servicer", (service.GRPCInferenceServiceServicer,), calls)()
        service.add_GRPCInferenceServiceServicer_to_server(servicer, self._server)
        self._port = self._server.add_insecure_port("127.0.0.1:0")

    @property
    def uri(self) -> str:
        return f"triton://127.0.0.1:{self._port}/{self._engine.spec.name}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(grace=None).wait()

    def _ServerLive(self, request: Any, context: Any) -> Any:
        return self._messages.ServerLiveResponse(live=True)

    def _ModelReady(self, request: Any, context: Any) -> Any:
        return self._messages.ModelReadyResponse(ready=True)

    def _ModelConfig(self, request: Any, context: Any) -> Any:
        answer = self._messages.ModelConfigResponse()
        spec = self._engine.spec
        answer.config.max_batch_size = MAX_BATCH
        answer.config.input.add(name="image")
        for name in spec.output_names:
            answer.config.output.add(name=name)
        for key, value in (spec.to_metadata() | {"partum.sha256": spec.sha256}).items():
            answer.config.parameters[key].string_value = value
        return answer

    def _ModelInfer(self, request: Any, context: Any) -> Any:
        number, self.requests = self.requests, self.requests + 1
        images = np.frombuffer(request.raw_input_contents[0], np.uint8).reshape(tuple(request.inputs[0].shape))
        found = self._engine.infer(images)
        answer = self._messages.ModelInferResponse(model_name=request.model_name, id=request.id)
        for name in self._engine.spec.output_names:
            value = np.ascontiguousarray(getattr(found, name), np.float32)
            answer.outputs.add(name=name, datatype="FP32", shape=value.shape)
            answer.raw_output_contents.append(value.tobytes())
        self.fault(number, answer, context)
        return answer
