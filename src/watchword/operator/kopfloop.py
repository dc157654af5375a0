# SPDX-License-Identifier: Apache-2.0
"""kopf as one coroutine that only watches: whatever it would write, or take over, is switched off.

kopf reads annotations and finalizers of its own from the objects that it handles, and when they are broken it
stops handling that object for minutes. Anybody who may edit a TrustedWorkload could so hide its deletion from
us, which would be a wrong yes. So it gets storages that hold nothing and a finalizer that nobody can guess.
"""

import asyncio
import logging
import secrets
from typing import Any, Final

import kopf

from watchword.operator.connection import Connection
from watchword.operator.hearing import Ears

# Kubernetes sends a bookmark about every minute, and a request ends after its window.
_BOOKMARK_SECONDS: Final = 60
_SLACK_SECONDS: Final = 10
_PAGE: Final = 500


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


async def run_kopf(
    registry: kopf.OperatorRegistry,
    connection: Connection,
    ears: Ears,
    stop: asyncio.Event,
    *,
    window_seconds: int,
) -> None:
    """Watch for the handlers of `registry` until `stop` is set.

    It must run on a loop of its own thread, younger than all that is to outlive it: at its end kopf cancels
    every younger task of the loop, and on the main thread it takes SIGTERM over.

    Raises:
        Exception: whatever ended kopf's watches before that.
    """

    async def log_in(**_: Any) -> kopf.AiohttpSession:
        return kopf.AiohttpSession(
            server=connection.server, aiohttp_session=connection.session(ears.response_class())
        )

    kopf.on.login(registry=registry)(log_in)
    # That it is not on the main thread is meant.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    await kopf.operator(
        registry=registry,
        settings=kopf_settings(window_seconds),
        standalone=True,
        clusterwide=True,
        stop_flag=stop,
    )
