"""What of a finished run goes into files for others: its pushes, its best frames, each number with both intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stream.common.errors import OptionError, RunUnreadable
from stream.exports.verification import changes_of, said_of_changes
from stream.frames.frame import SegmentCause
from stream.labour.course import aop_course, run_noise, run_pushes
from stream.labour.edits import edits_in_force
from stream.labour.pushes import resting
from stream.measurement.biometry import LANDMARK_NAMES
from stream.outputs.results_folder import RESULTS
from stream.outputs.run_log import configuration_sha256
from stream.pipeline.record import FrameState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from stream.labour.pushes import Push
    from stream.labour.recorded_run import RecordedRun

    Bounds = tuple[float, float]

LENGTHS = ("hsd_min", "hsd_perp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number of a frame or a push.

    Attributes:
        name: `aop`, `aop_raw`, `hsd_min`, `hsd_perp`, `rest`, `peak`, `difference`; of a review `aop_revised`,
            `hsd_min_revised`, `hsd_perp_revised`, and beside them `aop_raw`, `hsd_min_raw`.
        unit: `deg`, `mm` or `px`.
        value: in that unit.
        repeatability: the 95 % interval of what the same scan would give again; None where there is none.
        absolute: the 95 % interval of where an expert would put it; None where it is not known.
    """

    name: str
    unit: str
    value: float
    repeatability: Bounds | None = None
    absolute: Bounds | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ExportedFrame:
    """One measured frame.

    Attributes:
        index: of the frame in the run.
        time_s: its presentation time.
        role: why it was chosen, for people.
        quantities: what was measured.
        landmarks: points by name, in pixels of the frame, pixel centres at integers; those that exist.
        origin: column and row of the frame's first pixel in the picture of the source.
    """

    index: int
    time_s: float
    role: str
    quantities: Sequence[Quantity]
    landmarks: dict[str, tuple[float, float]]
    origin: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ReviewedFrame:
    """What a person said of a frame, beside what was read automatically.

    Attributes:
        index: of the frame in the run.
        time_s: its presentation time.
        kind: `confirm`, `points` or `outlines`.
        by: who.
        edited_utc: when, ISO 8601.
        note: words of the person, or "".
        reason: why there are no values; None where there are, or where the automatic ones were confirmed.
        values: as corrected; empty where the automatic ones were confirmed.
        automatic: as read from this frame alone; empty where it was not measured.
    """

    index: int
    time_s: float
    kind: str
    by: str
    edited_utc: str
    note: str
    reason: str | None
    values: Sequence[Quantity]
    automatic: Sequence[Quantity]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RunSummary:
    """See the module.

    Attributes:
        run: it is of.
        run_id: a random number that stands for it.
        configuration_sha256: of what its numbers depend on.
        pushes: in order.
        frames: best frame of each push, best frame at rest, and those asked for.
        reviews: frames that a person confirmed or corrected, in order.
        changes: that files of the run were changed after it, for people; empty where they were not.
    """

    run: RecordedRun
    run_id: str
    configuration_sha256: str
    pushes: Sequence[Push]
    frames: Sequence[ExportedFrame]
    reviews: Sequence[ReviewedFrame]
    changes: str = ""

    @property
    def notices(self) -> Sequence[str]:
        """What must be said with every number, beside that it is for research alone."""
        return [each for each in (self.changes, self.run.made_note) if each]

    @property
    def counts(self) -> dict[str, int]:
        """Frames read, measured, refused, dropped."""
        each = {str(state): int(self.run.table.is_in(state).sum()) for state in FrameState}
        return {"frames_in": len(self.run), **each}

    @property
    def trace(self) -> dict[str, str]:
        """What every number leads back to, beside its frame."""
        model = self.run.model
        return {
            "run": self.run_id,
            "model": str(model.get("name")),
            "model sha256": str(model.get("sha256")),
            "configuration sha256": self.configuration_sha256,
            "engine": str(self.run.manifest.get("engine")),
            "protocol": self.run.protocol,
        }


def summarise(run: RecordedRun, *, also: Sequence[int] = ()) -> RunSummary:
    """Chooses what is exported.

    Args:
        run: finished.
        also: indices of further frames.

    Raises:
        OptionError: one of these does not exist, or was not measured.
        TrackError: time goes back within a segment.
    """
    course = aop_course(run.table, noise=run_noise(run))
    pushes = run_pushes(run, course)
    roles: dict[int, str] = {}
    for number, push in enumerate(pushes, 1):
        if push.best_row is not None:
            roles[push.best_row] = f"best frame of push {number}"
    best = _best_of(run, resting(course, pushes))
    if best is not None:
        roles.setdefault(best, "best frame at rest" if pushes else "best frame")
    for index in also:
        if not 0 <= index < len(run):
            raise OptionError(f"--frame {index}: the run has the frames 0 to {len(run) - 1}")
        if run.table.words("state")[index] != FrameState.MEASURED:
            raise OptionError(f"--frame {index}: was not measured ({run.table.words('reason')[index]})")
        roles.setdefault(index, "frame asked for")
    return RunSummary(
        run=run,
        run_id=run_id_of(run),
        configuration_sha256=configuration_sha256(run.manifest),
        pushes=pushes,
        frames=[frame_numbers(run, index, role) for index, role in sorted(roles.items())],
        reviews=[_reviewed(edit) for edit in edits_in_force(run).values()],
        changes=said_of_changes(changes_of(run.folder)),
    )


def _reviewed(edit: Mapping[str, Any]) -> ReviewedFrame:
    values, automatic = edit["values"], edit["automatic"]
    names = ("aop", *LENGTHS)
    return ReviewedFrame(
        index=int(edit["index"]),
        time_s=float(edit["pts_s"]),
        kind=str(edit["kind"]),
        by=str(edit["by"]),
        edited_utc=str(edit["edited_utc"]),
        note=str(edit.get("note") or ""),
        reason=edit.get("reason"),
        values=[each for name in names for each in _in_one_unit(name, f"{name}_revised", values)],
        automatic=[each for name in names for each in _in_one_unit(f"{name}_raw", f"{name}_raw", automatic)],
    )


def _in_one_unit(stem: str, name: str, values: Mapping[str, Any]) -> Iterator[Quantity]:
    """A number of an edit by its name without unit, in degrees, else in millimetres, else in pixels; or nothing."""
    for unit in ("deg", "mm", "px"):
        if (value := values.get(f"{stem}_{unit}")) is not None:
            yield Quantity(name=name, unit=unit, value=float(value))
            return


def run_id_of(run: RecordedRun) -> str:
    """The random number that stands for a run; of a run before there was one, the beginning of its first hash."""
    return str(run.manifest.get("run_id") or configuration_sha256(run.manifest)[:32])


def check_one_patient(run: RecordedRun) -> None:
    """Refuses a recording in which the picture is cut to another: it may show two patients.

    Raises:
        RunUnreadable: it is such a one; says where.
    """
    causes, times = run.table.words("segment_cause"), run.table.numbers("pts_s")
    segments = run.table.counts("segment")
    cuts = {int(segments[row]): row for row in reversed(range(len(run))) if causes[row] == SegmentCause.CUT}
    if cuts:
        row = min(cuts.values())
        raise RunUnreadable(
            f"{run.folder}: at {times[row]:.1f} s the picture is cut to another, so it may show more than one patient;"
            " give --one-patient if it shows one"
        )


def check_out(out: Path, *runs: RecordedRun) -> None:
    """Refuses to write over a file that a run itself wrote.

    Raises:
        OptionError: `out` is such a file, or lies in a folder of such.
    """
    for run in runs:
        if any(out.resolve().is_relative_to((run.folder / name).resolve()) for name in RESULTS):
            raise OptionError(f"--out {out}: is a file of the run {run.folder} itself; give another name")


def _best_of(run: RecordedRun, rows: np.typing.NDArray[np.bool_]) -> int | None:
    """The frame of best quality whose reading was accepted, among some; else among all; else any that was measured."""
    measured = run.table.is_in(FrameState.MEASURED) & np.isfinite(run.table.numbers("aop_raw_deg"))
    accepted = measured & np.isfinite(run.table.numbers("aop_deg"))
    chosen = next((each for each in (accepted & rows, accepted, measured) if each.any()), None)
    if chosen is None:
        return None
    quality = np.nan_to_num(run.table.numbers("quality"), nan=0.0)
    return int(np.argmax(np.where(chosen, quality, -1.0)))


def frame_numbers(run: RecordedRun, index: int, role: str) -> ExportedFrame:
    """The numbers of a measured frame."""
    table = run.table
    points = {name: table.points(name)[index] for name in LANDMARK_NAMES}
    return ExportedFrame(
        index=index,
        time_s=float(table.numbers("pts_s")[index]),
        role=role,
        quantities=tuple(_quantities(run, index)),
        landmarks={name: (float(x), float(y)) for name, (x, y) in points.items() if math.isfinite(x)},
        origin=(int(table.counts("origin_x_px")[index]), int(table.counts("origin_y_px")[index])),
    )


def _quantities(run: RecordedRun, index: int) -> Iterator[Quantity]:
    def number(column: str) -> float:
        return float(run.table.numbers(column)[index])

    def bounds(stem: str, unit: str) -> Bounds | None:
        low, high = number(f"{stem}_lo95_{unit}"), number(f"{stem}_hi95_{unit}")
        return (low, high) if math.isfinite(low) and math.isfinite(high) else None

    if math.isfinite(value := number("aop_deg")):
        absolute = bounds("aop_absolute", "deg")
        yield Quantity(name="aop", unit="deg", value=value, repeatability=bounds("aop", "deg"), absolute=absolute)
    yield Quantity(name="aop_raw", unit="deg", value=number("aop_raw_deg"), absolute=bounds("aop_raw_absolute", "deg"))
    for name in LENGTHS:
        unit = "mm" if math.isfinite(number(f"{name}_raw_mm")) else "px"
        if math.isfinite(value := number(f"{name}_{unit}")):
            yield Quantity(name=name, unit=unit, value=value, repeatability=bounds(name, unit))


def push_quantities(push: Push) -> Sequence[Quantity]:
    """Rest, peak and difference of a push, with their intervals; those that it has."""
    levels = {"rest": push.rest, "peak": push.peak, "difference": push.difference}
    return [
        Quantity(
            name=name,
            unit="deg",
            value=level.value,
            repeatability=(level.lo95, level.hi95),
            absolute=level.absolute,
        )
        for name, level in levels.items()
        if level
    ]
