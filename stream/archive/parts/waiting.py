"""Long recordings that wait for their parts, as the command sees them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from stream.archive.inputs import ArchiveInput
    from stream.archive.parts.long_recordings import PartRequest

MOST_REQUESTS = 4
"""A part is measured, perhaps once more from the right beginning, and again where its file was lost; not for ever."""


@dataclass(slots=True)
class _Long:
    units: list[ArchiveInput] = field(default_factory=list)
    parts: dict[str, ArchiveInput] = field(default_factory=dict)
    count: int = 0


class WaitingForParts:
    """Which inputs wait for which parts of their content. Inputs of the same content wait for the same parts."""

    def __init__(self) -> None:
        self._long: dict[str, _Long] = {}
        self._requests: Counter[str] = Counter()

    @property
    def units(self) -> Sequence[ArchiveInput]:
        """The inputs that wait."""
        return [unit for each in self._long.values() for unit in each.units]

    @property
    def contents(self) -> Collection[str]:
        """Hashes of what they hold."""
        return self._long.keys()

    def wait(self, unit: ArchiveInput, requests: Sequence[PartRequest]) -> Sequence[ArchiveInput]:
        """An input waits; returns the parts that nobody has been given yet."""
        long = self._long.setdefault(requests[0].sha256, _Long())
        long.units.append(unit)
        new = [part for part in map(unit.with_part, requests) if part.key not in long.parts]
        long.parts |= {part.key: part for part in new}
        long.count += len(new)
        self._requests.update(part.key for part in new)
        return new

    def is_lost(self, part: ArchiveInput) -> bool:
        """Whether a part has been asked for so often that another try would change nothing."""
        return self._requests[part.key] > MOST_REQUESTS

    def end(self, part: ArchiveInput) -> Sequence[ArchiveInput]:
        """A part is measured; returns the inputs that need not wait any more."""
        long = self._of(part)
        long.parts.pop(part.key, None)
        return [] if long.parts else self.give_up(part)

    def share(self, part: ArchiveInput) -> tuple[int, int]:
        """How many parts of a recording are done, and how many there are."""
        long = self._of(part)
        return long.count - len(long.parts), long.count

    def give_up(self, part: ArchiveInput) -> Sequence[ArchiveInput]:
        """Nothing waits for the parts of this recording any more; returns what did."""
        assert part.part is not None
        found = self._long.pop(part.part.sha256, None)
        return found.units if found else []

    def is_wanted(self, unit: ArchiveInput) -> bool:
        """Whether it is a whole input, or a part that one waits for."""
        return unit.part is None or unit.part.sha256 in self._long

    def _of(self, part: ArchiveInput) -> _Long:
        assert part.part is not None
        return self._long.get(part.part.sha256) or _Long()
