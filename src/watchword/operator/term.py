# SPDX-License-Identifier: Apache-2.0
"""One term of leadership: everything that only a leader does, in a thread and a loop that end with it.

kopf, when it stops, cancels whatever task of its loop is younger than itself, and on the main thread it takes
SIGTERM over. On a loop of its own it can do neither harm, and nothing of one term, no cache and no write, can
reach into the next. The election goes on beside it, however busy a term is.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import Mapping
from typing import Any, Final, Protocol

import kopf

from watchword.operator.connection import Connection
from watchword.operator.hearing import Ears
from watchword.operator.kopfloop import KopfWatches
from watchword.operator.preflight import WATCHED, Obstacle, look
from watchword.operator.schema import watch_for_change
from watchword.process.logs import LOGGER

_LOOK_AGAIN_SECONDS: Final = 2.0
_BEAT_SECONDS: Final = 1.0
_FIRST_WORD_SECONDS: Final = 60.0
# An API server needs a moment to serve a CRD as it was changed, and there may be several of them.
_SETTLE_SECONDS: Final = 3.0
# The name under which the term's own loop is heard, beside the watches.
LOOP: Final = "loop"


class SilentWatch(Exception):
    """A watch has said nothing for too long; beginning anew is the only way to know what was missed."""


class Work(Protocol):
    """What a leader does (`watchword.operator.core.Operator`)."""

    def registry(self) -> kopf.OperatorRegistry:
        """The handlers that kopf calls, on the loop that `run` runs on."""

    async def run(self) -> None:
        """Work until cancelled; return only when no write is in flight any more."""

    def is_warm(self) -> bool:
        """Whether everything was read once and every bundle is right; from any thread."""

    def watch_ages(self) -> Mapping[str, float]:
        """Seconds since the last word of each watch that is not kopf's; from any thread."""


class Term:
    """A term; `start` it once. What is public may be asked from any thread."""

    def __init__(self, work: Work, connection: Connection, *, window_seconds: int) -> None:
        """Prepare a term of some work."""
        self.obstacle: Obstacle | None = None
        self.warnings: tuple[Obstacle, ...] = ()
        self._generations: Mapping[str, int] = {}
        self._work, self._connection, self._window = work, connection, window_seconds
        # Long after kopf should have made a silent request anew (kopfloop.py).
        self.silence_seconds = 2.0 * window_seconds + 30
        self._ears = Ears([])
        self._is_working = False
        # Ended: nothing of it runs any more. Idle: no write is in flight, and none will be.
        self.ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self.idle: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="term", daemon=True)

    def start(self) -> None:
        """Begin, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end; returns at once. See `idle` and `ended`."""
        loop = self._loop
        if loop is not None and not self.ended.done():
            loop.call_soon_threadsafe(self._stop.set)

    def is_warm(self) -> bool:
        """Whether every bundle is right by all that was read."""
        return self._is_working and self._ears.is_complete() and self._work.is_warm()

    def ages(self) -> Mapping[str, float]:
        """Seconds since the last word of each watch, and of the term's own loop (`LOOP`)."""
        ages = dict(self._ears.ages())
        if self._is_working:
            ages |= self._work.watch_ages()
        return ages

    def _run(self) -> None:
        try:
            # Not uvloop: at the end of a term it calls each aborted TLS connection a fatal error.
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                runner.run(self._live())
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for the end
            self._finish(error)
        else:
            self._finish(None)

    def _finish(self, error: BaseException | None) -> None:
        if not self.idle.done():
            self.idle.set_result(None)
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)

    async def _live(self) -> None:
        stopped = asyncio.create_task(self._stop.wait())
        if not await self._wait_for_what_must_be_there(stopped):
            return
        self._ears = Ears([*WATCHED, LOOP])
        listening = asyncio.create_task(self._listen())
        # Begun before any watch of the kinds: what changes after this is noticed.
        schemas = watch_for_change(
            self._connection.endpoint(), self._generations, window_seconds=self._window
        )
        unchanged = asyncio.create_task(schemas)
        registry = self._work.registry()
        work = asyncio.create_task(self._work.run())
        self._is_working = True
        kopf_watches = KopfWatches(registry, self._connection, self._ears, window_seconds=self._window)
        ends: set[asyncio.Task[Any]] = {stopped, listening, unchanged, work}
        try:
            await kopf_watches.start()
            ends.add(asyncio.create_task(kopf_watches.watch()))
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            await asyncio.wait({work})
            if unchanged.done():
                # Still leading, and writing nothing: another would read too early, and the old schema again.
                await asyncio.wait({stopped}, timeout=_SETTLE_SECONDS)
            self.idle.set_result(None)
            for each in ends:
                each.cancel()
            await asyncio.wait(ends)
            await kopf_watches.end()
        for each in (unchanged, *ends):
            if not each.cancelled() and (error := each.exception()) is not None:
                raise _first_of(error)
        if not self._stop.is_set():
            raise RuntimeError("the work of a term ended by itself")

    async def _wait_for_what_must_be_there(self, stopped: "asyncio.Task[bool]") -> bool:
        """Whether there is work to begin; False: stopped before that."""
        async with self._connection.session() as session:
            while not self._stop.is_set():
                obstacle, self.warnings, self._generations = await look(session, self._connection.server)
                if obstacle is None:
                    if self.obstacle is not None:
                        LOGGER.info("what was missing is there now")
                    self.obstacle = None
                    for each in self.warnings:
                        LOGGER.warning(each.detail, extra={"remedy": each.remedy})
                    return True
                if obstacle != self.obstacle:
                    LOGGER.warning("waiting", extra={"why": obstacle.detail, "remedy": obstacle.remedy})
                self.obstacle = obstacle
                await asyncio.wait({stopped}, timeout=_LOOK_AGAIN_SECONDS)
        return False

    async def _listen(self) -> None:
        """Raises SilentWatch when a watch should have been heard by now."""
        while True:
            self._ears.hear(LOOP)
            silent = self._ears.silent(
                first_word_seconds=_FIRST_WORD_SECONDS, silence_seconds=self.silence_seconds
            )
            for name, age in silent.items():
                raise SilentWatch(f"the watch of {name} has said nothing for {age:.0f} s")
            await asyncio.sleep(_BEAT_SECONDS)


def _first_of(error: BaseException) -> BaseException:
    """What went wrong first inside of task groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
