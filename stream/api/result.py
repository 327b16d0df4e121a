"""What a replay gives back: a record for each frame, counts, a table and a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.common.errors import ExtraMissing
from stream.outputs.pictures.trend_plot import SIZE_INCHES, TrendPoints
from stream.pipeline.record_fields import RECORD_FIELDS, flatten, record_of
from stream.pipeline.statistics import RunStatistics

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from engines.base import EngineDescription
    from stream.api.notebook_figure import NotebookFigure
    from stream.pipeline.record import Measurement
    from stream.sources.base import SourceInfo


class ReplayResult:
    """The results of a recording; iterating gives its records, one dictionary for each frame read, in order.

    A record has the fields of a line of `measurements.jsonl`: `stream/DATA_DICTIONARY.md` says what they mean. The
    pictures are not kept.

    Attributes:
        source: what was read.
        engine: what ran the network.
        protocol: how AoP and HSD were measured.
        records: of every frame, with plain JSON values.
        statistics: what became of the frames, and typical values.
    """

    def __init__(self, *, source: SourceInfo, engine: EngineDescription, protocol: str) -> None:
        self.source, self.engine, self.protocol = source, engine, protocol
        self.records: list[dict[str, object]] = []
        self.statistics = RunStatistics()
        self._trend = TrendPoints()

    def add(self, measurement: Measurement) -> None:
        """Adds the next frame's result."""
        self.records.append(record_of(measurement))
        self.statistics.add(measurement)
        self._trend.add(measurement)

    def __iter__(self) -> Iterator[dict[str, object]]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def to_pandas(self) -> pd.DataFrame:
        """The records as a table, with the columns of `measurements.csv`; numbers that do not exist are NaN.

        Raises:
            ExtraMissing: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ExtraMissing(
                "a table needs pandas, which is not installed; pip install 'partum[notebook]'"
            ) from error
        columns = [column for field in RECORD_FIELDS for column in field.columns or (field.name,)]
        table = pd.DataFrame([flatten(record) for record in self.records], columns=columns)
        return table.astype(dict.fromkeys(_columns_of_numbers(), "float64"))

    def plot(self, title: str | None = None) -> NotebookFigure:
        """AoP and HSD over time, as in `trend.png`: a figure to show or to save.

        Args:
            title: one line above it; None names the source and the protocol.

        Raises:
            ExtraMissing: matplotlib is not installed, or broken.
        """
        try:
            from stream.api.notebook_figure import NotebookFigure
        except ImportError as error:
            raise ExtraMissing(
                f"a plot needs matplotlib, which cannot be imported ({error}); pip install matplotlib"
            ) from error
        figure = NotebookFigure(figsize=SIZE_INCHES, layout="constrained")
        self._trend.draw(figure, f"{self.source.uri}, {self.protocol}" if title is None else title)
        return figure

    def __repr__(self) -> str:
        return f"<ReplayResult of {self.source.uri}: {self.statistics.summary}>"


def _columns_of_numbers() -> list[str]:
    """The columns of fractions, which a table holds as such also where every value is missing."""
    return [column for field in RECORD_FIELDS if field.is_number for column in field.columns or (field.name,)]
