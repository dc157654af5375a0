# SPDX-License-Identifier: Apache-2.0
"""Runs the operator's process: acquires the Lease, leads, loses or releases it, again; until told to stop.

Losing leadership is ordinary (an API server restarts) and never ends the process. The process ends on
SIGTERM, and when a leader's work does not stop in time: it could still write while another replica leads.
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

from watchword.kube.connection import Connection
from watchword.kube.kubeconfig import connect
from watchword.kube.leases import ApiLeases
from watchword.kube.requests import WriteGuard, verified_client
from watchword.operator.leader_election import LeaderElector
from watchword.operator.leadership import LeadershipThread, Work, is_routine
from watchword.operator.metrics import OperatorMetrics
from watchword.operator.ops import Health
from watchword.operator.settings import OperatorSettings
from watchword.process.bounds import OPS_BOUNDS
from watchword.process.listening import CannotStartError, address_of, listen_on, serving
from watchword.process.logs import LOGGER, set_up_logging
from watchword.process.ops import ops_app
from watchword.process.server import SignalFreeServer, bounded_server

MakeWork = Callable[[OperatorSettings, Connection, WriteGuard, OperatorMetrics], Work]
# After work that failed, so that a fault that lasts is no storm of new leaders.
_PAUSES: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
# A leadership that lasted so long was a good one: the next failure is a first one.
_GOOD_SECONDS: Final = 300.0
_STUCK: Final = 3


def run(settings: OperatorSettings, make_work: MakeWork) -> int:
    """Run an operator until SIGTERM or SIGINT.

    Args:
        settings: how.
        make_work: makes the work of one leadership, with caches of its own.

    Returns:
        0 after a clean stop; 2 when it could not start, with one line on standard error that says why; 3 when
        the work of a leader could not be stopped.
    """
    set_up_logging(settings.log_level)
    try:
        connection = connect(settings.kubeconfig, settings.context)
        # Not uvloop: see the import contract "descriptors are closed once" in pyproject.toml.
        return asyncio.run(_Process(settings, connection, make_work).live())
    except CannotStartError as problem:
        print(f"watchword: {problem}", file=sys.stderr)  # noqa: T201 - for the person at the terminal
        return 2


class _Process:
    """An elector, the ops port, and the work of one leadership at a time."""

    def __init__(self, settings: OperatorSettings, connection: Connection, make_work: MakeWork) -> None:
        self._settings, self._connection, self._make_work = settings, connection, make_work
        self._metrics = OperatorMetrics()
        self._failures = 0

    async def live(self) -> int:
        listener = listen_on("--ops-listen", self._settings.ops_listen)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with verified_client(self._connection) as client:
            lease = ApiLeases(client, self._settings.namespace, self._settings.lease_name)
            elector = LeaderElector(lease, f"{socket.gethostname()}_{uuid.uuid4()}")
            health = Health(elector)
            self._metrics.leader.set_function(lambda: float(elector.is_held()))
            self._metrics.watch_ages.source = health.watch_ages
            async with serving(_ops_server(health, self._metrics), listener):
                extra = {"ops_listen": address_of(listener), "api_server": self._connection.server}
                LOGGER.info("listening", extra=extra | {"identity": elector.identity})
                stopped = asyncio.create_task(stop.wait())
                while await _comes_before(stopped, elector.acquire()):
                    pause = await self._lead(elector, health, stopped)
                    await asyncio.wait({stopped}, timeout=pause)
                health.stopping = True
                # One that stands by has nothing to release, unless its last call had no answer.
                await elector.release()
        LOGGER.info("stopped")
        return 0

    async def _lead(self, elector: LeaderElector, health: Health, stopped: "asyncio.Task[bool]") -> float:
        """Lead until something ends it; returns the seconds to pause before the next attempt."""
        work = self._make_work(self._settings, self._connection, elector.hold, self._metrics)
        window_seconds = self._settings.watch_window_seconds
        leadership = LeadershipThread(work, self._connection, window_seconds=window_seconds)
        LOGGER.info("leading", extra={"identity": elector.identity})
        self._metrics.terms.inc()
        begun = time.monotonic()
        health.leadership = leadership
        leadership.start()
        renewing = asyncio.create_task(elector.renew())
        ended, idle = asyncio.wrap_future(leadership.ended), asyncio.wrap_future(leadership.idle)
        ends: set[asyncio.Future[Any]] = {stopped, renewing, ended}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        health.stopping = stopped.done()
        why = (
            renewing.result() if renewing.done() else "told to stop" if stopped.done() else "its work failed"
        )
        # In this order: no new write, then none under way, then another may lead, then the slow rest.
        elector.step_down()
        renewing.cancel()
        leadership.stop()
        await self._wait_or_die(idle)
        await elector.release()
        LOGGER.info("no longer leading", extra={"why": why})
        await self._wait_or_die(ended)
        health.leadership = None
        if time.monotonic() - begun >= _GOOD_SECONDS:
            self._failures = 0
        return self._pause_after(ended.exception())

    def _pause_after(self, error: BaseException | None) -> float:
        if is_routine(error):
            self._failures = 0
            if error is not None:
                LOGGER.warning("a CRD was changed, reading everything again", extra={"why": str(error)})
            return 0.0
        pause = _PAUSES[min(self._failures, len(_PAUSES) - 1)]
        self._failures += 1
        extra = {"error_type": type(error).__name__, "detail": str(error)[:300], "pause_seconds": pause}
        LOGGER.error("leadership failed", extra=extra)
        return pause

    async def _wait_or_die(self, future: "asyncio.Future[None]") -> None:
        # Not `wait_for`: it would cancel what the other thread is about to set.
        done, _ = await asyncio.wait({future}, timeout=self._settings.stop_seconds)
        if not done:
            LOGGER.critical("the work of a leader did not end in time, ending the process")
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
    return bounded_server(
        ops_app(health.readyz, metrics.registry, healthz=health.healthz), OPS_BOUNDS, grace_seconds=1
    )
