"""Writes what is made from the record's definition: its JSON Schema, and the table of the data dictionary.

Run `python -m stream.pipeline.record_documents` after a change of `stream.pipeline.record_fields`; a test compares.
"""

from __future__ import annotations

import json
from pathlib import Path

from stream.pipeline.record import FrameState
from stream.pipeline.record_fields import RECORD_FIELDS

FOLDER = Path(__file__).parents[1]
SCHEMA_FILE, DICTIONARY_FILE = FOLDER / "measurement.schema.json", FOLDER / "DATA_DICTIONARY.md"


def json_schema() -> dict[str, object]:
    """The JSON Schema of one line of `measurements.jsonl`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "One line of measurements.jsonl",
        "description": "One frame's result, as written by Partum. Research use only, not a medical device.",
        "type": "object",
        "properties": {field.name: {**field.form, "description": field.meaning} for field in RECORD_FIELDS},
        "required": [field.name for field in RECORD_FIELDS],
        "additionalProperties": False,
        "allOf": [
            {"if": {"properties": {"state": {"const": str(state)}}}, "then": {"properties": _forms_in(state)}}
            for state in FrameState
        ],
    }


def _forms_in(state: FrameState) -> dict[str, object]:
    """What a field's values must be in a state, where that is less than what they can be."""
    return {
        field.name: field.form_in.get(state, {"const": None})
        for field in RECORD_FIELDS
        if state in field.form_in or state in field.null_in
    }


def table() -> list[str]:
    """The fields as lines of Markdown."""
    rows = [f"| `{field.name}` | {field.values} | {field.meaning} |" for field in RECORD_FIELDS]
    return ["| field | values | meaning |", "|---|---|---|", *rows]


def data_dictionary(text: str) -> str:
    """The data dictionary with its table made anew."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| field |"))
    end = next(number for number, line in enumerate(lines[start:], start) if not line.startswith("|"))
    return "\n".join([*lines[:start], *table(), *lines[end:]]) + "\n"


def schema_text() -> str:
    """The schema as its file has it."""
    return json.dumps(json_schema(), indent=2) + "\n"


def main() -> None:
    """Writes both files."""
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
    DICTIONARY_FILE.write_text(data_dictionary(DICTIONARY_FILE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
