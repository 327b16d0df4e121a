"""A model on an NVIDIA Triton server, spoken to by the KServe v2 protocol over gRPC: one GPU for many scanners.

The server's model configuration carries the model's facts (`partum export --triton` writes them there), so that a
stream knows what it is given whoever runs it.
"""

from __future__ import annotations

import importlib
import itertools
import logging
import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from engines.base import EngineDescription, ModelSpec
from engines.closing import close_after
from engines.errors import ModelMismatch, ModelNotFound, RemoteError
from engines.redaction import redact
from engines.runtime import RuntimeEngine, error_summary, runtime_unavailable

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCHEME = "triton"
DEFAULT_PORT = 8001
EXAMPLE = "triton://gpu-server:8001/psfh_lite0?timeout=1&patience=10"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonAddress:
    """Where a model is served, and how long to wait for it.

    Attributes:
        timeout_s: of one request.
        patience_s: how long a request is repeated while the server is gone or slow, before the run ends.
    """

    host: str
    port: int
    model: str
    timeout_s: float = 1.0
    patience_s: float = 10.0

    @classmethod
    def parse(cls, uri: str) -> TritonAddress:
        """Reads `triton://host[:port]/model[?timeout=S&patience=S]`.

        Raises:
            ModelNotFound: it does not read so; says what is wrong.
        """
        try:
            parts = urlsplit(uri)
            port = parts.port or DEFAULT_PORT
            options = {name: float(value) for name, value in parse_qsl(parts.query, strict_parsing=bool(parts.query))}
        except ValueError as error:
            raise ModelNotFound(f"{redact(uri)}: host, port or options cannot be read; write {EXAMPLE}") from error
        model = parts.path.strip("/")
        unknown = [name for name in options if name not in ("timeout", "patience")]
        if parts.scheme != SCHEME or not parts.hostname or not model or "/" in model or unknown:
            what = "options are timeout and patience" if unknown else "a host and one model's name are needed"
            raise ModelNotFound(f"{redact(uri)}: {what}; write {EXAMPLE}")
        if not all(0 < value < 3600 for value in options.values()):
            raise ModelNotFound(f"{redact(uri)}: timeout and patience are seconds above 0; write {EXAMPLE}")
        return cls(
            host=parts.hostname,
            port=port,
            model=model,
            timeout_s=options.get("timeout", 1.0),
            patience_s=options.get("patience", 10.0),
        )


def with_patience(uri: str, seconds: float) -> str:
    """The same address with so much patience, unless it names its own."""
    path, _, query = uri.partition("?")
    if "patience" in dict(parse_qsl(query)):
        return uri
    return f"{path}?{query}{'&' if query else ''}patience={seconds:g}"


class TritonEngine(RuntimeEngine):
    """A model run by a server.

    A request that fails or takes too long is repeated under a new number, with pauses that grow, for as long as the
    address says; an answer with another number than its request's is an error. Meanwhile a live pipeline drops frames
    as it does under any slow engine. The connection mends itself. A server that comes back with another model, or
    answers with another version of it, is not taken for the one that was loaded.

    Args:
        uri: see `TritonAddress.parse`.

    Raises:
        ModelNotFound: the address cannot be meant, or the server has no such model.
        EngineUnavailable: the client library is not installed.
        RemoteError: no server answers there.
        ModelMismatch: the model there carries no facts of ours, or takes and gives other tensors.
    """

    def __init__(self, uri: str) -> None:
        self._address = address = TritonAddress.parse(uri)
        self._grpc = _import_client()
        self.failures = (self._grpc.InferenceServerException,)
        self._client: Any = self._grpc.InferenceServerClient(f"{address.host}:{address.port}")
        self._numbers = itertools.count(1)
        self.repeated = 0
        """Requests that had to be sent again so far."""
        self.is_away = False
        """Whether a request is being repeated now."""
        self._gives_up = threading.Event()
        self._version: str | None = None
        try:
            spec = self._facts()
            server = f"{address.host}:{address.port}"
            super().__init__(EngineDescription(backend=SCHEME, precision=spec.precision, device=server), spec)
            self._warm_up()
        except BaseException as error:
            close_after(error, self._client.close)
            raise

    def _facts(self) -> ModelSpec:
        """The model's facts from its configuration on the server, checked against the tensors it declares."""
        address, name = self._address, self._address.model
        where = redact(f"{SCHEME}://{address.host}:{address.port}/{name}")
        try:
            if not self._client.is_server_live(client_timeout=address.patience_s):
                raise RemoteError(f"{where}: the server is not live; look at its log")
            if not self._client.is_model_ready(name, client_timeout=address.timeout_s):
                raise ModelNotFound(f"{where}: the server has no such model ready; look at its log")
            config = self._client.get_model_config(name, client_timeout=address.timeout_s).config
        except self.failures as error:
            raise RemoteError(
                f"{where}: no answer ({error_summary(error)}); is the server running, and its gRPC port?"
            ) from error
        metadata = {key: value.string_value for key, value in config.parameters.items()}
        spec = ModelSpec.from_metadata(metadata, origin=where, sha256=metadata.get("partum.sha256", ""))
        declared = {tensor.name for tensor in (*config.input, *config.output)}
        if not {"image", *spec.output_names} <= declared:
            raise ModelMismatch(
                f"{where}: its tensors are {', '.join(sorted(declared))}, expected image,"
                f" {', '.join(spec.output_names)};"
                " export it again with partum export --triton"
            )
        self._batch = max(1, int(config.max_batch_size))
        return spec

    def give_up(self) -> None:
        """A call that waits for a server that is away fails soon, and so do later ones; from any thread."""
        self._gives_up.set()

    def _check_same_model(self) -> None:
        """The server was away: what it has now must be what was loaded.

        Raises:
            ModelMismatch: it is another model.
            RemoteError: it is away again.
        """
        if self._facts() != self.spec:
            raise ModelMismatch(f"{self.name}: the server came back with another {self._address.model}; start again")

    def _run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        parts = [self._asked(images[start : start + self._batch]) for start in range(0, len(images), self._batch)]
        return tuple(np.concatenate(of_one) for of_one in zip(*parts, strict=True))

    def _asked(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """One request, repeated while there is patience left."""
        given = self._grpc.InferInput("image", list(images.shape), "UINT8")
        given.set_data_from_numpy(images)
        wanted = [self._grpc.InferRequestedOutput(name) for name in self.spec.output_names]
        give_up = time.monotonic() + self._address.patience_s
        pause = FIRST_PAUSE_S
        while True:
            number = str(next(self._numbers))
            try:
                found = self._client.infer(
                    self._address.model,
                    [given],
                    outputs=wanted,
                    request_id=number,
                    client_timeout=self._address.timeout_s,
                )
                break
            except self.failures as error:
                is_over = self._gives_up.is_set() or time.monotonic() + pause > give_up
                if is_over or not _may_pass(error):
                    raise RemoteError(
                        f"{self.name}: {error_summary(error)}; gave up after {self._address.patience_s:g} s"
                        " (patience in the address)"
                    ) from error
                if not self.repeated:
                    _log.warning("%s: %s; asking again", self.name, error_summary(error))
                self.repeated += 1
                self.is_away = True
                self._gives_up.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
        if self.is_away:
            self._check_same_model()
            self.is_away = False
        return self._checked(found, number, len(images))

    def _checked(self, found: Any, number: str, count: int) -> tuple[NDArray[np.float32], ...]:
        """The arrays of an answer, which must be the one to request `number` and hold what the spec says.

        Raises:
            RemoteError: it is not, or does not.
        """
        answered, version = found.get_response().id, found.get_response().model_version
        if answered != number:
            raise RemoteError(f"{self.name}: the answer to request {answered or 'without a number'} came for {number}")
        self._version = version if self._version is None else self._version
        if version != self._version:
            raise ModelMismatch(f"{self.name}: answers with version {version}, loaded was {self._version}; start again")
        outputs = []
        for name, sides in self.spec.output_shapes.items():
            shape = (count, *sides)
            try:
                output = found.as_numpy(name)
            except ValueError as error:  # its bytes and its shape contradict each other
                raise RemoteError(f"{self.name}: answers {name} that cannot be read ({error})") from error
            if output is None or output.dtype != np.float32 or output.size != math.prod(shape):
                got = "nothing" if output is None else f"{output.dtype} {output.shape}"
                raise RemoteError(f"{self.name}: answers {got} as {name}, expected float32 {shape}; export it again")
            outputs.append(output.reshape(shape).copy())
        return tuple(outputs)

    def _release(self) -> None:
        self._client.close()


def _may_pass(error: Exception) -> bool:
    """Whether asking again may help: the server is gone, busy or late. A request it refuses it will refuse again."""
    status = str(getattr(error, "status", lambda: "")())
    return any(word in status for word in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED"))


def _import_client() -> Any:
    try:
        grpc: Any = importlib.import_module("tritonclient.grpc")
        grpc.InferenceServerException = importlib.import_module("tritonclient.utils").InferenceServerException
    except ImportError as error:
        raise runtime_unavailable(SCHEME, "partum[triton]", error) from error
    return grpc
