"""A real Triton server for tests: NVIDIA's binary, as nvidia-pytriton carries it, on an exported repository.

That build has the Python backend alone, so the exported model is run by ONNX Runtime inside it; the server, its gRPC
front, its batching and the exported configuration are the real ones. Where it lies is said by `PARTUM_TEST_TRITON`, a
folder made by:

    pip install --no-deps --target FOLDER nvidia-pytriton "numpy<2" onnxruntime
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Self

from engines.onnx.model_file import ModelFile
from engines.serving.triton_repository import write_repository

VARIABLE = "PARTUM_TEST_TRITON"

MODEL = """
import os, sys, time
sys.path.insert(0, {packages!r})
import onnxruntime
import triton_python_backend_utils as triton

class TritonPythonModel:
    def initialize(self, args):
        self.session = onnxruntime.InferenceSession({model!r}, providers=["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]

    def execute(self, requests):
        answers = []
        for request in requests:
            if os.path.exists({slow!r}):
                time.sleep(float(open({slow!r}).read()))
            image = triton.get_input_tensor_by_name(request, "image").as_numpy()
            found = self.session.run(self.names, {{"image": image}})
            answers.append(triton.InferenceResponse([triton.Tensor(n, v) for n, v in zip(self.names, found)]))
        return answers
"""


def server_folder() -> Path | None:
    """Where the server lies; None where there is none."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


class TritonServer:
    """Serves one model from a folder; may be stopped and started again on the same port, and slowed down."""

    def __init__(self, model: ModelFile, folder: Path, packages: Path) -> None:
        self._packages, self._folder = packages, folder
        self._binaries = packages / "pytriton" / "tritonserver"
        self._slow = folder / "slow"
        self.name = model.spec.name
        self._ports = free_ports(3)
        place = write_repository(model, folder / "repository")
        config = (place / "config.pbtxt").read_text()
        assert 'backend: "onnxruntime"' in config
        config = config.replace('backend: "onnxruntime"', 'backend: "python"').replace('"model.onnx"', '"model.py"')
        (place / "config.pbtxt").write_text(config)
        source = MODEL.format(packages=str(packages), model=str(place / "1" / "model.onnx"), slow=str(self._slow))
        (place / "1" / "model.py").write_text(source)
        backend = shutil.copytree(self._binaries / "backends", folder / "backends") / "python"
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        shutil.copy2(self._binaries / "python_backend_stubs" / version / "triton_python_backend_stub", backend)
        for file in (backend / "triton_python_backend_stub", self._binaries / "bin" / "tritonserver"):
            file.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"triton://127.0.0.1:{self._ports[1]}/{self.name}"

    def start(self) -> None:
        http, grpc, metrics = map(str, self._ports)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._binaries / "bin" / "tritonserver",
                    *("--model-repository", self._folder / "repository"),
                    *("--backend-directory", self._folder / "backends"),
                    *("--http-port", http, "--grpc-port", grpc, "--metrics-port", metrics),
                ],
                env={**os.environ, "LD_LIBRARY_PATH": str(self._packages / "nvidia_pytriton.libs")},
                stdout=log,
                stderr=log,
            )
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{http}/v2/models/{self.name}/ready", timeout=1):
                    return
            except OSError:
                assert self._process.poll() is None, (self._folder / "log").read_text()[-3000:]
                time.sleep(0.1)
        raise AssertionError("the server was not ready within a minute")

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def slow_down(self, seconds: float) -> None:
        """Each request takes so long from now on; 0 ends it."""
        self._slow.write_text(str(seconds)) if seconds else self._slow.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
