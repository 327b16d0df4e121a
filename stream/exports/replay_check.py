"""Whether a recording gives the same numbers again: a finished run, run once more and compared."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from stream.common.errors import RunUnreadable
from stream.labour.run_network import engine_of_run
from stream.labour.run_source import open_again, pictures_of
from stream.measurement.biometry import Orientation
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record_fields import CLOCK_FIELDS, record_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engines.base import Engine
    from stream.labour.recorded_run import RecordedRun
    from stream.pipeline.record import Measurement


def replay_differences(run: RecordedRun, *, source: str | None = None, engine: Engine | None = None) -> tuple[str, ...]:
    """Runs the recording of a run again and compares every field of every frame, but those of the clock.

    Args:
        run: that was finished.
        source: of the pictures, where the run's own has moved.
        engine: closed by this; None loads the one of the run.

    Returns:
        A line for each field that differs somewhere, with the first frame in which it does; empty where all agree.

    Raises:
        RunUnreadable: its pictures were not kept, or the model here is another.
        PartumError: of the source or the engine.
    """
    engine = engine or _engine_of(run)
    if engine.spec.sha256 != run.model.get("sha256"):
        engine.close()
        raise RunUnreadable(
            f"{run.folder}: was measured by the model {str(run.model.get('sha256'))[:12]}, and the one here is"
            f" {engine.spec.sha256[:12]}; install the version that the run names"
        )
    found: dict[str, tuple[int, int, float]] = {}
    count = 0
    for measurement in islice(_measured_again(run, engine, source), len(run)):
        written, now = run.table.record(count), record_of(measurement)
        for name in (now.keys() & written.keys()) - set(CLOCK_FIELDS):
            if now[name] != written[name]:
                first, times, most = found.get(name, (count, 0, 0.0))
                found[name] = first, times + 1, max(most, _apart(written[name], now[name]))
        count += 1
    differences = [
        f"{name}: differs in {times} frames, first in frame {first}" + (f", by {most:.4g} at most" if most else "")
        for name, (first, times, most) in found.items()
    ]
    if count != len(run):
        differences.append(f"the recording has {count} frames, where the run has {len(run)}")
    return tuple(sorted(differences))


def _apart(written: object, now: object) -> float:
    """How far two numbers are apart; 0 where one is none."""
    return abs(now - written) if isinstance(written, float) and isinstance(now, float) else 0.0


def _engine_of(run: RecordedRun) -> Engine:
    """The engine that a run was measured with, as far as it is here."""
    options = run.options
    return engine_of_run(
        run,
        backend=str(options.get("backend") or "auto"),
        device=options.get("device"),
        early_exit=bool(options.get("early_exit")),
    )


def _measured_again(run: RecordedRun, engine: Engine, source: str | None) -> Iterator[Measurement]:
    frames, preprocessor = open_again(run, source or pictures_of(run))
    pipeline = Pipeline(
        frames,
        engine,
        protocol=run.protocol,
        orientation=Orientation(run.options.get("orientation") or Orientation.AUTO),
        preprocessor=preprocessor,
        lag_s=float(run.options.get("lag_s") or 0.0),
    )
    with pipeline:
        yield from pipeline
