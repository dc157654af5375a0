# SPDX-License-Identifier: Apache-2.0
"""Runs everything that only a leader does, in a thread and an event loop that end with its leadership.

kopf, when it stops, cancels whatever task of its loop is younger than itself, and on the main thread it
takes SIGTERM over. On a loop of its own it can do neither harm, and nothing of one leadership, no cache and
no write, can reach into the next. The election goes on meanwhile, however busy the work is.
"""

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

import kopf

from watchword.kube.connection import Connection
from watchword.kube.requests import ApiClient
from watchword.operator.informers import silence_seconds
from watchword.operator.kopf_nudges import Kopf
from watchword.operator.preflight import Obstacle, SchemaChangedError, preflight, watch_for_change
from watchword.process.logs import LOGGER

_LOOK_AGAIN_SECONDS: Final = 2.0
_BEAT_SECONDS: Final = 1.0
# An API server needs a moment to serve a CRD as it was changed, and there may be several of them.
_SETTLE_SECONDS: Final = 3.0
# The name under which the loop's own age is given, with those of the watches.
LOOP: Final = "loop"


class Work(Protocol):
    """What a leader does (`watchword.operator.manager.Manager`)."""

    def registry(self) -> kopf.OperatorRegistry:
        """The handlers that kopf calls, on the loop that `run` runs on."""

    async def run(self) -> None:
        """Work until cancelled; return only when no write is in flight any more."""

    def is_warm(self) -> bool:
        """Whether everything was read once and every bundle is right; from any thread."""

    def watch_ages(self) -> Mapping[str, float]:
        """Seconds since each watch received something; from any thread."""


class LeadershipThread:
    """The work of one leadership; `start` it once. What is public may be asked from any thread.

    Attributes:
        obstacle: why work cannot begin; None: it can.
        warnings: what does not prevent the work, and should be put right.
        silence_seconds: after so long without anything received, a watch ends the leadership.
        ended: set when nothing of it runs any more.
        idle: set when no write is in flight, and none will be.
    """

    def __init__(self, work: Work, connection: Connection, *, window_seconds: int) -> None:
        """Prepare the work."""
        self.obstacle: Obstacle | None = None
        self.warnings: tuple[Obstacle, ...] = ()
        self._generations: Mapping[str, int] = {}
        self._work, self._connection, self._window = work, connection, window_seconds
        self.silence_seconds = silence_seconds(window_seconds)
        self._beat_at: float | None = None
        self.ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self.idle: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="leadership", daemon=True)

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
        return self._beat_at is not None and self._work.is_warm()

    def ages(self) -> Mapping[str, float]:
        """Seconds since each watch received something, and since the loop ran (`LOOP`); empty before."""
        beat_at = self._beat_at
        if beat_at is None:
            return {}
        return {**self._work.watch_ages(), LOOP: time.monotonic() - beat_at}

    def _run(self) -> None:
        try:
            # Not uvloop: at the end it calls each aborted TLS connection a fatal error.
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                runner.run(self._live())
        except BaseException as error:  # noqa: BLE001 - passed on to the one who waits for the end
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
        beating = asyncio.create_task(self._beat())
        # Begun before any watch of the kinds: what changes after this is noticed.
        schemas = watch_for_change(
            self._connection.endpoint(), self._generations, window_seconds=self._window
        )
        unchanged = asyncio.create_task(schemas)
        work = asyncio.create_task(self._work.run())
        kopf_runner = Kopf(self._work.registry(), self._connection, window_seconds=self._window)
        ends: set[asyncio.Task[Any]] = {stopped, beating, unchanged, work}
        try:
            await kopf_runner.start()
            # Younger than kopf's start, and so cancelled with it.
            watching_kopf = asyncio.create_task(kopf_runner.log_end())
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
            await kopf_runner.end()
        await asyncio.wait({watching_kopf})
        for each in (unchanged, *ends):
            if not each.cancelled() and (error := each.exception()) is not None:
                raise _first_of(error)
        if not self._stop.is_set():
            raise RuntimeError("the work of a leader ended by itself")

    async def _wait_for_what_must_be_there(self, stopped: "asyncio.Task[bool]") -> bool:
        """Whether there is work to begin; False: stopped before that."""
        async with ApiClient(self._connection) as client:
            while not self._stop.is_set():
                obstacle, self.warnings, self._generations = await preflight(client)
                if obstacle is None:
                    if self.obstacle is not None:
                        LOGGER.info("what was missing is there now")
                    self.obstacle = None
                    for each in self.warnings:
                        LOGGER.warning(each.detail, extra={"remedy": each.remedy})
                    return True
                if obstacle != self.obstacle:
                    LOGGER.warning(
                        "waiting before work can begin",
                        extra={"why": obstacle.detail, "remedy": obstacle.remedy},
                    )
                self.obstacle = obstacle
                await asyncio.wait({stopped}, timeout=_LOOK_AGAIN_SECONDS)
        return False

    async def _beat(self) -> None:
        while True:
            self._beat_at = time.monotonic()
            await asyncio.sleep(_BEAT_SECONDS)


def is_routine(error: BaseException | None) -> bool:
    """Whether leadership ended for a reason that is no failure."""
    return error is None or isinstance(error, SchemaChangedError)


def _first_of(error: BaseException) -> BaseException:
    """What went wrong first inside of task groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
