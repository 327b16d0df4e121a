"""The web page of a finished run, served as the live page is: same access control, same limits.

GET  /                     the page, and its files below /static/
GET  /api/run              the whole run, see `stream.review.messages`
GET  /api/frames/{row}     a frame: length of the JSON (4 bytes, big-endian), the JSON, a PNG or nothing
GET  /api/outlines/{row}   what the network sees in it
POST /api/measure/{row}    what an edit gives; nothing is kept
POST /api/edits/{row}      keeps an edit, see `stream.labour.edits`
POST /api/marks/{row}      keeps a mark, see `stream.outputs.marks`
"""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.errors import PartumError
from stream.common.errors import OptionError
from stream.frames.reason import Reason
from stream.labour.edits import EditKind, add_edit
from stream.labour.run_marks import TypedMark, add_marks
from stream.measurement.protocols import find_protocol
from stream.outputs.marks import WEB_PAGE, parse_kind, plain_text
from stream.outputs.web.broadcast import pack_message
from stream.outputs.web.service import PAGE, WebService, page_file
from stream.outputs.web.state import thinned_outline
from stream.review.measuring import FrameEdit, measure_edit
from stream.review.messages import ReviewMessages

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from stream.frames.frame import Frame
    from stream.labour.edits import EditedReading
    from stream.labour.run_network import RunNetwork, SegmentedFrame
    from stream.outputs.web.settings import WebSettings
    from stream.report.content import RunContent
    from stream.review.store import PictureStore

REVIEW_PAGE = Path(__file__).parent / "page"
LARGEST_BODY = 1 << 17
"""Bytes that a page may send: two outlines of some hundred points."""


class ReviewServer(WebService):
    """Serves one run; runs from `__enter__` to `__exit__`.

    Args:
        content: the run's numbers.
        pictures: of it.
        network: of the run, for outlines.
        settings: of the page.
        listening: a socket that listens already.
    """

    def __init__(
        self,
        content: RunContent,
        pictures: PictureStore,
        network: RunNetwork,
        *,
        settings: WebSettings,
        listening: socket.socket | None = None,
    ) -> None:
        self._content, self._pictures, self._network = content, pictures, network
        self._messages = ReviewMessages(content, pictures)
        self._writing = threading.Lock()
        super().__init__(settings, listening=listening)

    def routes(self) -> list[Any]:
        from starlette.routing import Route

        return [
            Route("/", self._page),
            Route("/static/{name}", self._static),
            Route("/api/run", self._answering(self._whole_run)),
            Route("/api/frames/{row:int}", self._frame),
            Route("/api/outlines/{row:int}", self._answering(self._outlines)),
            Route("/api/measure/{row:int}", self._answering(self._measure), methods=["POST"]),
            Route("/api/edits/{row:int}", self._answering(self._edit), methods=["POST"]),
            Route("/api/marks/{row:int}", self._answering(self._mark), methods=["POST"]),
        ]

    async def _page(self, request: Any) -> Any:
        return page_file("review.html", REVIEW_PAGE)

    async def _static(self, request: Any) -> Any:
        return page_file(request.path_params["name"], REVIEW_PAGE, PAGE)

    async def _frame(self, request: Any) -> Any:
        from starlette.responses import PlainTextResponse, Response

        row = request.path_params["row"]
        if not 0 <= row < len(self._content.run):
            return PlainTextResponse("the run has no such frame", 404)
        try:
            packed = await asyncio.to_thread(self._packed_frame, row)
        except PartumError as error:
            return PlainTextResponse(str(error), 409)
        return Response(packed, media_type="application/octet-stream")

    def _packed_frame(self, row: int) -> bytes:
        return pack_message(self._messages.frame(row), self._pictures.encoded(row) or b"")

    def _answering(self, answer: Callable[[int, Any], Any]) -> Callable[[Any], Any]:
        """A handler that answers with JSON, or says in words what is wrong with a request."""

        async def handle(request: Any) -> Any:
            from starlette.responses import JSONResponse, PlainTextResponse

            row = request.path_params.get("row", 0)
            if "row" in request.path_params and not 0 <= row < len(self._content.run):
                return PlainTextResponse("the run has no such frame", 404)
            try:
                content = await _content_of(request) if request.method == "POST" else None
                return JSONResponse(await asyncio.to_thread(answer, row, content))
            except OptionError as error:
                return PlainTextResponse(str(error), 400)
            except PartumError as error:
                return PlainTextResponse(str(error), 409)

        return handle

    def _whole_run(self, row: int, content: Any) -> dict[str, Any]:
        return self._messages.run()

    def _outlines(self, row: int, content: Any) -> dict[str, Any]:
        frame = self._pictures.frame(row)
        if frame is None:
            return {"why": ""}
        seen, why = self._segmented(frame)
        if seen is None:
            return {"why": why}
        return {"ps": thinned_outline(seen.outlines.ps_px), "fh": thinned_outline(seen.outlines.fh_px), "why": why}

    def _segmented(self, frame: Frame) -> tuple[SegmentedFrame | None, str]:
        """What the network sees in a frame; None, and why, where that is not known."""
        try:
            seen = self._network.segmented(frame)
        except PartumError as error:
            return None, f"no outlines: {error}"
        is_measured = self._content.run.table.words("state")[frame.index] == "measured"
        if is_measured and not seen.is_as_recorded:
            return None, "no outlines: the network here does not see what the run saw"
        return seen, ""

    def _measured(self, row: int, content: Any) -> tuple[Frame, FrameEdit, EditedReading]:
        frame = self._pictures.frame(row)
        if frame is None:
            raise OptionError("there is no picture of this frame, so it cannot be edited")
        edit = FrameEdit.parse(content, shape=frame.image.shape)
        if edit.is_empty:
            raise OptionError("nothing was changed")
        spacing, protocol = frame.spacing, self._content.run.protocol
        reading = measure_edit(
            edit,
            frame,
            protocol=protocol,
            is_mirrored=bool(self._messages.is_mirrored[row]),
            seen=self._segmented(frame)[0],
            mm_per_px=spacing.y_mm if spacing and not find_protocol(protocol).is_squeezed else None,
        )
        return frame, edit, reading

    def _measure(self, row: int, content: Any) -> dict[str, Any]:
        _, _, reading = self._measured(row, content)
        words = Reason(reading.reason).text if reading.reason else ""
        return {
            "values": reading.values,
            "landmarks_px": reading.landmarks_px,
            "reason": reading.reason,
            "reason_words": words,
        }

    def _edit(self, row: int, content: Any) -> dict[str, Any]:
        by = plain_text(str(content.get("by") or ""))
        if not by:
            raise OptionError("say first who reviews")
        try:
            kind = EditKind(content.get("kind"))
        except ValueError:
            raise OptionError(f"{content.get('kind')!r} is no kind of edit") from None
        reading = None
        if kind in (EditKind.POINTS, EditKind.OUTLINES):
            _, _, reading = self._measured(row, content)
        elif kind is EditKind.CONFIRM and self._content.run.table.words("state")[row] != "measured":
            raise OptionError("this frame was not measured, so there is nothing to confirm")
        size = self._pictures.size(row) or (0, 0, 1.0)
        with self._writing:
            line = add_edit(
                self._content.run,
                row,
                kind,
                by=by,
                size_px=size[:2],
                reading=reading,
                note=str(content.get("note") or ""),
            )
        return {"line": line, "edits": self._messages.edited_rows()}

    def _mark(self, row: int, content: Any) -> dict[str, Any]:
        mark = TypedMark(
            time_s=float(self._content.axis.time_s[row]),
            kind=parse_kind(str(content.get("kind"))),
            note=str(content.get("note") or ""),
        )
        by = plain_text(str(content.get("by") or "")) or WEB_PAGE
        with self._writing:
            add_marks(self._content.run, self._content.axis, [mark], by=by)
            return {"marks": self._messages.marks(), "pushes": self._messages.pushes()}


async def _content_of(request: Any) -> dict[str, Any]:
    """The JSON object that a page sent.

    Raises:
        OptionError: it is none, or too large.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise OptionError("send JSON")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            raise OptionError(f"this is more than {LARGEST_BODY} bytes")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise OptionError("this is no JSON") from error
    if not isinstance(content, dict):
        raise OptionError("this is no object")
    return content
