# SPDX-License-Identifier: Apache-2.0
"""List, then watch, for good: what an object is now, what it becomes, and never a silence taken for peace.

A watch can end in more ways than it can run: closed, cut, expired, refused, or dead and silent. Each way
leads back to the last point known, or to a new list, whose difference to what was known is told as if it had
been watched: an object that vanished meanwhile is `Removed`, since to miss that is to trust for good.
"""

import asyncio
import contextlib
import random
import sys
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, Generic

import msgspec

from watchword.kube.names import NamespacedName
from watchword.kube.watch.answer import MAX_PAGE_BYTES, LineSplitter
from watchword.kube.watch.backoff import Backoff
from watchword.kube.watch.connection import Connection, connect
from watchword.kube.watch.endpoint import Access, Endpoint
from watchword.kube.watch.events import Event, Kept, Recovered, Removed, Synced, Troubled, Upserted
from watchword.kube.watch.messages import Bookmark, Notice, page_decoder, read_status, version_number
from watchword.kube.watch.problems import ProblemKind, WatchError, WatchProblem
from watchword.kube.watch.refusal import refusal, refusal_of
from watchword.kube.watch.resource import Resource

# What a watch may last beyond the time that it was asked for.
GRACE_SECONDS: Final = 5.0
# A watch that stood so long, or told something, was a good one: the next failure is a first one.
GOOD_SECONDS: Final = 10.0
# A watch that ends sooner, without an event, is requested again only after this, and not in a busy loop.
_TOO_SOON_SECONDS: Final = 1.0


class _PageTooLargeError(Exception):
    """A page did not fit; the next ones are of half as many objects."""


class Watch(Generic[Kept]):
    """Follows the objects of one resource.

    Attributes:
        known: what is kept of each object, by namespace and name.
        problem: why nothing can be received now; None while it can.
        received_at: when something was received last, a bookmark included, by `time.monotonic` (seconds);
            None: never.
        is_synced: a whole list was told.
        lists: how many lists were begun.
        watches: how many watches were begun.
        rewinds: how many lists were of an earlier version than one that was told before: the server's store
            was restored from a backup. Versions can be compared (KEP-5504), and a list asks etcd.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        resource: Resource,
        kind: type[Any],
        keep: Callable[[Any], Kept],
        *,
        page_size: int = 500,
        window_seconds: float = 120.0,
        grace_seconds: float = GRACE_SECONDS,
        relist_seconds: float | None = None,
        is_relisted_after_failure: bool = False,
        max_page_bytes: int = MAX_PAGE_BYTES,
        backoff: Backoff | None = None,
    ) -> None:
        """Follow a resource.

        Args:
            endpoint: the API server.
            resource: which objects.
            kind: a msgspec type with `metadata`, into which objects are decoded.
            keep: what to keep of a decoded object and to tell; one that is equal to what is kept is not told.
            page_size: objects a page of a list.
            window_seconds: how long one watch lasts at most; it is made again after that.
            grace_seconds: how much longer it may take to end before it is taken for dead.
            relist_seconds: list again when the last list is older than this; None: only when it must be.
            is_relisted_after_failure: list again after each failure, not only when a version expired. Should
                the server come back with an older store (a restored etcd), a watch from a version that is
                not there yet is accepted, and tells nothing until the store has come that far.
            max_page_bytes: a larger page is asked for again with fewer objects.
            backoff: the waits between failures.
        """
        self._access, self._resource, self._keep = Access(endpoint), resource, keep
        self._pages, self._objects = page_decoder(kind), msgspec.json.Decoder(kind)
        self._page_size, self._max_page_bytes = page_size, max_page_bytes
        self._window_seconds, self._grace_seconds = window_seconds, grace_seconds
        self._relist_seconds, self._backoff = relist_seconds, backoff or Backoff()
        self._is_relisted_after_failure, self._has_failed = is_relisted_after_failure, False
        self._version: str | None = None
        self._newest = 0
        self._listed_at = 0.0
        self._stood_at: float | None = None
        self.known: dict[NamespacedName, Kept] = {}
        self.problem: WatchProblem | None = None
        self.received_at: float | None = None
        self.is_synced = False
        self.lists = self.watches = self.rewinds = 0

    @property
    def resource(self) -> Resource:
        """What it follows."""
        return self._resource

    async def events(self) -> AsyncGenerator[Event[Kept], None]:
        """Tell what happens, until closed. Never raises; trouble is told as `Troubled`, then tried again."""
        while True:
            begun, self._stood_at = time.monotonic(), None
            try:
                async with contextlib.aclosing(self._round()) as told:
                    async for event in told:
                        yield event
                if time.monotonic() - begun >= _TOO_SOON_SECONDS:
                    continue
                failure = WatchError(
                    ProblemKind.CUT, "the API server ends each watch at once", "see whether it shuts down"
                )
            except _PageTooLargeError:
                continue
            except WatchError as failed:
                failure = failed
            if self._stood_seconds() >= GOOD_SECONDS:
                self._backoff.reset()
            self._has_failed = True
            is_expired, self._version = self._version_after(failure)
            if not is_expired and failure.problem != self.problem:
                self.problem = failure.problem
                yield Troubled(failure.problem)
            await asyncio.sleep(self._backoff.next(failure.retry_after_seconds))

    def _stood_seconds(self) -> float:
        """For how long the last watch has stood; none: not at all."""
        return 0.0 if self._stood_at is None else time.monotonic() - self._stood_at

    def _version_after(self, failure: WatchError) -> tuple[bool, str | None]:
        """Whether only a version expired, as they do, and the version to go on from."""
        if failure.problem.kind is not ProblemKind.EXPIRED:
            return False, self._version
        # What was known still stands; the new list tells the difference. A list that expires is trouble.
        return self._version is not None, None

    async def _round(self) -> AsyncGenerator[Event[Kept], None]:
        """One connection: a list where one is needed, and one watch."""
        connection = await connect(self._access)
        try:
            if self._version is None or self._is_list_due():
                async with contextlib.aclosing(self._list(connection)) as told:
                    async for event in told:
                        yield event
            async with contextlib.aclosing(self._watch(connection)) as told:
                async for event in told:
                    yield event
        finally:
            connection.close()

    def _is_list_due(self) -> bool:
        if self._is_relisted_after_failure and self._has_failed:
            return True
        age = time.monotonic() - self._listed_at
        return self._relist_seconds is not None and age >= self._relist_seconds

    async def _list(self, connection: Connection) -> AsyncGenerator[Event[Kept], None]:
        self.lists += 1
        begun = time.monotonic()
        unseen, next_page, version = set(self.known), "", ""
        while True:
            page = await self._page(connection, next_page)
            for item in page.items or ():
                unseen.discard(_key(item))
                for event in self._upsert(item):
                    yield event
            version, next_page = page.metadata.resource_version, page.metadata.next_page
            if not version:
                raise _unreadable(f"the list of {self._resource} has no resourceVersion")
            if not next_page:
                break
        for key in unseen:
            yield Removed(self.known.pop(key))
        self._note_age_of(version)
        self._version, self._listed_at, self.is_synced = version, begun, True
        self._has_failed = False
        yield Synced()

    async def _page(self, connection: Connection, next_page: str) -> Any:
        query = {"limit": str(self._page_size)} | ({"continue": next_page} if next_page else {})
        answer = await connection.get(self._resource.path(**query), self._resource.accept(is_list=True))
        if answer.status != 200:
            raise refusal_of(answer, await connection.beginning(), f"list {self._resource}")
        try:
            body = await connection.whole_body(self._max_page_bytes)
        except WatchError as failed:
            if failed.problem.kind is ProblemKind.TOO_LARGE and self._page_size > 1:
                self._page_size //= 2
                raise _PageTooLargeError from None
            raise
        self._note_received()
        return self._decoded(self._pages, body)

    async def _watch(self, connection: Connection) -> AsyncGenerator[Event[Kept], None]:
        self.watches += 1
        # Out of step with the others, who may have begun when this one did.
        seconds = max(1, round(self._window_seconds * random.uniform(0.8, 1.0)))  # noqa: S311 - no secret
        deadline = asyncio.get_running_loop().time() + seconds + self._grace_seconds
        answer = await connection.get(
            self._resource.path(
                watch="1",
                allowWatchBookmarks="true",
                resourceVersion=self._version or "",
                timeoutSeconds=str(seconds),
            ),
            self._resource.accept(is_list=False),
        )
        if answer.status != 200:
            raise refusal_of(answer, await connection.beginning(), f"watch {self._resource}")
        self._note_received()
        self._stood_at = self.received_at
        if self.problem is not None:
            self.problem = None
            yield Recovered()
        splitter = LineSplitter()
        try:
            async with contextlib.aclosing(connection.pieces(deadline)) as pieces:
                async for piece in pieces:
                    for line in splitter.feed(piece):
                        for event in self._take(line):
                            yield event
        except TimeoutError:
            detail = f"the watch did not end by itself {self._grace_seconds:g} seconds after its time"
            remedy = "it is made again; see what stands between here and the API server and swallows data"
            raise WatchError(ProblemKind.SILENT, detail, remedy) from None
        self._note_received()

    def _take(self, line: bytes) -> list[Event[Kept]]:
        notice: Notice = self._decoded(_notices, line)
        self._note_received()
        if notice.type == "BOOKMARK":
            bookmark: Bookmark = self._decoded(_bookmarks, notice.object)
            self._version = bookmark.metadata.resource_version
            self._newest = max(self._newest, version_number(self._version))
            return []
        if notice.type == "ERROR":
            status = read_status(bytes(notice.object))
            raise refusal(status.code or 500, status, f"watch {self._resource}")
        if notice.type not in {"ADDED", "MODIFIED", "DELETED"}:
            raise _unreadable(f"the watch of {self._resource} told an event of an unknown type")
        item = self._decoded(self._objects, notice.object)
        if not item.metadata.resource_version:
            raise _unreadable(f"the watch of {self._resource} told an object without a resourceVersion")
        self._version = item.metadata.resource_version
        self._newest = max(self._newest, version_number(self._version))
        self._backoff.reset()
        if notice.type != "DELETED":
            return self._upsert(item)
        gone = self.known.pop(_key(item), None)
        return [] if gone is None else [Removed(gone)]

    def _upsert(self, item: Any) -> list[Event[Kept]]:
        key, kept = _key(item), self._keep(item)
        if self.known.get(key) == kept:
            return []
        self.known[key] = kept
        return [Upserted(kept)]

    def _decoded(self, decoder: "msgspec.json.Decoder[Any]", data: bytes | msgspec.Raw) -> Any:
        try:
            return decoder.decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            # What msgspec says of a type names places and types, never values.
            detail = f": {error}" if isinstance(error, msgspec.ValidationError) else ""
            raise _unreadable(f"what was told of {self._resource} cannot be read{detail}") from None

    def _note_age_of(self, version: str) -> None:
        number = version_number(version)
        if number < self._newest:
            self.rewinds += 1
        self._newest = number

    def _note_received(self) -> None:
        self.received_at = time.monotonic()


def _key(item: Any) -> NamespacedName:
    # One string for all objects of a namespace: a decoder makes a new one for each.
    return NamespacedName(sys.intern(item.metadata.namespace), item.metadata.name)


def _unreadable(detail: str) -> WatchError:
    remedy = "check that the URL is that of a Kubernetes API server, and what stands between"
    return WatchError(ProblemKind.MALFORMED, detail, remedy)


_notices: Final = msgspec.json.Decoder(Notice)
_bookmarks: Final = msgspec.json.Decoder(Bookmark)
