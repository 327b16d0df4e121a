"""What of this machine decides how fast and how right a network runs on it."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from engines.runtime import available_cores

CAPS = ("ONEDNN_MAX_CPU_ISA", "OV_CPU_MAX_ISA")
"""Environment variables that keep OpenVINO's kernels from instructions the CPU has."""
_CPUINFO = Path("/proc/cpuinfo")
_TOLD = ("sse4_1", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx_vnni", "avx512_vnni", "avx512_bf16")
_TOLD_TOO = ("amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve")
_SUMS_IN_32_BITS = frozenset({"avx_vnni", "avx512_vnni", "amx_int8"})
_X86 = ("x86_64", "amd64", "i686", "i386")
_CAPPED_BELOW_VNNI = re.compile(r"SSE\d*|AVX|AVX2|AVX512_CORE|AVX512", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The processor, as far as it decides which engine runs best on it.

    Attributes:
        processor: its name.
        architecture: `x86_64`, `aarch64` and so on.
        instructions: those of its extensions that runtimes have kernels for; empty where the system does not tell.
        cores: this process may run on.
        caps: what the environment forbids of the instructions, `ONEDNN_MAX_CPU_ISA=AVX2`; empty as a rule.
    """

    processor: str
    architecture: str
    instructions: tuple[str, ...]
    cores: int
    caps: tuple[str, ...] = ()

    @property
    def sums_int8_exactly(self) -> bool:
        """Whether products of 8-bit numbers are known to be summed in 32 bits.

        An x86 CPU without VNNI sums pairs of them in 16 bits, which saturate: an INT8 network may be wrong there.
        """
        if self.architecture.lower() not in _X86:
            return True
        capped = any(_CAPPED_BELOW_VNNI.fullmatch(cap.partition("=")[2]) for cap in self.caps)
        return not capped and not _SUMS_IN_32_BITS.isdisjoint(self.instructions)

    @property
    def name(self) -> str:
        """In a few words, for people."""
        vnni = "with VNNI" if self.sums_int8_exactly else "without VNNI"
        words = [f"{self.processor}, {self.cores} cores"]
        if self.architecture.lower() in _X86:
            words.append(vnni)
        return ", ".join([*words, *self.caps])


def this_machine() -> Machine:
    """The machine this process runs on."""
    facts = _cpuinfo()
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    return Machine(
        processor=facts.get("model name", "") or platform.processor() or platform.machine(),
        architecture=platform.machine(),
        instructions=tuple(name for name in (*_TOLD, *_TOLD_TOO) if name in flags),
        cores=available_cores(),
        caps=tuple(f"{name}={os.environ[name]}" for name in CAPS if os.environ.get(name)),
    )


def _cpuinfo() -> dict[str, str]:
    """The facts of the first core, where the system has such a file (Linux)."""
    try:
        first, _, _ = _CPUINFO.read_text(encoding="utf-8", errors="replace").partition("\n\n")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
