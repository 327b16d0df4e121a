"""From a model file and a back-end's name to a warm engine; a runtime is imported only when asked for."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engines.errors import EngineUnavailable
from engines.model_file import read_model_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engines.base import Engine
    from engines.model_file import ModelFile

DEFAULT_MODEL = Path(__file__).parent / "weights" / "psfh_unet.onnx"
"""The model that ships with the package."""

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class _Runtime:
    target: str
    """`module:class` of the engine."""
    packages: tuple[str, ...]
    extra: str


# In the order in which `auto` takes them.
_RUNTIMES: Mapping[str, _Runtime] = {
    "openvino": _Runtime("engines.openvino:OpenVinoEngine", ("openvino",), "partum"),
    "onnxruntime": _Runtime("engines.onnxruntime:OnnxRuntimeEngine", ("onnxruntime",), "partum[onnxruntime]"),
    "torch": _Runtime("engines.torch:TorchEngine", ("torch", "onnx"), "partum[torch]"),
}

BACKENDS = (AUTO, *_RUNTIMES)
"""What `load_engine` takes for `backend`."""

_log = logging.getLogger(__name__)


def available_engines() -> dict[str, str | None]:
    """Returns for each back-end why it cannot be used here, or None; judged without importing any runtime."""
    return {name: _missing(runtime) for name, runtime in _RUNTIMES.items()}


def load_engine(model: str | Path | None = None, backend: str = AUTO, *, threads: int | None = None) -> Engine:
    """Loads a model file on a runtime and warms it up.

    Args:
        model: path of an ONNX file from `engines.export`; None takes `DEFAULT_MODEL`.
        backend: one of `BACKENDS`. `auto` takes the first that is installed, in that order, and logs which
            and why; a back-end asked for by name is never replaced by another.
        threads: cores the runtime may keep busy, 1 or more; None takes what is there.

    Raises:
        ModelNotFound: there is no file at `model`.
        ModelMismatch: the file is not a model of ours.
        EngineUnavailable: the back-end is unknown, or its runtime is not installed.
        ValueError: `threads` is less than 1.
    """
    if backend not in BACKENDS:
        raise EngineUnavailable(f"back-end {backend!r} is not known; choose one of {', '.join(BACKENDS)}")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be 1 or more, got {threads}")
    file = read_model_file(Path(model) if model is not None else DEFAULT_MODEL)
    return _load_first(file, threads) if backend == AUTO else _load(backend, file, threads)


def _load_first(file: ModelFile, threads: int | None) -> Engine:
    reasons: list[str] = []
    for name in _RUNTIMES:
        try:
            engine = _load(name, file, threads)
        except EngineUnavailable as error:
            reasons.append(str(error))
        else:
            why = "; ".join(reasons) or "it is installed and the first choice"
            _log.info("auto takes %s: %s", engine.name, why)
            return engine
    raise EngineUnavailable(f"no back-end can run here: {'; '.join(reasons)}")


def _load(name: str, file: ModelFile, threads: int | None) -> Engine:
    runtime = _RUNTIMES[name]
    if missing := _missing(runtime):
        raise EngineUnavailable(f"back-end {name}: {missing}")
    module, _, engine = runtime.target.partition(":")
    loaded: Engine = getattr(importlib.import_module(module), engine)(file, threads=threads)
    return loaded


def _missing(runtime: _Runtime) -> str | None:
    packages = [name for name in runtime.packages if importlib.util.find_spec(name) is None]
    return f"{', '.join(packages)} not installed; pip install '{runtime.extra}'" if packages else None
