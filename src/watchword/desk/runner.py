# SPDX-License-Identifier: Apache-2.0
"""What a desk does besides answering: follow its configuration, publish, note the head, forget what ended."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Final

from watchword.desk.admin.changes import admin_changes
from watchword.desk.audit_chain import AuditEvent, Head
from watchword.desk.configuration import Configuration, make_state
from watchword.desk.desk import Desk
from watchword.desk.ops import DeskReadiness
from watchword.desk.published import (
    Mark,
    Publisher,
    PublishingError,
    is_the_store_of,
    revocation_document,
)
from watchword.desk.sources import DeskSource, SourceProblem
from watchword.desk.store import DeskStore, DeskStoreError, RevokedToken
from watchword.process.logs import LOGGER

# At most one write in a second, whatever is revoked.
PUBLISH_SECONDS: Final = 1.0
# Other replicas revoke, too.
LOOK_SECONDS: Final = 5.0
MINUTE_SECONDS: Final = 60.0
RETRY_SECONDS: Final = 1.0
# Kept for so long after their end, so that a token that comes back late is still known.
KEEP_SECONDS: Final = 3600


class Runner:
    """Keeps one desk up to date. Belongs to the desk's event loop."""

    def __init__(
        self,
        desk: Desk,
        store: DeskStore,
        source: DeskSource,
        publisher: Publisher,
        readiness: DeskReadiness,
    ) -> None:
        """Take the desk and what it is kept by."""
        self._desk, self._store, self._source = desk, store, source
        self._publisher, self._readiness = publisher, readiness
        self._store_id = ""
        self._bindings: dict[str, str] = {}
        self._configuration: Configuration | None = None
        self._published: tuple[Mark, bytes, float] | None = None
        self._publishing = asyncio.Lock()
        # One at a time: else the older of two configurations could be the last to be used.
        self._adopting = asyncio.Lock()
        self._is_behind = False
        self._noted = Head()

    async def prepare(self) -> None:
        """Return once the store answers and is known to be the one of before, or a new one."""
        while True:
            try:
                mark = await self._publisher.read()
                await asyncio.to_thread(self._recognize, mark)
            except (DeskStoreError, PublishingError) as error:
                self._failed(error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._readiness.store_problem = None
                return

    async def follow(self) -> None:
        """Adopt each configuration, until cancelled."""
        async for found in self._source.configurations():
            if isinstance(found, SourceProblem):
                self._readiness.problem = (found.detail, found.remedy)
                LOGGER.error("configuration refused", extra={"detail": found.detail, "remedy": found.remedy})
                continue
            self._configuration, self._is_behind = found, True
            await self.adopt()

    async def adopt(self) -> None:
        """Make the state of the present configuration and use it from the next request on."""
        async with self._adopting:
            await self._adopt()

    async def adopt_if_due(self) -> None:
        """Adopt again what could not be adopted, or what time has changed: a key has come of age."""
        state = self._desk.state
        if self._is_behind or (state is not None and state.changes_at <= self._desk.clock()):
            await self.adopt()

    async def _adopt(self) -> None:
        configuration = self._configuration
        if configuration is None:
            return
        state = await asyncio.to_thread(
            make_state,
            configuration,
            store_id=self._store_id,
            bindings=self._bindings,
            now=self._desk.clock(),
        )
        signing = state.signing
        if signing is not None and self._bindings.get(signing.kid) != self._store_id:
            # Written down before its first token: a restored store must find out whose key it was.
            self._bindings[signing.kid] = self._store_id
            try:
                await self._publish()
            except (PublishingError, DeskStoreError) as error:
                del self._bindings[signing.kid]
                self._failed(error)
                return
        is_news = self._desk.state is None or self._desk.state.problems != state.problems
        before = self._desk.state
        self._desk.state = state
        known = () if before is None else before.client_objects
        await self._desk.note_changes(admin_changes(known, state.client_objects, self._desk.clock()))
        # Another one may have come meanwhile, which waits for its turn.
        self._is_behind = configuration is not self._configuration
        self._readiness.problem = None
        self._desk.metrics.targets.set(len(state.targets))
        self._desk.metrics.problems.set(len(state.problems))
        if is_news:
            LOGGER.info(
                "configuration in use",
                extra={
                    "desk": state.name,
                    "services": len(state.targets),
                    "clients": len(state.clients.by_name),
                    "key": signing.kid if signing else "",
                    "problems": list(state.problems),
                },
            )

    async def publish(self) -> None:
        """Publish what is revoked, until cancelled: soon after each revocation, and now and then."""
        while True:
            self._desk.is_changed.clear()
            try:
                await self._publish()
                self._readiness.publishing_problem = None
            except (PublishingError, DeskStoreError) as error:
                self._failed(error)
            await asyncio.sleep(PUBLISH_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._desk.is_changed.wait()

    async def keep(self) -> None:
        """Each minute: write what strangers were refused, note the head, forget what ended."""
        while True:
            await asyncio.sleep(MINUTE_SECONDS)
            await self.keep_once()

    async def keep_once(self) -> None:
        """One round of `keep`."""
        try:
            await self._desk.write_strangers()
            await self.note_head()
            await asyncio.to_thread(self._store.expire, int(time.time()) - KEEP_SECONDS)
            await self.adopt_if_due()
        except DeskStoreError as error:
            self._failed(error)

    async def note_head(self) -> None:
        """Log and export the newest audit entry, to be compared with later."""
        head = await asyncio.to_thread(self._store.head)
        self._desk.metrics.head(head)
        if head != self._noted:
            self._noted = head
            LOGGER.info("audit head", extra={"head": str(head)})

    def _recognize(self, mark: Mark | None) -> None:
        store_id = self._store.identity()
        bindings: Mapping[str, str] = {} if mark is None else mark.keys
        if mark is not None and not is_the_store_of(mark, self._store):
            if store_id == mark.store:
                fields = {"from": store_id, "marked_head": mark.head, "found_head": str(self._store.head())}
                store_id = self._store.renew_identity(AuditEvent("store_renewed", fields, time.time()))
            LOGGER.error(
                "the store is new or was restored; all earlier keys are revoked", extra={"store": store_id}
            )
        self._store_id, self._bindings = store_id, dict(bindings)

    async def _publish(self) -> None:
        async with self._publishing:
            now = self._desk.clock()
            revoked, head = await asyncio.to_thread(self._look, int(now))
            self._readiness.store_problem = None
            document = revocation_document(revoked, now)
            mark = Mark(self._store_id, str(head), dict(self._bindings))
            if self._published is not None:
                before, list_before, at = self._published
                is_news = (document, mark.keys, mark.store) != (list_before, before.keys, before.store)
                # The head alone is news each minute only: every token moves it.
                if not is_news and (mark == before or self._desk.monotonic() - at < MINUTE_SECONDS):
                    return
            await self._publisher.write(mark, document)
            self._published = (mark, document, self._desk.monotonic())
            self._desk.metrics.revocations_published.set(now)

    def _look(self, now: int) -> tuple[list[RevokedToken], Head]:
        return self._store.revoked(now), self._store.head()

    def _failed(self, error: DeskStoreError | PublishingError) -> None:
        if isinstance(error, DeskStoreError):
            self._readiness.store_problem = (error.detail, error.remedy)
            LOGGER.error("the store failed", extra={"detail": error.detail, "remedy": error.remedy})
            return
        remedy = "see that the desk may write it"
        self._readiness.publishing_problem = (str(error), remedy)
        LOGGER.error("publishing failed", extra={"detail": str(error), "remedy": remedy})
