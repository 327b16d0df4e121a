"""An engine that goes on with the next back-end where one cannot start, or fails while it runs."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engines.base import AnsweringEngine, Engine
from engines.closing import close_after
from engines.errors import EngineError, InferenceError, ModelMismatch
from engines.runtime import error_summary, none_starts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np
    from numpy.typing import NDArray

    from engines.base import EngineDescription, ModelSpec, Prediction

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A back-end that may run, and how it is started; `name` is for people."""

    name: str
    load: Callable[[], Engine]


class FailoverEngine(Engine):
    """Runs the first of several engines that starts; where it fails while it runs, the next one goes on.

    Convention: the images of the call that failed are given to the next engine, so that no frame is lost, and every
    answer says who gave it (`Prediction.engine`). An engine that failed is closed and not tried again. What each one
    was passed over for is in `notices`.

    Args:
        candidates: of one model, the preferred one first; each is started when the one before it has failed.
        notices: said of them already; a list grows while `candidates` are made, where they are made one by one.

    Raises:
        ModelMismatch: every candidate refuses the model.
        EngineUnavailable: none of them can start; says why of each.
        DeviceBusy: likewise, and one of them for want of memory or of a device that another process has.
    """

    def __init__(self, candidates: Iterable[Candidate], notices: list[str] | None = None) -> None:
        self._left = iter(candidates)
        self._notices = [] if notices is None else notices
        self._errors: list[Exception] = []
        self._is_open = True
        started = self._start_next()
        if started is None:
            reasons = "; ".join(self._notices) or "none is installed"
            said = f"no back-end can run here: {reasons}"
            is_refused = bool(self._errors) and all(isinstance(error, ModelMismatch) for error in self._errors)
            raise ModelMismatch(said) if is_refused else none_starts(said, self._errors)
        self._current = started, AnsweringEngine(started.description, started.spec)
        self._replacing = threading.Lock()

    def _start_next(self) -> Engine | None:
        """The next candidate that starts; None where there is none left."""
        for candidate in self._left:
            try:
                return candidate.load()
            except Exception as error:  # noqa: BLE001 - a runtime that is broken may raise anything when it starts
                self._errors.append(error)
                what = error_summary(error)
                self._notices.append(what if candidate.name in what else f"{candidate.name}: {what}")
        return None

    @property
    def description(self) -> EngineDescription:
        return self._current[1].description

    @property
    def spec(self) -> ModelSpec:
        return self._current[1].spec

    @property
    def notices(self) -> tuple[str, ...]:
        return tuple(self._notices)

    def infer(self, images: NDArray[np.uint8]) -> Prediction:
        """Runs (B, 1, H, W) grey images; see `engines.base.Engine`.

        Raises:
            ModelMismatch: dtype or shape differ from the spec.
            InferenceError: closed already, or the last of the engines failed too.
        """
        if not self._is_open:
            raise InferenceError(f"{self.name}: closed already; load the engine again")
        while True:
            engine, answering = self._current
            try:
                answer = engine.infer(images)
            except ModelMismatch:
                raise
            except EngineError as error:
                self._replace(engine, error)
            else:
                return replace(answer, engine=answering)

    def _replace(self, engine: Engine, error: EngineError) -> None:
        """Closes the engine that failed with `error`, and starts the next one; raises where there is none.

        Calls may run side by side: one replaces it, the others find it replaced.
        """
        with self._replacing:
            if engine is not self._current[0]:
                return
            failed = self._current[1]
            close_after(error, engine.close)
            name = failed.description.name
            why = f"{name} failed: {error_summary(error).removeprefix(f'{name}: ')}"
            self._notices.append(why)
            _log.info("%s", why)
            started = self._start_next()
            if started is None:
                raise InferenceError(f"{why}; no other back-end is left") from error
            if (started.spec.height, started.spec.width) != (failed.spec.height, failed.spec.width):
                close_after(error, started.close)
                raise InferenceError(f"{why}; {started.name} takes pictures of another size") from error
            self._current = started, AnsweringEngine(started.description, started.spec, why)

    def close(self) -> None:
        """Closes the engine that runs. Closing twice is harmless."""
        self._is_open = False
        self._current[0].close()
