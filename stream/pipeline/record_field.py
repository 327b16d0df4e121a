"""One field of a record that is written for every frame: its name, its form, its meaning, and where its value is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from stream.pipeline.record import Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordField:
    """All that is said of a field, in one place; JSON Lines, CSV, JSON Schema and data dictionary are made from it.

    Attributes:
        name: in JSON and, unless it has `columns`, in CSV.
        meaning: for people, with unit and range.
        form: the JSON Schema of its values.
        value: takes it from the result: a plain JSON value, None where there is none.
        null_in: states of a frame in which it is null.
        form_in: a narrower JSON Schema in a state.
        columns: of CSV, where the value is a list or an object.
        spread: its value's cells, one for each column.
    """

    name: str
    meaning: str
    form: Mapping[str, object]
    value: Callable[[Measurement], object]
    null_in: frozenset[str] = frozenset()
    form_in: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    spread: Callable[[object], Sequence[object]] = lambda value: (value,)

    @property
    def is_number(self) -> bool:
        """Whether its values, or the cells of its columns, are fractions or nothing."""
        return repr(NUMBER["type"]) in str(self.form)

    @property
    def values(self) -> str:
        """Which values it can have, for people."""
        if "const" in self.form:
            return str(self.form["const"])
        choices = self.form.get("enum", self.form.get("type"))
        listed = choices if isinstance(choices, list) else [choices]
        return ", ".join("null" if choice is None else str(choice) for choice in listed)


NUMBER: Mapping[str, object] = {"type": "number"}
NUMBER_OR_NULL: Mapping[str, object] = {"type": ["number", "null"]}
SHARE_OR_NULL: Mapping[str, object] = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
BOOLEAN_OR_NULL: Mapping[str, object] = {"type": ["boolean", "null"]}
TEXT_OR_NULL: Mapping[str, object] = {"type": ["string", "null"]}
COUNT: Mapping[str, object] = {"type": "integer", "minimum": 0}


def one_of(codes: Sequence[str], *, nullable: bool = False) -> Mapping[str, object]:
    """The form of a code."""
    return {"enum": [*([None] if nullable else []), *map(str, codes)]}


def pair_of(item: Mapping[str, object], *, nullable: bool = False) -> Mapping[str, object]:
    """The form of two values of one kind: x and y."""
    return {"type": ["array", "null"] if nullable else "array", "items": item, "minItems": 2, "maxItems": 2}


def spread_pair(value: object) -> Sequence[object]:
    """The cells of x and y; empty where there is no pair."""
    return value if isinstance(value, list) else (None, None)
