"""A stream that repeats one result, its page in a browser, and what stands in the way of a measurement."""

from __future__ import annotations

import io
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from stream.common.clock import MonotonicClock
from stream.frames.frame import PixelSpacing
from stream.frames.reason import Reason
from stream.outputs.web.board import Board
from stream.outputs.web.server import WebServer
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import FrameState
from stream.pipeline.throughput import WINDOW_S
from stream.tracking.tracker import EstimateStatus
from tests.fakes.browser import Feeder, Peer, until
from tests.fakes.doubles import DrawnSource, GreyLevelEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from stream.pipeline.record import Measurement


def widest_result() -> Measurement:
    """A measured frame with a scale; its values are the widest there are."""
    with Pipeline(DrawnSource(30, spacing=PixelSpacing(0.8, 0.8)), GreyLevelEngine()) as pipeline:
        measured = list(pipeline)[20]
    assert measured.aop is not None
    assert measured.hsd_min is not None
    return replace(
        measured,
        aop=replace(measured.aop, value=178.4, std=9.0),
        hsd_min=replace(measured.hsd_min, value=104.4 / 0.8, std=9.0),
    )


LONG = (
    "rtsp://***@camera-in-the-delivery-room-3.ward.hospital.example:554/live/ch1: cannot be opened (Connection refused)"
)


class Screen:
    """A board that is fed, and its page in a browser."""

    def __init__(self, board: Board, feeder: Feeder, peer: Peer, page: Any, server: WebServer) -> None:
        self.board, self.feeder, self.peer, self.page, self.server = board, feeder, peer, page, server


@contextmanager
def shown(browser: Any, good: Measurement, *, size: tuple[int, int] = (1440, 900), **options: Any) -> Iterator[Screen]:
    peer = Peer()
    board = Board(
        clock=MonotonicClock(),
        source=peer,  # type: ignore[arg-type]
        name="rtsp://10.0.0.7:554/live/ch1",
        facts={"note": "ANIMATED STILL, not a recording", "print": {"model": "tiny", "engine": "openvino int8 CPU"}},
        remedies=("--early-exit", "a lower frame rate at the sender", "a faster machine (see: partum bench stream)"),
        **options,
    )
    feeder = Feeder(board)
    feeder.measurement = good
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    try:
        with WebServer([board], host="127.0.0.1", port=0) as server:
            page.goto(server.address)
            until(page, "live")
            yield Screen(board, feeder, peer, page, server)
    finally:
        feeder.close()
        board.close()
        page.close()
    assert [fault for fault in faults if "WebSocket" not in fault] == []


def refused(good: Measurement, reason: Reason, **changes: Any) -> Measurement:
    return replace(good, state=FrameState.REFUSED, reason=reason, biometry=None, **changes)


def held(good: Measurement) -> Measurement:
    assert good.aop is not None
    assert good.hsd_min is not None
    old: dict[str, Any] = {"status": EstimateStatus.HELD, "age_s": 0.7}
    return refused(good, Reason.CUT_BY_SECTOR, aop=replace(good.aop, **old), hsd_min=replace(good.hsd_min, **old))


def overloaded(board: Board, good: Measurement) -> None:
    """Drops of the last seconds, as many as a machine has that is eight times too slow."""
    for _ in range(round(8 * 25 * WINDOW_S)):
        board.write(replace(good, state=FrameState.DROPPED, reason=Reason.OVERLOAD))


def canvas_of(page: Any, name: str) -> NDArray[np.uint8]:
    """A canvas as it is on the screen, (H, W, 3)."""
    picture = Image.open(io.BytesIO(page.locator(f"{name} canvas").screenshot())).convert("RGB")
    return np.asarray(picture)
