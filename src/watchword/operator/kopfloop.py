# SPDX-License-Identifier: Apache-2.0
"""kopf as one coroutine that only watches: whatever it would write, or take over, is switched off.

kopf reads annotations and finalizers of its own from the objects that it handles, and when they are broken it
stops handling that object for minutes. Anybody who may edit a TrustedWorkload could so hide its deletion from
us, which would be a wrong yes. So it gets storages that hold nothing and a finalizer that nobody can guess.
"""

import asyncio
import logging
import secrets
from collections.abc import Collection
from typing import Any, Final

import aiohttp
import kopf

from watchword.operator.connection import Connection
from watchword.operator.hearing import Ears

# Kubernetes sends a bookmark about every minute, and a request ends after its window.
_BOOKMARK_SECONDS: Final = 60
_SLACK_SECONDS: Final = 10
_PAGE: Final = 500
_ATTEMPTS: Final = 20
_ATTEMPT_SECONDS: Final = 0.25


class _StoresNothing(kopf.DiffBaseStorage, kopf.ProgressStorage):
    """kopf's memory in annotations: neither read nor written."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        pass

    def purge(self, **_: Any) -> None:
        pass

    def touch(self, **_: Any) -> None:
        pass

    def clear(self, *, essence: Any) -> Any:
        return essence


def kopf_settings(window_seconds: int) -> kopf.OperatorSettings:
    """Settings for a kopf that watches and does nothing else.

    Args:
        window_seconds: how long one watch request lasts; a silent one is given up 10 seconds later.
    """
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # No watch on CRDs (and no right to it needed): see preflight.py.
    settings.scanning.disabled = True
    settings.process.ultimate_exiting_timeout = None
    nothing = _StoresNothing()
    settings.persistence.diffbase_storage = nothing
    settings.persistence.progress_storage = nothing
    settings.persistence.finalizer = f"watchword.dev/{secrets.token_hex(16)}"
    settings.watching.server_timeout = window_seconds
    settings.watching.client_timeout = window_seconds + _SLACK_SECONDS
    settings.watching.inactivity_timeout = min(window_seconds, _BOOKMARK_SECONDS) + _SLACK_SECONDS
    settings.watching.connect_timeout = 5
    settings.watching.chunk_size = _PAGE
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 30
    # Then the term ends and a new one begins: an error that lasts is said, not slept over.
    settings.networking.error_backoffs = (0.2, 0.5, 1, 1, 2, 2, 3, 5, 5, 5)
    # A task for each object in the first list, kept for long, is what takes the memory at 10,000 objects.
    settings.queueing.idle_timeout = 0.1
    settings.queueing.exit_timeout = 1.0
    return settings


class KopfDidNotEnd(Exception):
    """Tasks of kopf's that swallow their cancellation, again and again."""


class KopfWatches:
    """kopf on the running loop: `start`, then `watch` until it fails or is cancelled, then `end`.

    The loop must be one of its own thread: on the main thread kopf takes SIGTERM over.
    """

    def __init__(
        self, registry: kopf.OperatorRegistry, connection: Connection, ears: Ears, *, window_seconds: int
    ) -> None:
        """Watch for the handlers of a registry; tell `ears` of every word."""
        self._registry, self._connection, self._ears = registry, connection, ears
        self._window = window_seconds
        self._sessions: list[aiohttp.ClientSession] = []
        self._older: set[asyncio.Task[Any]] = set()
        self._roots: Collection[asyncio.Task[Any]] = ()

    async def start(self) -> None:
        """Begin to list and to watch."""
        kopf.on.login(registry=self._registry)(self._log_in)
        # That it is not on the main thread is meant; and each attempt of each watch need not be a line: the
        # same kinds are followed beside kopf (following.py), which tells of trouble once.
        logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
        logging.getLogger("kopf._cogs.clients").setLevel(logging.CRITICAL)
        self._older = asyncio.all_tasks()
        self._roots = await kopf.spawn_tasks(
            registry=self._registry,
            settings=kopf_settings(self._window),
            standalone=True,
            clusterwide=True,
        )

    async def watch(self) -> None:
        """Wait for as long as all goes well; raises what ended a watch."""
        ended, _ = await asyncio.wait(self._roots, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()

    async def end(self) -> None:
        """End whatever is younger than `start`, whoever began it; raises KopfDidNotEnd.

        kopf's own end waits for ever in one case: after one watch has failed, the others wait for credentials
        that nobody brings any more, and each takes its cancellation for a pause, since what tells it of
        pauses was cancelled beside it. So a pause-waiter is left to the watch that it belongs to.
        """
        for attempt in range(_ATTEMPTS):
            younger = asyncio.all_tasks() - self._older
            if not younger:
                break
            for task in younger:
                if attempt > _ATTEMPTS // 2 or not task.get_name().startswith("pause-waiter"):
                    task.cancel()
            await asyncio.wait(younger, timeout=_ATTEMPT_SECONDS)
        else:
            left = asyncio.all_tasks() - self._older
            raise KopfDidNotEnd(", ".join(sorted(task.get_name() for task in left)))
        for session in self._sessions:
            await session.close()

    async def _log_in(self, **_: Any) -> kopf.AiohttpSession:
        self._sessions.append(self._connection.session(self._ears.response_class()))
        return kopf.AiohttpSession(server=self._connection.server, aiohttp_session=self._sessions[-1])
