"""The tables of `ward.toml`, beside those that it shares with `partum.toml`: every key, declared once.

To add a key: a field here, and the line that uses it. Reading, checking and the manual follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stream.app.options.declare import OptionTable, declare
from stream.app.options.values import FilePath, Folder, Number, Pace, PathOrAddress, Text, Whole

WARD = ("ward",)


@dataclass(frozen=True, kw_only=True)
class FeedTable(OptionTable):
    """`[feeds.NAME]`, beside the keys of `partum attach` in `[source]`.

    Attributes:
        source: address of a live feed; a recording or `phantom:` is played in a loop, as if it were one.
        label: what the wall calls it; None takes NAME.
        rate_hz: frames a second that admission counts on.
        force: admit it whatever the machine can carry.
        pace: of a recording, how many times as fast as recorded; None as fast as possible.
    """

    TABLE: ClassVar[str] = "feeds.NAME"

    source: str | None = declare(
        None, "--source", type=PathOrAddress(), on=WARD, help="Address of the feed, as of partum attach. Needed."
    )
    label: str | None = declare(
        None, "--label", type=Text(), on=WARD, shown_default="NAME", help="What the wall calls it; no patient's name."
    )
    rate_hz: float = declare(
        30.0,
        "--rate",
        type=Number(min=0.1, max=240),
        metavar="HZ",
        on=WARD,
        help="Frames a second that are expected of it, for admission.",
    )
    force: bool = declare(
        False, "--force", is_flag=True, on=WARD, help="Let it in, whatever the machine was found to carry."
    )
    pace: float | None = declare(
        1.0,
        "--pace",
        type=Pace(),
        on=WARD,
        shown_default="realtime",
        help="How fast a recording is played, where the source is one.",
    )


@dataclass(frozen=True, kw_only=True)
class LimitsTable(OptionTable):
    """`[limits]`: from when on a feed is refused, or its process replaced.

    Attributes:
        deadline_ms: results of all feeds must be expected at most so long after capture, or a feed is refused.
        stuck_s: a process that gives no sign, or no frame of a live source, for so long is replaced.
        memory_mb: a feed's process that holds more is replaced.
    """

    TABLE: ClassVar[str] = "limits"

    deadline_ms: float = declare(
        100.0,
        "--deadline-ms",
        type=Number(min=1, max=10_000),
        metavar="MS",
        on=WARD,
        help="A feed with which results would be expected later than so long after capture is refused.",
    )
    stuck_s: float = declare(
        10.0,
        "--stuck",
        type=Number(min=0.5, max=3600),
        metavar="SECONDS",
        on=WARD,
        help="A process that gives no sign of life, or no frame of a source that is there, for so long is replaced.",
    )
    memory_mb: float = declare(
        2048.0,
        "--memory-mb",
        type=Number(min=64, max=1e7),
        metavar="MB",
        on=WARD,
        help="A feed's process that holds more memory is replaced.",
    )


@dataclass(frozen=True, kw_only=True)
class RecordingTable(OptionTable):
    """`[recording]`: what is written, and how long it stays.

    Attributes:
        folder: of all feeds, a folder each below it; None writes nothing.
        pictures: keep pictures too, without loss.
        part_minutes: a feed's results go into a new folder so often.
        keep_hours: a part that ended longer ago is deleted.
        keep_gb: the oldest parts are deleted where all together are larger.
        reserve_gb: of the disk, always left free.
    """

    TABLE: ClassVar[str] = "recording"

    folder: Path | None = declare(
        None,
        "--folder",
        type=Folder(path_type=Path),
        metavar="FOLDER",
        on=WARD,
        shown_default="none: nothing is written",
        help="Where results are written, a folder for each feed.",
    )
    pictures: bool = declare(
        False, "--pictures", is_flag=True, on=WARD, help="Keep the pictures too, without loss, as attach --record does."
    )
    part_minutes: float = declare(
        10.0,
        "--part-minutes",
        type=Number(min=0.01, max=1440),
        metavar="MINUTES",
        on=WARD,
        help="A feed's results go into a new folder so often; it is whole folders that are deleted.",
    )
    keep_hours: float = declare(
        72.0,
        "--keep-hours",
        type=Number(min=0, max=1e6, min_open=True),
        metavar="HOURS",
        on=WARD,
        help="Results that ended longer ago are deleted.",
    )
    keep_gb: float = declare(
        50.0,
        "--keep-gb",
        type=Number(min=0, max=1e7, min_open=True),
        metavar="GB",
        on=WARD,
        help="Of all feeds together; beyond it the oldest are deleted.",
    )
    reserve_gb: float = declare(
        5.0,
        "--reserve-gb",
        type=Number(min=0, max=1e7),
        metavar="GB",
        on=WARD,
        help="Left free on the disk: the oldest are deleted for it, and where that is not enough nothing is written.",
    )


@dataclass(frozen=True, kw_only=True)
class WallTable(OptionTable):
    """`[web]`: the wall page, and who may see it.

    Attributes:
        host, port: to listen on; port 0 takes a free one.
        allow_hosts: names by which viewers may call it, beside its address.
        tls_cert, tls_key: PEM files, to serve it by HTTPS.
    """

    TABLE: ClassVar[str] = "web"

    host: str = declare(
        "127.0.0.1", "--host", type=Text(), metavar="HOST", on=WARD, help="Address that the wall is served at."
    )
    port: int = declare(
        8400, "--port", type=Whole(0, 65535), metavar="PORT", on=WARD, help="Its port; 0 takes a free one."
    )
    allow_hosts: tuple[str, ...] = declare(
        (),
        "--allow-host",
        type=Text(),
        metavar="NAME",
        multiple=True,
        on=WARD,
        help="Names by which viewers may call it, beside its address.",
    )
    tls_cert: Path | None = declare(
        None, "--tls-cert", type=FilePath(path_type=Path), on=WARD, help="Certificate (PEM): serve it by HTTPS."
    )
    tls_key: Path | None = declare(
        None, "--tls-key", type=FilePath(path_type=Path), on=WARD, help="Its key (PEM), where that is another file."
    )


@dataclass(frozen=True, kw_only=True)
class TokensTable(OptionTable):
    """`[tokens]`: who may do what; a token of a role is any of its list.

    Attributes:
        watch: may look.
        mark: may look, and set marks.
        metrics: may read `/metrics`.
    """

    TABLE: ClassVar[str] = "tokens"

    watch: tuple[str, ...] = declare(
        (), "--watch", type=Text(), multiple=True, on=WARD, is_secret=True, help="Tokens of those who may look."
    )
    mark: tuple[str, ...] = declare(
        (),
        "--mark",
        type=Text(),
        multiple=True,
        on=WARD,
        is_secret=True,
        help="Tokens of those who may look and set marks.",
    )
    metrics: tuple[str, ...] = declare(
        (),
        "--metrics",
        type=Text(),
        multiple=True,
        on=WARD,
        is_secret=True,
        help="Tokens of those who may read /metrics alone, such as Prometheus.",
    )


@dataclass(frozen=True, kw_only=True)
class MetricsTable(OptionTable):
    """`[metrics]`.

    Attributes:
        serve: answer at `/metrics`.
        needs_token: only to who brings a token.
    """

    TABLE: ClassVar[str] = "metrics"

    serve: bool = declare(True, "--serve/--no-serve", on=WARD, help="Answer Prometheus at /metrics.")
    needs_token: bool = declare(
        True, "--needs-token/--open", on=WARD, help="Only to who brings a token; false answers everybody."
    )


TABLES: tuple[type[OptionTable], ...] = (
    FeedTable,
    LimitsTable,
    RecordingTable,
    WallTable,
    TokensTable,
    MetricsTable,
)
"""In the order of the manual."""
