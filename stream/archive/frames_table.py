"""A loop's frames as a Parquet file: what `measurements.csv` holds, with types; and its row of the summary beside them.

The file is the loop's whole result: what is in its metadata and what is in its columns appear together or not at all.
"""

from __future__ import annotations

import io
import json
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from stream.outputs.manifest import NOTICE
from stream.pipeline.record_fields import RECORD_FIELDS, flatten

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from stream.archive.locations import Location
    from stream.batch.summary import Row
    from stream.pipeline.record_field import RecordField

SCHEMA = "partum.archive.frames/1"
OWN = ("sha256", "model_sha256", "partum")
"""Columns beside those of a record: of the loop's content, of the model, and the version that measured."""
ROW = b"partum.row"
GROUP_FRAMES = 20_000
"""Of a row group: what is in memory at a time while a long recording is written."""


@cache
def frames_schema() -> Any:
    """The `pyarrow.Schema` of all frames, the same whatever is in them."""
    import pyarrow as pa

    fields = [(name, pa.string()) for name in OWN]
    for each in RECORD_FIELDS:
        fields += [(name, _type_of(each)) for name in each.columns or (each.name,)]
    return pa.schema(fields)


def _type_of(field: RecordField) -> Any:
    import pyarrow as pa

    form = field.form.get("items", field.form)
    assert isinstance(form, dict)
    kinds = form.get("type", "string")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if "object" in kinds:  # landmarks: numbers in their columns
        return pa.float64()
    types = {"number": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_(), "string": pa.string()}
    return next(types[kind] for kind in kinds if kind in types)


def _metadata(row: Row) -> dict[bytes, bytes]:
    return {
        b"partum.schema": SCHEMA.encode(),
        b"partum.notice": NOTICE.encode(),
        b"partum.version": str(row.get("partum") or "").encode(),
        b"partum.model_sha256": str(row.get("model_sha256") or "").encode(),
        ROW: json.dumps(row, allow_nan=False).encode(),
    }


def frames_file(records: Path, row: Row) -> bytes:
    """The Parquet file of a loop.

    Args:
        records: its `measurements.jsonl`; where there is none, it has no frames.
        row: of the summary.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    own = {name: row.get(name) for name in OWN}
    schema = frames_schema().with_metadata(_metadata(row))
    written = io.BytesIO()
    with pq.ParquetWriter(written, schema, compression="zstd") as writer:
        if records.is_file():
            with records.open("rb") as lines:
                while some := [own | flatten(json.loads(line)) for line in islice(lines, GROUP_FRAMES)]:
                    writer.write_table(pa.Table.from_pylist(some, schema=schema))
    return written.getvalue()


def join_frames(parts: Iterable[tuple[Location, int]], row: Row) -> bytes:
    """The Parquet file of a loop from those of its parts.

    Args:
        parts: in order, and what is added to the numbers of the segments in each.
        row: of the summary.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    schema = frames_schema().with_metadata(_metadata(row))
    at = schema.get_field_index("segment")
    written = io.BytesIO()
    with pq.ParquetWriter(written, schema, compression="zstd") as writer:
        for location, more_segments in parts:
            with location.open() as file:
                part = pq.ParquetFile(file)
                for number in range(part.num_row_groups):
                    table = part.read_row_group(number)
                    segments = pc.add(table.column(at), pa.scalar(more_segments, pa.int64()))
                    writer.write_table(table.set_column(at, schema.field(at), segments).cast(schema))
    return written.getvalue()


def row_in(location: Location) -> Row | None:
    """The row beside the frames of a file; None where there is none that can be read.

    Raises:
        SourceUnavailable: the store does not answer.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with location.open() as file:
        try:
            facts: Mapping[bytes, bytes] = pq.read_metadata(file).metadata or {}
            row = json.loads(facts[ROW])
        except (pa.ArrowInvalid, LookupError, ValueError):
            return None
    return row if isinstance(row, dict) and row.get("sha256") else None
