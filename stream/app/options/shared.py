"""Every option that commands share, declared once, by what it is about: source, analysis, outputs, web.

To add one: a field here, and the line that uses it. Command line, configuration file, manual and `run.json` follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from engines.registry import AUTO, BACKENDS, PRECISIONS
from stream.app.options.declare import OptionTable, as_option, declare, declared_fields, key_of
from stream.app.options.values import (
    Decoder,
    FilePath,
    Folder,
    ModelName,
    Noise,
    Number,
    OneOf,
    Pace,
    Profile,
    ScannerProfile,
    SectorBox,
    Spacing,
    Text,
    Whole,
)
from stream.measurement.biometry import Orientation
from stream.measurement.protocols import DEFAULT_PROTOCOL, PROTOCOLS
from stream.pipeline.lag_buffer import MOST_LAG_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stream.app.options.declare import Option
    from stream.frames.frame import PixelSpacing
    from stream.frames.regions import Box
    from stream.tracking.kalman import FilterNoise

T = TypeVar("T")

RUNS = ("replay", "attach")
"""The commands that put the frames of one source through the pipeline."""
MANY = ("batch", "receive")
"""Those that put many recordings through it."""
ALL_RUNS = (*RUNS, *MANY, "archive")


@dataclass(frozen=True, kw_only=True)
class SourceOptions(OptionTable):
    """Which frames come, how fast, and what is known of the screen they are of.

    Attributes:
        source: path or URI; None plays the demonstration clip.
        live: the source is a live feed: the newest frame wins, and it runs until it is stopped.
        spacing: millimetres per pixel, in the place of what the source says.
        pace: how many times as fast as recorded; None as fast as possible.
        loop: replay without end.
        duration_s: ends a live run by itself; None goes on.
        decode: what decodes video.
        sector: `auto`, `whole` or a box (left, top, width, height); None takes the profile's, else `auto`.
        pane: which of two pictures side by side; None takes the profile's.
        tick_mm: from tick to tick of the ruler on the screen; None takes the profile's.
        profile: what of a scanner's screen stays.
        stills: pictures have nothing to do with each other: each is measured by itself, without a track.
    """

    TABLE: ClassVar[str] = "source"

    source: str | None = None
    live: bool = False
    spacing: PixelSpacing | None = declare(
        None,
        "--spacing",
        type=Spacing(),
        on=(*ALL_RUNS, "measure"),
        help="Millimetres per pixel in x and y, where the source does not state them.",
    )
    pace: float | None = declare(
        None, "--pace", type=Pace(), on=("replay",), shown_default="asap", help="How fast frames are released."
    )
    loop: bool = declare(
        False, "--loop", is_flag=True, on=("replay",), help="Play the recording again and again until Ctrl-C."
    )
    duration_s: float | None = declare(
        None,
        "--duration",
        type=Number(min=0, max=1e7, min_open=True),
        metavar="SECONDS",
        on=("attach",),
        help="End after so many seconds.",
    )
    decode: str = declare(
        "cpu",
        "--decode",
        type=Decoder(),
        on=RUNS,
        help="What decodes video: cpu, or cuda (cuda:1) for an NVIDIA GPU, which falls back on the CPU and says so.",
    )
    sector: str | Box | None = declare(
        None,
        "--sector",
        type=SectorBox(),
        on=ALL_RUNS,
        shown_default="auto, or the profile's",
        help="Where the ultrasound is: auto finds it, 800x600+100+50 is a box. Only its pixels are shown and written;"
        " whole takes, shows and writes pictures as they are, names and all.",
    )
    pane: str | None = declare(
        None, "--pane", type=OneOf(["left", "right"]), on=ALL_RUNS, help="Which of two pictures side by side."
    )
    tick_mm: float | None = declare(
        None,
        "--tick-mm",
        type=Number(min=0.1, max=100),
        metavar="MM",
        on=ALL_RUNS,
        help="From tick to tick of the ruler on the screen.",
    )
    profile: ScannerProfile | None = declare(
        None,
        "--profile",
        type=Profile(),
        on=ALL_RUNS,
        help="TOML file with what of a scanner's screen stays: screen, sector, pane, tick_mm, spacing_mm.",
    )
    stills: bool = declare(
        False,
        "--stills",
        is_flag=True,
        on=("batch", "archive"),
        help="Each picture by itself, of any size, without a track; by default the pictures of a folder are a film.",
    )


@dataclass(frozen=True, kw_only=True)
class AnalysisOptions(OptionTable):
    """How a frame becomes a measurement.

    Attributes:
        backend: what runs the network; `auto` takes the fastest that is there.
        device: what it runs on, `cpu` or `cuda:1`; None takes the first GPU, or the CPU.
        precision: the only one that the network may compute in; None takes what is fastest of what is right.
        model: an ONNX file or `triton://host:port/name`; None takes the one that ships.
        protocol: definition of AoP and HSD.
        orientation: which way round the pictures are.
        early_exit: decode only frames that may be standard planes.
        noise: what the filter assumes of AoP in degrees; None takes what ships.
        lag_s: by which results come later, smoothed by what was measured meanwhile.
    """

    TABLE: ClassVar[str] = "analysis"

    backend: str = declare(
        AUTO,
        "--backend",
        type=OneOf(BACKENDS),
        on=(*ALL_RUNS, "evaluate", "weak-labels", "bench stream"),
        help="What runs the network.",
    )
    device: str | None = declare(
        None,
        "--device",
        type=Text(),
        on=(*ALL_RUNS, "evaluate", "weak-labels", "bench stream"),
        shown_default="the first GPU that can be used, or the CPU",
        help="Where: cpu, or a GPU such as cuda:1.",
    )
    precision: str | None = declare(
        None,
        "--precision",
        type=OneOf(PRECISIONS),
        on=(*RUNS, "evaluate", "bench stream"),
        shown_default="the fastest that is right on this machine",
        help="What the network computes in.",
    )
    model: str | None = declare(
        None,
        "--model",
        type=ModelName(),
        on=(*ALL_RUNS, "evaluate", "bench stream"),
        shown_default="the one that ships",
        help="ONNX model, or triton://host:port/name.",
    )
    protocol: str = declare(
        DEFAULT_PROTOCOL,
        "--protocol",
        type=OneOf(PROTOCOLS),
        on=(*ALL_RUNS, "measure"),
        help="; ".join(f"{name}: {protocol.summary}" for name, protocol in PROTOCOLS.items()),
    )
    orientation: Orientation = declare(
        Orientation.AUTO,
        "--orientation",
        type=OneOf(Orientation),
        on=(*ALL_RUNS, "measure", "evaluate"),
        help="Whether the pictures are mirrored (PS on the right); auto finds out.",
    )
    early_exit: bool = declare(
        False, "--early-exit", is_flag=True, on=ALL_RUNS, help="Decode only frames that may be standard planes."
    )

    noise: FilterNoise | None = declare(
        None,
        "--noise",
        type=Noise(),
        metavar="FILE",
        on=ALL_RUNS,
        shown_default="constants that ship",
        help="Constants of the filter of AoP, as partum calibrate noise writes them.",
    )
    lag_s: float = declare(
        0.0,
        "--lag",
        type=Number(min=0, max=MOST_LAG_S),
        metavar="SECONDS",
        on=ALL_RUNS,
        help="Give every result so much later, smoothed by what was measured meanwhile.",
    )


@dataclass(frozen=True, kw_only=True)
class OutputOptions(OptionTable):
    """What is written, and sent.

    Attributes:
        out: folder for the results; None makes a new one.
        overlay: write `overlay.mp4`.
        tables_only: write no film and no picture.
        record: keep the pictures too, so that the run can be replayed.
        smooth: write `smoothed.csv` too.
        masks: keep the mask of every frame too.
        igtl_out: port to offer the results at by OpenIGTLink, on this machine alone; None offers none.
    """

    TABLE: ClassVar[str] = "outputs"

    out: Path | None = declare(
        None,
        "-o",
        "--out",
        type=Folder(path_type=Path),
        metavar="FOLDER",
        on=RUNS,
        shown_default="a new one below partum-runs/",
        help="Folder for the results.",
    )
    overlay: bool = declare(
        True, "--overlay/--no-overlay", on=RUNS, defaults={"attach": False}, help="Write overlay.mp4."
    )
    tables_only: bool = declare(
        False, "--tables-only", is_flag=True, on=MANY, help="Write tables alone: no film, no plot, no picture."
    )
    record: bool = declare(
        False,
        "--record",
        is_flag=True,
        on=("attach",),
        help="Keep the pictures too, without loss, so that it can be replayed.",
    )
    smooth: bool = declare(
        False,
        "--smooth",
        is_flag=True,
        on=("replay", "batch"),
        help="Write smoothed.csv too: AoP and HSD of every frame by all that was measured before and after it.",
    )
    masks: bool = declare(
        False,
        "--masks",
        is_flag=True,
        on=(*RUNS, "batch"),
        help="Keep the mask of every frame too, without loss (masks.jsonl).",
    )
    igtl_out: int | None = declare(
        None,
        "--igtl-out",
        type=Whole(0, 65535),
        metavar="PORT",
        on=("attach",),
        help="Offer the results by OpenIGTLink at this port, on this machine.",
    )


@dataclass(frozen=True, kw_only=True)
class WebOptions(OptionTable):
    """The page in a browser, and who may see it.

    Attributes:
        serve: its address, `host:port`; None serves none.
        token: access token for viewers; None generates one where other machines can reach the page.
        allow_hosts: names by which viewers may call it, beside its address.
        tls_cert, tls_key: PEM files, to serve it by HTTPS.
    """

    TABLE: ClassVar[str] = "web"

    serve: str | None = declare(
        None,
        "--serve",
        type=Text(),
        metavar="HOST:PORT",
        on=RUNS,
        help="Show it in a browser, for example at 127.0.0.1:8400.",
    )
    token: str | None = declare(
        None,
        "--token",
        type=Text(),
        on=RUNS,
        is_secret=True,
        shown_default="generated and printed",
        help="Access token for viewers on other machines.",
    )
    allow_hosts: tuple[str, ...] = declare(
        (),
        "--allow-host",
        type=Text(),
        metavar="NAME",
        multiple=True,
        on=RUNS,
        help="Name by which viewers may call the page, beside its address; may be repeated.",
    )
    tls_cert: Path | None = declare(
        None, "--tls-cert", type=FilePath(path_type=Path), on=RUNS, help="Certificate (PEM): serve the page by HTTPS."
    )
    tls_key: Path | None = declare(
        None, "--tls-key", type=FilePath(path_type=Path), on=RUNS, help="Its key (PEM), where that is another file."
    )


SHARED: tuple[type[OptionTable], ...] = (SourceOptions, AnalysisOptions, OutputOptions, WebOptions)
"""In the order of the help."""


def options_of(command: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Adds the options that are declared for a command to its function, which takes them by the names of the fields."""
    made = [
        as_option(each, kind, command) for kind in SHARED for each, what in declared_fields(kind) if command in what.on
    ]

    def add(function: Callable[..., T]) -> Callable[..., T]:
        known = getattr(function, "__click_params__", [])  # as Click's own decorators keep them: last first
        function.__click_params__ = [*known, *reversed(made)]  # type: ignore[attr-defined]
        return function

    return add


@cache
def shared_options() -> Mapping[str, Mapping[str, Option]]:
    """The tables that commands share in a configuration file, with the options of each by their keys."""
    found: dict[str, dict[str, Option]] = {}
    for kind in SHARED:
        options = [as_option(each, kind, what.on[0]) for each, what in declared_fields(kind)]
        found[kind.TABLE] = {key_of(option): option for option in options}
    return found
