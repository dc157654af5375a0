# SPDX-License-Identifier: Apache-2.0
"""Runs kopf as a source of hints: its events of Namespaces add keys to a queue.

What is true comes from the informers, and losing every event of kopf's changes nothing. All that kopf would
write, or take over, is switched off (see docs/decisions/0009-informers-inform-kopf-nudges.md).

kopf reads annotations and finalizers of its own from the objects that it handles, and when they are broken
it stops handling that object for minutes. So it gets storages that hold nothing and a finalizer that no one
can guess.
"""

import asyncio
import logging
import secrets
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import aiohttp
import kopf

from watchword.kube.connection import Connection, close_session
from watchword.process.logs import LOGGER

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
    # Then kopf ends, and that is logged: an error that lasts is not slept over.
    settings.networking.error_backoffs = (0.2, 0.5, 1, 1, 2, 2, 3, 5, 5, 5)
    # A task for each object in the first list, kept for long, is what takes the memory at 10,000 objects.
    settings.queueing.idle_timeout = 0.1
    settings.queueing.exit_timeout = 1.0
    return settings


def namespace_registry(nudge: Callable[[str, Mapping[str, str]], None]) -> kopf.OperatorRegistry:
    """A handler for each change of a Namespace, which passes its name and labels on.

    Our own kinds are not among what kopf watches: it holds whole objects, as large as their writers like. No
    finalizer, no annotation, no handler for deletions: nothing of ours may ever delay the end of an object.
    """
    registry = kopf.OperatorRegistry()

    async def handler(event: Mapping[str, Any], **_: Any) -> None:
        # What kopf lists has no type, and the informers have listed it.
        if event["type"] is not None:
            metadata = event["object"]["metadata"]
            nudge(str(metadata["name"]), metadata.get("labels") or {})

    kopf.on.event("", "v1", "namespaces", id="nudge", registry=registry)(handler)
    return registry


class KopfStillRunningError(Exception):
    """Tasks of kopf's that swallow their cancellation, again and again."""


class Kopf:
    """kopf on the running loop: `start`, then `end`.

    The loop must be one of its own thread: on the main thread kopf takes SIGTERM over.
    """

    def __init__(
        self, registry: kopf.OperatorRegistry, connection: Connection, *, window_seconds: int
    ) -> None:
        """Watch for the handlers of a registry."""
        self._registry, self._connection = registry, connection
        self._window = window_seconds
        self._sessions: list[aiohttp.ClientSession] = []
        self._older: set[asyncio.Task[Any]] = set()
        self._roots: Collection[asyncio.Task[Any]] = ()

    async def start(self) -> None:
        """Begin to list and to watch."""
        kopf.on.login(registry=self._registry)(self._log_in)
        # That it is not on the main thread is meant; and each attempt of each watch need not be a line: the
        # informers watch the same kinds and log trouble once.
        logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
        logging.getLogger("kopf._cogs.clients").setLevel(logging.CRITICAL)
        self._older = asyncio.all_tasks()
        # Of a task that is cancelled before its first turn, kopf leaves what it would have run. Python tells
        # standard error of it, in a line that is not JSON as the log's are.
        warnings.filterwarnings("ignore", r"coroutine '(watcher|worker)' was never awaited", RuntimeWarning)
        self._roots = await kopf.spawn_tasks(
            registry=self._registry,
            settings=kopf_settings(self._window),
            standalone=True,
            clusterwide=True,
        )

    async def log_end(self) -> None:
        """Wait until kopf ends by itself, and log it: the operator goes on without it."""
        ended, _ = await asyncio.wait(self._roots, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            error = None if task.cancelled() else task.exception()
            LOGGER.warning("kopf ended, going on without it", extra={"why": type(error).__name__})

    async def end(self) -> None:
        """End every task that is younger than `start`; raises KopfStillRunningError.

        kopf's own end waits for ever in one case: after one watch has failed, the others wait for credentials
        that are not brought any more, and each takes its cancellation for a pause, since what tells it of
        pauses was cancelled with it. So a pause-waiter is left to the watch that it belongs to.
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
            raise KopfStillRunningError(", ".join(sorted(task.get_name() for task in left)))
        for session in self._sessions:
            await close_session(session)

    async def _log_in(self, **_: Any) -> kopf.AiohttpSession:
        self._sessions.append(self._connection.session())
        return kopf.AiohttpSession(server=self._connection.server, aiohttp_session=self._sessions[-1])
