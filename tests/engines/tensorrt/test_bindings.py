"""Every call to TensorRT exists, with these arguments, in the real bindings of the releases that are supported.

The bindings of full TensorRT load over a stub of its libraries, so that neither a GPU nor the builder is needed. The
folder that PARTUM_TEST_TENSORRT names holds them, one folder for each release:

    pip install --no-deps --target FOLDER/11.4.0.106 tensorrt-cu12-bindings==11.4.0.106
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY

FOLDER = Path(os.environ.get("PARTUM_TEST_TENSORRT", "nowhere"))
RELEASES = ("10.3.0", "10.16.1.11", "11.4.0.106")
RTX = "tensorrt_rtx"
MODULES = ("build", "contexts", "device_run", "engine", "runtime")

# The class of each member that our code uses; what nothing but TensorRT-RTX has is asked of that alone.
MEMBERS = {
    "Builder": (
        "create_network",
        "create_builder_config",
        "create_optimization_profile",
        "build_serialized_network",
    ),
    "INetworkDefinition": ("num_outputs", "num_layers", "get_layer", "get_input"),
    "ILayer": ("type", "get_output_type"),
    "ITensor": ("dtype", "shape"),
    "OnnxParser": ("parse", "num_errors", "get_error"),
    "ParserError": ("desc",),
    "IBuilderConfig": (
        "clear_flag",
        "set_flag",
        "add_optimization_profile",
        "create_timing_cache",
        "set_timing_cache",
        "progress_monitor",
    ),
    "IOptimizationProfile": ("set_shape",),
    "ITimingCache": ("serialize",),
    "ILogger": ("log", "Severity"),
    "Severity": ("ERROR", "INTERNAL_ERROR"),
    "IProgressMonitor": ("phase_start", "step_complete", "phase_finish"),
    "Runtime": ("deserialize_cuda_engine",),
    "ICudaEngine": ("create_execution_context", "device_memory_size_v2"),
    "IExecutionContext": ("set_device_memory", "set_tensor_address", "set_input_shape", "execute_async_v3"),
}
RTX_MEMBERS = {
    "IBuilderConfig": ("num_compute_capabilities", "set_compute_capability"),
    "ICudaEngine": ("create_runtime_config",),
    "IRuntimeConfig": (
        "set_execution_context_allocation_strategy",
        "dynamic_shapes_kernel_specialization_strategy",
        "cuda_graph_strategy",
        "create_runtime_cache",
        "set_runtime_cache",
    ),
    "IRuntimeCache": ("serialize", "deserialize"),
}
RTX_NAMES = {"CudaGraphStrategy", "DynamicShapesKernelSpecializationStrategy"}
RTX_VALUES = {("BuilderFlag", "REQUIRE_USER_ALLOCATION")}
OURS = {
    "append",
    "batch",
    "capability",
    "check",
    "clear",
    "close",
    "complaints",
    "compute_capability",
    "count",
    "data",
    "engine",
    "error_recorder",
    "flags",
    "infer",
    "items",
    "itemsize",
    "keys",
    "log",
    "max",
    "min",
    "module",
    "name",
    "path",
    "precision",
    "reset",
    "size",
    "spec",
    "strip",
    "value",
    "values",
}
"""Names of our own that some class of TensorRT has too."""

STUB = "\n".join(
    f"void *{name}(void) {{ return 0; }}"
    for name in (
        "createInferBuilder_INTERNAL",
        "createInferRefitter_INTERNAL",
        "createInferRuntime_INTERNAL",
        "createNvOnnxParserRefitter_INTERNAL",
        "createNvOnnxParser_INTERNAL",
        "getBuilderPluginRegistry",
        "getNvOnnxParserVersion",
        "getPluginRegistry",
        "initLibNvInferPlugins",
    )
)
DUMP = """
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
classes = {name: thing for name, thing in vars(module).items() if isinstance(thing, type)}
classes["Severity"] = module.ILogger.Severity
members = {
    name: {each: getattr(getattr(thing, each), "__doc__", None) or "" for each in dir(thing)}
    for name, thing in classes.items()
}
print(json.dumps({"version": module.__version__, "members": members, "names": dir(module)}))
"""


@dataclass(frozen=True)
class Call:
    """A member that our code names; `arguments` and `words` of a call, None where it only reads or sets it."""

    member: str
    arguments: int | None
    words: tuple[str, ...]
    place: str


def read_code() -> tuple[list[Call], set[tuple[str, str]]]:
    """All members of anything that our code names, and the values of enumerations, `BuilderFlag.TF32`."""
    calls: list[Call] = []
    values: set[tuple[str, str]] = set()
    for name in MODULES:
        path = REPOSITORY / "engines" / "tensorrt" / f"{name}.py"
        tree = ast.parse(path.read_text(encoding="utf-8"))
        called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute):
                continue
            if isinstance(node.value, ast.Attribute) and _is_module(node.value.value):
                values.add((node.value.attr, node.attr))
                continue
            call = called.get(id(node))
            count = len(call.args) if call and not any(isinstance(each, ast.Starred) for each in call.args) else None
            words = tuple(word.arg or "" for word in call.keywords) if call else ()
            calls.append(Call(node.attr, count, words, f"{path.name}:{node.lineno}"))
    return calls, values


def _is_module(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id == "trt") or (
        isinstance(node, ast.Attribute) and node.attr == "module"
    )


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of empty libraries by the names that the bindings load."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("stubs of TensorRT's libraries are made by a C compiler, and there is none")
    folder = tmp_path_factory.mktemp("stubs")
    (folder / "stub.c").write_text(STUB)
    for major in {release.split(".")[0] for release in RELEASES}:
        for library in ("nvinfer", "nvonnxparser", "nvinfer_plugin"):
            name = f"lib{library}.so.{major}"
            command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name), "stub.c"]
            subprocess.run(command, cwd=folder, check=True)
    return folder


def dumped(module: str, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", DUMP, module],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module", params=[*RELEASES, RTX])
def bindings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Classes of a release with their members' documents."""
    release = str(request.param)
    if release == RTX:
        pytest.importorskip(RTX, reason="TensorRT-RTX is not installed", exc_type=ImportError)
        return {**dumped(RTX), "is_rtx": True}
    if not (FOLDER / release).is_dir():
        pytest.skip(f"PARTUM_TEST_TENSORRT names no folder with the bindings of TensorRT {release}")
    stubs = request.getfixturevalue("stubs")
    found = dumped("tensorrt_bindings", PYTHONPATH=str(FOLDER / release), LD_LIBRARY_PATH=str(stubs))
    assert found["version"] == release
    return {**found, "is_rtx": False}


def wanted(*, is_rtx: bool) -> dict[str, set[str]]:
    """The classes that have each member."""
    found: dict[str, set[str]] = {}
    for table in (MEMBERS, RTX_MEMBERS) if is_rtx else (MEMBERS,):
        for kind, members in table.items():
            for member in members:
                found.setdefault(member, set()).add(kind)
    return found


def test_every_member_is_there_and_takes_these_arguments(bindings: dict[str, Any]) -> None:
    calls, _ = read_code()
    kinds = wanted(is_rtx=bindings["is_rtx"])
    for kind, member in ((kind, member) for member, of in kinds.items() for kind in of):
        assert member in bindings["members"][kind], f"{kind}.{member}"
    for call in calls:
        if call.arguments is None or call.member not in kinds:
            continue
        documents = [bindings["members"][kind][call.member] for kind in kinds[call.member]]
        if any(takes(document, call) for document in documents) or not any("->" in each for each in documents):
            continue
        pytest.fail(f"{call.place}: {call.member} takes no {call.arguments} arguments {call.words}: {documents}")


def takes(document: str, call: Call) -> bool:
    """Whether one of a member's signatures, `name(self: T, a: T, b: T = 1) -> T`, takes a call."""
    for line in document.splitlines():
        found = re.match(rf"(?:\d+\. )?{call.member}\(self: [^,)]+(?:, )?(.*)\) -> ", line)
        if found is None:
            continue
        parameters = [each for each in re.split(r", (?=\w+: )", found[1]) if each]
        names = [each.split(":")[0] for each in parameters]
        needed = [each.split(":")[0] for each in parameters if " = " not in each]
        given = names[: call.arguments] + list(call.words)
        if (call.arguments or 0) <= len(names) and set(call.words) <= set(names) and set(needed) <= set(given):
            return True
    return False


def test_every_value_is_there(bindings: dict[str, Any]) -> None:
    _, values = read_code()
    assert ("BuilderFlag", "TF32") in values
    for kind, value in sorted(values):
        if bindings["is_rtx"] or (kind not in RTX_NAMES and (kind, value) not in RTX_VALUES):
            assert value in bindings["members"][kind], f"{kind}.{value}"


@pytest.mark.tensorrt
def test_the_tables_above_name_all_that_is_used() -> None:
    """A name in our code that some class of TensorRT has is either in the tables or a name of our own."""
    pytest.importorskip(RTX, reason="TensorRT-RTX is not installed", exc_type=ImportError)
    members = dumped(RTX)["members"]
    theirs = {member for of_one in members.values() for member in of_one if not member.startswith("_")}
    calls, _ = read_code()
    unknown = {call.member: call.place for call in calls if call.member in theirs - wanted(is_rtx=True).keys() - OURS}
    assert not unknown


def test_a_call_that_is_not_there_would_be_found() -> None:
    document = (
        "set_shape(self: T.IOptimizationProfile, input: str, min: T.Dims, opt: T.Dims = (), max: T.Dims = ()) -> None"
    )
    assert takes(document, Call("set_shape", 2, (), ""))
    assert takes(document, Call("set_shape", 1, ("min",), ""))
    assert not takes(document, Call("set_shape", 1, (), ""))
    assert not takes(document, Call("set_shape", 5, (), ""))
    assert not takes(document, Call("set_shape", 2, ("least",), ""))


def test_every_call_of_cuda_is_there() -> None:
    runtime = pytest.importorskip(
        "cuda.bindings.runtime", reason="cuda-bindings is not installed", exc_type=ImportError
    )
    tree = ast.parse((REPOSITORY / "engines" / "tensorrt" / "cuda.py").read_text(encoding="utf-8"))
    called = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "_call"
        and isinstance(node.args[0], ast.Constant)
    }
    named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr.startswith("cuda")}
    assert {"cudaSetDevice", "cudaGraphLaunch"} <= called
    members = {member for kind in vars(runtime).values() if isinstance(kind, type) for member in dir(kind)}
    assert not {name for name in (called | named) if not hasattr(runtime, str(name)) and name not in members}
