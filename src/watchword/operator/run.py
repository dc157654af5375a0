# SPDX-License-Identifier: Apache-2.0
"""The operator's process: campaign, lead for a term, lose or give back the Lease, again; until told to stop.

Losing leadership is ordinary (an API server restarts) and ends a term, never the process. The process ends
on SIGTERM, or when a term that should have ended did not: then nothing else may go on beside it.
"""

import asyncio
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, Final

import aiohttp

from watchword.operator.connection import Connection, connect
from watchword.operator.election import Elector, Leadership
from watchword.operator.leases import ApiLeases
from watchword.operator.metrics import OperatorMetrics
from watchword.operator.ops import Health, ops_app
from watchword.operator.schema import SchemaChanged
from watchword.operator.settings import OperatorSettings
from watchword.operator.term import Term, Work
from watchword.process.listening import (
    CannotStart,
    SignalFreeServer,
    address_of,
    listen_on,
    quiet_server,
    serving,
)
from watchword.process.logs import LOGGER, set_up_logging

Workshop = Callable[[OperatorSettings, Connection, Leadership, OperatorMetrics], Work]
# After a term that failed, so that a fault that lasts is no storm of terms.
_PAUSES: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
# A term that lasted so long was a good one: the next failure is a first one.
_GOOD_SECONDS: Final = 300.0
_STUCK: Final = 3


def run(settings: OperatorSettings, workshop: Workshop) -> int:
    """Run an operator until SIGTERM or SIGINT.

    Args:
        settings: how.
        workshop: makes the work of one term, with caches of its own.

    Returns:
        0 after a clean stop; 2 when it could not start, with one line on standard error that says why; 3 when
        a term could not be stopped.
    """
    set_up_logging(settings.log_level)
    try:
        connection = connect(settings.kubeconfig, settings.context)
        # Not uvloop: see the import contract "descriptors are closed once" in pyproject.toml.
        return asyncio.run(_Process(settings, connection, workshop).live())
    except CannotStart as problem:
        print(f"watchword: {problem}", file=sys.stderr)  # noqa: T201 - for the person at the terminal
        return 2


class _Process:
    """An elector, the ops port, and one term at a time."""

    def __init__(self, settings: OperatorSettings, connection: Connection, workshop: Workshop) -> None:
        self._settings, self._connection, self._workshop = settings, connection, workshop
        self._metrics = OperatorMetrics()
        self._failures = 0

    async def live(self) -> int:
        listener = listen_on("--ops-listen", self._settings.ops_listen)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with self._connection.session() as session:
            elector = self._elector(session)
            health = Health(elector)
            self._metrics.leader.set_function(lambda: float(elector.is_held()))
            self._metrics.watch_ages.source = health.watch_ages
            async with serving(_ops_server(health, self._metrics), listener):
                extra = {"ops_listen": address_of(listener), "api_server": self._connection.server}
                LOGGER.info("listening", extra=extra | {"identity": elector.identity})
                stopped = asyncio.create_task(stop.wait())
                while await _comes_before(stopped, elector.campaign()):
                    pause = await self._lead(elector, health, stopped)
                    await asyncio.wait({stopped}, timeout=pause)
                health.stopping = True
                # One that stands by has nothing to give back, unless its last call had no answer.
                await elector.resign()
        LOGGER.info("stopped")
        return 0

    def _elector(self, session: aiohttp.ClientSession) -> Elector:
        lease = ApiLeases(
            session, self._connection.server, self._settings.namespace, self._settings.lease_name
        )
        return Elector(lease, f"{socket.gethostname()}_{uuid.uuid4()}")

    async def _lead(self, elector: Elector, health: Health, stopped: "asyncio.Task[bool]") -> float:
        """Lead until something ends it; returns the seconds to pause before another campaign."""
        work = self._workshop(self._settings, self._connection, elector, self._metrics)
        term = Term(work, self._connection, window_seconds=self._settings.watch_window_seconds)
        LOGGER.info("leading", extra={"identity": elector.identity})
        self._metrics.terms.inc()
        begun = time.monotonic()
        health.term = term
        term.start()
        keeping = asyncio.create_task(elector.keep())
        ended, idle = asyncio.wrap_future(term.ended), asyncio.wrap_future(term.idle)
        ends: set[asyncio.Future[Any]] = {stopped, keeping, ended}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        health.stopping = stopped.done()
        why = keeping.result() if keeping.done() else "told to stop" if stopped.done() else "its work failed"
        # In this order: no new write, then none under way, then another may lead, then the slow rest.
        elector.step_down()
        keeping.cancel()
        term.stop()
        await self._wait_or_die(idle)
        await elector.resign()
        LOGGER.info("no longer leading", extra={"why": why})
        await self._wait_or_die(ended)
        health.term = None
        if time.monotonic() - begun >= _GOOD_SECONDS:
            self._failures = 0
        return self._pause_after(ended.exception())

    def _pause_after(self, error: BaseException | None) -> float:
        if error is None or isinstance(error, SchemaChanged):
            self._failures = 0
            if error is not None:
                LOGGER.warning("everything is read anew", extra={"why": str(error)})
            return 0.0
        pause = _PAUSES[min(self._failures, len(_PAUSES) - 1)]
        self._failures += 1
        extra = {"error_type": type(error).__name__, "detail": str(error)[:300], "pause_seconds": pause}
        LOGGER.error("a term failed", extra=extra)
        return pause

    async def _wait_or_die(self, future: "asyncio.Future[None]") -> None:
        # Not `wait_for`: it would cancel what the term's thread is about to set.
        done, _ = await asyncio.wait({future}, timeout=self._settings.stop_seconds)
        if not done:
            LOGGER.critical("a term did not end in time; the process ends instead")
            # No cleaning up: a thread that does not end would hold it up, and might write again.
            sys.stderr.flush()
            os._exit(_STUCK)


async def _comes_before(stopped: "asyncio.Task[bool]", work: Coroutine[None, None, None]) -> bool:
    """Whether some work ended before we were told to stop; else it is cancelled."""
    task = asyncio.create_task(work)
    await asyncio.wait({stopped, task}, return_when=asyncio.FIRST_COMPLETED)
    if stopped.done():
        task.cancel()
        await asyncio.wait({task})
        return False
    task.result()
    return True


def _ops_server(health: Health, metrics: OperatorMetrics) -> SignalFreeServer:
    return quiet_server(ops_app(health, metrics.registry), timeout_graceful_shutdown=1)
