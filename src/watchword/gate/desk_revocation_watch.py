# SPDX-License-Identifier: Apache-2.0
"""The desk tokens that were revoked, followed through the API in a ConfigMap next to the bundle's.

A gate that waits for the first list of its desk refuses desk tokens, and no others. Once it has one, nothing
brings a revoked token back: neither a deleted ConfigMap, nor a shorter list, nor an API server that is away.
"""

import asyncio
import contextlib
import time
from typing import Final

from watchword.gate.config_map_watch import ConfigMap, config_map_watch
from watchword.gate.engine import Engine
from watchword.gate.logs import LOGGER
from watchword.gate.settings import FollowedConfigMap
from watchword.kube.watch import Removed, Synced, Troubled, Upserted, Watch
from watchword.trust import Ruleset
from watchword.trust.desk_objects import revocations_name
from watchword.trust.desk_revocations import (
    REVOCATIONS_ENTRY,
    Revocations,
    RevocationsError,
    RevokedSet,
    read_service_document,
)

# After an error that was not foreseen.
RESTART_SECONDS: Final = 1.0


class RevocationWatch:
    """Follows the revocations of one service for as long as its bundle names a desk."""

    def __init__(self, followed: FollowedConfigMap, engine: Engine) -> None:
        """Follow next to the bundle that is followed, for an engine that knows of no list yet."""
        self._followed, self._engine = followed, engine
        engine.revoked = RevokedSet(is_known=False)
        self._service, self._desk, self._has_changed = "", "", asyncio.Event()
        # When something was heard last, or it began to be followed; and what follows it now.
        self._heard_at = 0.0
        self._watch: Watch[ConfigMap] | None = None

    def age_seconds(self) -> float | None:
        """Seconds since the last word of the API server on the list, or since it is followed without one.

        None: no desk is followed.
        """
        if not self._service:
            return None
        if self._watch is not None:
            self._heard_at = max(self._heard_at, self._watch.received_at or 0.0)
        return time.monotonic() - self._heard_at

    def adopted(self, ruleset: Ruleset) -> None:
        """Take it that this ruleset is in use: it says whether there is a desk, which, and for which service.

        Where either changed, no list is known until one of this desk was read.
        """
        desk = ruleset.policy.desk
        followed = ("", "") if desk is None else (ruleset.service, desk.name)
        if followed != (self._service, self._desk):
            self._service, self._desk = followed
            self._heard_at, self._watch = time.monotonic(), None
            self._engine.revoked.is_known = False
            self._has_changed.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            self._has_changed.clear()
            if self._service:
                following = asyncio.create_task(self._keep_following(self._service))
                try:
                    await self._has_changed.wait()
                finally:
                    following.cancel()
                    await asyncio.gather(following, return_exceptions=True)
            else:
                await self._has_changed.wait()

    async def _keep_following(self, service: str) -> None:
        """Follow until cancelled, and begin again after an error that was not foreseen."""
        name = revocations_name(service.partition("/")[2])
        place = f"{self._followed.namespace}/{name}"
        while True:
            try:
                await self._follow(service, name, place)
            except Exception as error:  # noqa: BLE001 - a gate that stopped to listen would hear of no revocation
                LOGGER.error(
                    "watch of revocations failed, restarting it",
                    extra={"config_map": place, "error_type": type(error).__name__},
                )
            await asyncio.sleep(RESTART_SECONDS)

    async def _follow(self, service: str, name: str, place: str) -> None:
        watch = self._watch = config_map_watch(self._followed, name)
        async with contextlib.aclosing(watch.events()) as events:
            async for event in events:
                if isinstance(event, Upserted):
                    self._take(event.object, service, place)
                elif isinstance(event, Removed) or (isinstance(event, Synced) and not watch.known):
                    LOGGER.warning(
                        "revocations of desk tokens are missing",
                        extra={"config_map": place, "effect": "what was known to be revoked stays revoked"},
                    )
                elif isinstance(event, Troubled):
                    problem = event.problem
                    extra = {"config_map": place, "detail": problem.detail, "remedy": problem.remedy}
                    LOGGER.warning("revocations of desk tokens cannot be followed", extra=extra)

    def _take(self, found: ConfigMap, service: str, place: str) -> None:
        revocations = self._read(found, service, place)
        if revocations is not None:
            self._engine.revoke(revocations)

    def _read(self, found: ConfigMap, service: str, place: str) -> Revocations | None:
        try:
            document = read_service_document((found.data or {}).get(REVOCATIONS_ENTRY, "").encode())
        except RevocationsError as problem:
            detail = str(problem)
        else:
            if document.service != service:
                detail = "it is for another service"
            elif document.desk != self._desk:
                # So it is for a moment when a service moves from one desk to another.
                detail = f"it is of the desk {document.desk}, and the service names {self._desk}"
            else:
                return document.revocations
        LOGGER.error("revocations of desk tokens refused", extra={"config_map": place, "detail": detail})
        return None
