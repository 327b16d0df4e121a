"""What `import partum` offers, as text; `python -m tests.contracts.public_surface` writes the file of a test."""

from __future__ import annotations

import dataclasses
import enum
import inspect
from pathlib import Path
from typing import Any

import partum

FILE = Path(__file__).with_name("public_surface.txt")


def surface() -> str:
    """Every name with its signature, and the public members of classes."""
    return "".join(f"{line}\n" for name in sorted(partum.__all__) for line in _lines(name, getattr(partum, name)))


def _lines(name: str, thing: Any) -> list[str]:
    if not inspect.isclass(thing):
        return [f"{name}{inspect.signature(thing)}"]
    if issubclass(thing, enum.Enum):
        return [f"{name}: {', '.join(member.name for member in thing)}"]
    fields = {field.name for field in dataclasses.fields(thing)} if dataclasses.is_dataclass(thing) else set()
    ours = [base for base in reversed(thing.__mro__) if base.__module__.startswith(("engines.", "stream."))]
    found = {each: value for base in ours for each, value in vars(base).items()}
    members = [each for each in sorted(found) if not each.startswith("_") and each not in fields]
    return [f"{name}{_constructor(thing)}", *(f"  .{each}{_signature(found[each])}" for each in members)]


def _constructor(thing: type) -> str:
    """How one is made; nothing for what the caller does not make."""
    if getattr(thing, "_is_protocol", False) or issubclass(thing, Exception):
        return ""
    return str(inspect.signature(thing).replace(return_annotation=inspect.Signature.empty))


def _signature(value: Any) -> str:
    """That of a method; nothing for a property."""
    called = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
    return str(inspect.signature(called)) if callable(called) else ""


if __name__ == "__main__":
    FILE.write_text(surface(), encoding="utf-8")
