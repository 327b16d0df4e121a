"""Several sinks as one: all are written and closed, the first error is raised."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self

from stream.common.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from stream.outputs.base import Sink
    from stream.pipeline.record import Measurement

log = logging.getLogger(__name__)


class SinkGroup:
    """Opens sinks and keeps them until the end; a context manager.

    Args:
        makers: called in order; where one fails, those already open are closed.
    """

    def __init__(self, makers: Iterable[Callable[[], Sink]]) -> None:
        self._sinks: list[Sink] = []
        try:
            for make in makers:
                self._sinks.append(make())
        except BaseException:
            self._close_all()
            raise

    def write(self, measurement: Measurement) -> None:
        """Writes it to all.

        Raises:
            OutputError: by the first that cannot; those behind it do not get this measurement.
        """
        for sink in self._sinks:
            try:
                sink.write(measurement)
            except OutputError:
                raise
            except Exception as error:
                raise _output_error(sink, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes every sink. Their errors are raised only where there is none already: that one is the cause."""
        failed = self._close_all()
        if failed and error is None:
            raise failed

    def _close_all(self) -> BaseException | None:
        """Closes every sink, whatever another does; returns the first error."""
        first: BaseException | None = None
        for sink in self._sinks:
            try:
                sink.close()
            except OutputError as error:
                log.debug("a sink could not be closed", exc_info=error)
                first = first or error
            except Exception as error:
                log.debug("a sink could not be closed", exc_info=error)
                first = first or _output_error(sink, error)
            except BaseException as error:  # noqa: BLE001 - Ctrl-C once more: the others are closed all the same
                first = error
        return first


def _output_error(sink: Sink, error: Exception) -> OutputError:
    """What cannot be foreseen of the libraries that write files is an error of the output too, in one line."""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    wrapped = OutputError(f"{type(sink).__name__.lower()}: its file cannot be finished ({said})")
    wrapped.__cause__ = error
    return wrapped
